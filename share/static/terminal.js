/** What a terminal would show of a text, in runs of one colour. Pure. */

import { createAnsiSequenceParser } from "./vendor/ansi-sequence-parser.js";

/** @typedef {import("./vendor/ansi-sequence-parser.js").AnsiToken} Run */

// Each alternative stops at the next escape or line, so that none of them is slow with texts made for that.
const CONTROLS = new RegExp(
  [
    /(?:\x1b\[|\x9b)([0-?]*)([ -/]*)([@-~])/,
    /(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?/,
    /\x1b[ -/]*[0-~]?/,
    /[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f]/,
  ]
    .map((part) => part.source)
    .join("|"),
  "g",
);
const [ERASE_REST, ERASE_LINE] = ["\x01", "\x02"];
const MOVES = /[\b\r\x01\x02]/;

/**
 * The parser knows no empty parameters and no colons, and takes a reset for the first of what it stands beside.
 *
 * @param {string} parameters
 */
function colours(parameters) {
  const codes = parameters.split(";").flatMap((part) => {
    const [code, ...rest] = part.split(":");
    if ((code === "38" || code === "48") && rest.length) {
      return [code, rest[0], ...rest.slice(rest[0] === "2" ? -3 : 1)];
    }
    return [code || "0"];
  });
  let found = "";
  while (codes.length) {
    const [code, mode] = codes;
    const extended = code === "38" || code === "48";
    const count = extended ? ({ 2: 5, 5: 3 }[mode] ?? codes.length) : 1;
    found += `\x1b[${codes.splice(0, count).join(";")}m`;
  }
  return found;
}

/** Only colours stay, and what moves within a line. @param {string} text */
function clean(text) {
  return text.replace(CONTROLS, (_, parameters, between, final) => {
    if (final === "m" && !between && /^[0-9;:]{0,100}$/.test(parameters)) {
      return colours(parameters);
    }
    if (final === "K") {
      return { "": ERASE_REST, 0: ERASE_REST, 2: ERASE_LINE }[/** @type {string} */ (parameters)] ?? "";
    }
    return final === "G" && /^[01]?$/.test(parameters) ? "\r" : "";
  });
}

/** Write a line as a terminal does, over what stands there already. @param {Run[]} runs @returns {Run[]} */
function overwrite(runs) {
  /** @type {{ character: string, run: Run }[]} */
  const cells = [];
  let column = 0;
  for (const run of runs) {
    for (const character of run.value) {
      if (character === "\r") {
        column = 0;
      } else if (character === "\b") {
        column = Math.max(0, column - 1);
      } else if (character === ERASE_REST || character === ERASE_LINE) {
        cells.length = character === ERASE_LINE ? 0 : Math.min(cells.length, column);
      } else {
        while (cells.length < column) {
          cells.push({ character: " ", run: PLAIN });
        }
        cells[column] = { character, run };
        column += 1;
      }
    }
  }
  return joined(cells);
}

/** @type {Run} */
const PLAIN = { value: "", foreground: null, background: null, decorations: new Set() };

/** @param {{ character: string, run: Run }[]} cells */
function joined(cells) {
  const found = [];
  for (let start = 0; start < cells.length;) {
    const { run } = cells[start];
    let [end, value] = [start, ""];
    for (; end < cells.length && cells[end].run === run; end += 1) {
      value += cells[end].character;
    }
    found.push({ ...run, value });
    start = end;
  }
  return found;
}

/** @param {string} line */
function withoutReturns(line) {
  let end = line.length;
  while (end && line[end - 1] === "\r") {
    end -= 1;
  }
  return line.slice(0, end);
}

/**
 * @param {string} text
 * @returns {Run[]}
 */
export function terminalRuns(text) {
  const parser = createAnsiSequenceParser();
  const lines = clean(text).split("\n").map(withoutReturns);
  /** @type {Run[]} */
  const runs = [];
  const add = (/** @type {Run[]} */ more) => more.forEach((run) => runs.push(run));
  for (let start = 0; start < lines.length;) {
    let end = start;
    while (end < lines.length && !MOVES.test(lines[end])) {
      end += 1;
    }
    const last = end < lines.length ? "" : undefined;
    add(parser.parse([...lines.slice(start, end), ...(last === "" ? [""] : [])].join("\n")));
    if (end < lines.length) {
      add(overwrite(parser.parse(lines[end])));
      if (end + 1 < lines.length) {
        runs.push({ ...PLAIN, value: "\n" });
      }
    }
    start = end + 1;
  }
  return runs;
}
