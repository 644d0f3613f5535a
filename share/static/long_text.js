/** A text that may be long: its beginning, and a button for all of it. */

import { el, fileSize } from "./dom.js";

/** @typedef {import("./folds.js").Folds} Folds */

const PIECE_CHARS = 250_000;

/** @param {string} text */
function countLines(text) {
  let count = 1;
  for (let at = text.indexOf("\n"); at !== -1 && at < text.length - 1; at = text.indexOf("\n", at + 1)) {
    count += 1;
  }
  return count;
}

/** Where the text can be cut at or before `most` characters: after a line, and never within a character. */
function cutAt(/** @type {string} */ text, /** @type {number} */ start, /** @type {number} */ most) {
  if (text.length - start <= most) {
    return text.length;
  }
  const line = text.lastIndexOf("\n", start + most - 1);
  if (line >= start + most / 2) {
    return line + 1;
  }
  const code = text.charCodeAt(start + most - 1);
  return start + most - (code >= 0xd800 && code < 0xdc00 ? 1 : 0);
}

/** @param {string} text @param {number} lines @param {number} chars */
function beginning(text, lines, chars) {
  let end = -1;
  for (let line = 0; line < lines; line += 1) {
    end = text.indexOf("\n", end + 1);
    if (end === -1) {
      return text.slice(0, cutAt(text, 0, chars));
    }
  }
  const short = text.slice(0, end);
  return short.length > chars ? short.slice(0, cutAt(short, 0, chars)) : short;
}

/** @param {string} text */
function pieces(text) {
  const found = [];
  for (let start = 0; start < text.length;) {
    const end = cutAt(text, start, PIECE_CHARS);
    found.push(text.slice(start, end));
    start = end;
  }
  return found;
}

/**
 * @param {string} text
 * @param {Folds} folds
 * @param {string} key
 * @param {(part: string) => Node} show
 * @param {{ lines: number, chars: number }} [most] what is shown before the button is pressed
 * @returns {HTMLElement}
 */
export function longText(text, folds, key, show, most = { lines: 30, chars: 4000 }) {
  const short = beginning(text, most.lines, most.chars);
  if (text.length <= short.length + 1) {
    return el("div", { class: "long" }, show(text));
  }
  const size = fileSize(new TextEncoder().encode(text).length);
  const lines = countLines(text);
  const all = lines === 1 ? `Show all of it (${size})` : `Show all ${lines.toLocaleString("en")} lines (${size})`;
  const [content, toggle, more] = [el("div"), el("button", { type: "button" }), el("button", { type: "button" })];
  const box = el("div", { class: "long" }, content, el("div", { class: "buttons" }, toggle, more));
  const draw = () => {
    const open = folds.isOpen(key);
    const parts = open ? pieces(text) : [short];
    const count = open ? 1 + parts.slice(1).findIndex((_, at) => !folds.isOpen(`${key}+${at}`)) || parts.length : 1;
    content.replaceChildren(...parts.slice(0, count).map(show));
    toggle.textContent = open ? "Show less" : all;
    toggle.setAttribute("aria-expanded", String(open));
    more.hidden = count >= parts.length;
    more.textContent = more.hidden ? "" : `Show ${fileSize(parts[count]?.length ?? 0)} more`;
    more.onclick = () => (folds.set(`${key}+${count - 1}`, true), draw());
  };
  toggle.onclick = () => {
    folds.set(key, !folds.isOpen(key));
    draw();
    if (!folds.isOpen(key)) {
      box.scrollIntoView({ block: "nearest" });
    }
  };
  draw();
  return box;
}
