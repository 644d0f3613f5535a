/** What people and models write: Markdown, whether it comes as a text or as a list. */

import { el } from "./dom.js";
import { jsonView } from "./json.js";
import { markdown } from "./markdown.js";

/** @typedef {import("./types.js").Files} Files */
/** @typedef {import("./folds.js").Folds} Folds */

/** Whether there is anything to show. @param {unknown} value */
export function isSaid(value) {
  if (typeof value === "object" && value !== null) {
    return Object.keys(value).length > 0;
  }
  return value !== undefined && value !== null && (typeof value !== "string" || value.trim() !== "");
}

/** @param {string} text @param {number} at */
function listItem(text, at) {
  const marked = /^\s*([-*+]|\d+[.)])\s/.test(text);
  return `${at ? "\n" : ""}${marked ? "" : "- "}${marked ? text : text.replaceAll("\n", "\n  ")}`;
}

/**
 * @param {unknown} value
 * @param {Files} files
 * @param {Folds} folds
 * @param {string} key
 * @returns {HTMLElement}
 */
export function prose(value, files, folds, key) {
  const texts = Array.isArray(value) && value.length <= 500 && value.every((text) => typeof text === "string");
  const text = texts ? value.map(listItem).join("") : value;
  return typeof text === "string"
    ? el("div", { class: "prose content" }, markdown(text, files))
    : jsonView(value, folds, key);
}

/**
 * A part of a step under its name; null where there is nothing to show.
 *
 * @param {string} name
 * @param {unknown} value
 * @param {Files} files
 * @param {Folds} folds
 * @param {string} key
 * @returns {HTMLElement | null}
 */
export function section(name, value, files, folds, key) {
  return isSaid(value) ? part(name, prose(value, files, folds, key)) : null;
}

/**
 * @param {string | Node} name
 * @param {...(Node | string | null | false)} children
 * @returns {HTMLElement}
 */
export function part(name, ...children) {
  return el("section", { class: "part" }, el("h4", { class: "part-name" }, name), ...children);
}
