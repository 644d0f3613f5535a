/** What the address says of how to play, as asciinema has it, and the address of a step. Pure. */

/** @param {string | null} text @returns {boolean | null} */
function flag(text) {
  return text === null ? null : !["0", "false", "no", "off"].includes(text.toLowerCase());
}

/** @param {string | null} text @param {number} lowest @param {number} highest @returns {number | null} */
function number(text, lowest, highest) {
  const value = text === null || text.trim() === "" ? NaN : Number(text);
  return value >= lowest && value <= highest ? value : null;
}

/**
 * Seconds out of `90`, `1:30` or `1:02:03`; null for what is none.
 *
 * @param {string | null} text
 */
export function seconds(text) {
  const match = /^(?:(?:([0-9]{1,6}):)?([0-9]{1,6}):)?([0-9]{1,9}(?:\.[0-9]{1,9})?)$/.exec(text ?? "");
  return match ? Number(match[1] ?? 0) * 3600 + Number(match[2] ?? 0) * 60 + Number(match[3]) : null;
}

/**
 * The step that a fragment such as `#step=12` names; null for none.
 *
 * @param {string} hash
 */
export function stepOf(hash) {
  const match = /^#step=([0-9]{1,9})$/.exec(hash);
  return match ? Number(match[1]) : null;
}

/**
 * How to begin, as the address has it.
 *
 * @typedef {object} Start
 * @property {number} speed
 * @property {number | null} idleTimeLimit seconds
 * @property {number | null} at seconds
 * @property {number | null} offset
 * @property {boolean} autoplay
 * @property {boolean} loop
 */

/**
 * How to play. What can't be understood counts as not there. A page plays by itself, but not where a step is named,
 * which somebody wants to be read, nor inside of another page.
 *
 * @param {string} query
 * @param {string} hash
 * @param {boolean} embedded
 * @returns {Start}
 */
export function startOf(query, hash, embedded) {
  const parameters = new URLSearchParams(query);
  const offset = stepOf(hash);
  return {
    speed: number(parameters.get("speed"), 0.1, 100) ?? 1,
    idleTimeLimit: number(parameters.get("idleTimeLimit"), 0, 86_400),
    at: seconds(parameters.get("t")),
    offset,
    autoplay: flag(parameters.get("autoplay")) ?? (offset === null && !embedded),
    loop: flag(parameters.get("loop")) ?? false,
  };
}
