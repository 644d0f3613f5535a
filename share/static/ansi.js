/** The text of a terminal with its colours, and nothing else of what it would have obeyed. */

import { CONTRAST, SURFACES, css, nameIndex, readable, rgbOf } from "./colours.js";
import { terminalRuns } from "./terminal.js";

/** @typedef {import("./terminal.js").Run} Run */
/** @typedef {{ classes: string, style: Record<string, string> }} Look */

const DECORATIONS = ["bold", "italic", "underline", "strikethrough"];

/** @param {Run} run @returns {Look} */
function lookOf(run) {
  const classes = DECORATIONS.filter((name) => run.decorations.has(name)).map((name) => `ansi-${name}`);
  const inverse = run.decorations.has("reverse");
  const [front, back] = inverse ? [run.background, run.foreground] : [run.foreground, run.background];
  const [color, behind] = [rgbOf(front), rgbOf(back)];
  if (behind) {
    // It stands on its own colour, which is the same in both schemes.
    const style = {
      color: css(readable(color ?? behind, behind, color ? CONTRAST : 21)),
      "background-color": css(behind),
    };
    return { classes: [...classes, "ansi-on"].join(" "), style };
  }
  if (inverse) {
    return { classes: [...classes, "ansi-inverse"].join(" "), style: {} };
  }
  const index = front ? nameIndex(front) : -1;
  if (index >= 0) {
    return { classes: [...classes, `ansi-${index}`].join(" "), style: {} };
  }
  if (color) {
    const [light, dark] = [css(readable(color, SURFACES.light)), css(readable(color, SURFACES.dark))];
    return { classes: [...classes, "ansi-colour"].join(" "), style: { "--light": light, "--dark": dark } };
  }
  return { classes: [...classes, run.decorations.has("dim") ? "ansi-dim" : ""].join(" ").trim(), style: {} };
}

/** @param {Run} run */
function isPlain(run) {
  return !run.foreground && !run.background && !run.decorations.size;
}

/** @param {string} text @returns {DocumentFragment} */
export function ansi(text) {
  const fragment = document.createDocumentFragment();
  /** @type {Map<string, Look>} */
  const looks = new Map();
  for (const run of terminalRuns(text)) {
    if (isPlain(run)) {
      fragment.append(run.value);
      continue;
    }
    const key = JSON.stringify([run.foreground, run.background, ...run.decorations]);
    const look = looks.get(key) ?? lookOf(run);
    looks.set(key, look);
    const span = document.createElement("span");
    span.className = look.classes;
    Object.entries(look.style).forEach(([name, value]) => span.style.setProperty(name, value));
    span.textContent = run.value;
    fragment.append(span);
  }
  return fragment;
}
