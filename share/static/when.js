/** Times as people say them, in the language that their browser is set to. */

const TIME = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?)\d*(Z|[+-]\d\d:\d\d)?$/;

/** @type {[Intl.RelativeTimeFormatUnit, number][]} from which number of seconds on a time is said in this unit */
const UNITS = [
  ["year", 365.25 * 86_400],
  ["month", 30.44 * 86_400],
  ["week", 7 * 86_400],
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
];

const RELATIVE = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: "long", timeStyle: "medium" });

/** The language of what `ago` and `exactly` say. */
export const LANGUAGE = EXACT.resolvedOptions().locale;

/**
 * The moment that a recording's time names: ISO 8601, or with a blank for the T; without a zone, UTC.
 *
 * @param {string | null} text
 */
export function moment(text) {
  const parts = TIME.exec(text ?? "");
  const date = parts && new Date(`${parts[1]}T${parts[2]}${parts[3] ?? "Z"}`);
  return date && !Number.isNaN(date.getTime()) ? date : null;
}

/**
 * How long ago, or how soon, a moment is: "3 days ago".
 *
 * @param {Date} date
 * @param {Date} now
 */
export function ago(date, now) {
  const seconds = (date.getTime() - now.getTime()) / 1000;
  const [unit, length] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? ["second", 60];
  return RELATIVE.format(unit === "second" ? 0 : Math.trunc(seconds / length), unit);
}

/** @param {Date} date */
export function exactly(date) {
  return EXACT.format(date);
}

/**
 * How long something took: "under 1 s", "45 s", "1 min 5 s", "2 h 14 min", "3 d 4 h".
 *
 * @param {number} seconds
 */
export function lasting(seconds) {
  const whole = Math.floor(seconds + 1e-6);
  if (whole < 1) {
    return "under 1 s";
  }
  const numbers = [Math.floor(whole / 86_400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60, whole % 60];
  const first = numbers.findIndex((number) => number > 0);
  const told = numbers.map((number, index) => (number ? `${number} ${["d", "h", "min", "s"][index]}` : ""));
  return told
    .slice(first, first + 2)
    .filter(Boolean)
    .join(" ");
}
