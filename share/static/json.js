/** JSON that folds. Only what is open is in the page, so that its size doesn't matter. */

import { el } from "./dom.js";
import { Folds, fold } from "./folds.js";
import { longText } from "./long_text.js";
import { pre } from "./scrollable.js";

const BATCH = 200;
const MAX_PREVIEW = 6;
const MAX_JSON_CHARS = 2_000_000;

/** @param {unknown} value @returns {value is object} */
function isContainer(value) {
  return typeof value === "object" && value !== null;
}

/**
 * The value of a JSON text; undefined where it is none, or where a number would lose digits.
 *
 * @param {string} text
 * @returns {unknown}
 */
export function exactJson(text) {
  if (text.length > MAX_JSON_CHARS) {
    return undefined;
  }
  try {
    const value = JSON.parse(text);
    // In what is no JSON, this could take for ever.
    for (const [token] of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/g)) {
      if (!token.startsWith('"') && !isExact(token)) {
        return undefined;
      }
    }
    return value;
  } catch {
    return undefined;
  }
}

/** @param {string} token of a number */
function isExact(token) {
  const digits = (/** @type {string} */ text) =>
    text
      .replace(/e.*$/i, "")
      .replace(/[-.]/g, "")
      .replace(/^0+|0+$/g, "");
  const number = Number(token);
  return Number.isFinite(number) && (token.length < 16 || digits(token) === digits(String(number)));
}

/** @param {unknown} value */
function scalar(value) {
  const kind = value === null ? "null" : typeof value;
  const text = kind === "string" ? JSON.stringify(value) : String(value);
  return el("span", { class: `json-${kind === "bigint" ? "number" : kind}` }, text);
}

/**
 * A short list of plain values, which needs no lines of its own.
 *
 * @param {unknown} value
 * @returns {value is unknown[]}
 */
function isShort(value) {
  const plain = Array.isArray(value) && value.length <= 20 && !value.some(isContainer);
  return plain && value.reduce((/** @type {number} */ length, part) => length + String(part).length + 2, 0) <= 80;
}

/** @param {unknown[]} value */
function shortList(value) {
  const parts = value.flatMap((part, at) => (at ? [", ", scalar(part)] : [scalar(part)]));
  return el("span", {}, "[", ...parts, "]");
}

/** @param {object} value */
function outline(value) {
  if (Array.isArray(value)) {
    return `[ ${value.length.toLocaleString("en")} item${value.length === 1 ? "" : "s"} ]`;
  }
  const names = Object.keys(value);
  const shown = names.slice(0, MAX_PREVIEW).map((name) => (name.length > 30 ? `${name.slice(0, 30)}…` : name));
  return `{ ${shown.join(", ")}${names.length > MAX_PREVIEW ? `, … ${names.length.toLocaleString("en")} keys` : ""} }`;
}

/** @param {object} value @param {Folds} folds @param {string} key @param {number} depth */
function members(value, folds, key, depth) {
  const entries = Object.entries(value);
  const body = el("div", { class: "json-members" });
  const add = (/** @type {number} */ start) => {
    const batch = entries.slice(start, start + BATCH);
    body.append(...batch.map(([name, member]) => item(name, member, folds, `${key}.${name}`, depth + 1)));
    const left = Math.min(BATCH, entries.length - start - BATCH);
    if (left <= 0) {
      return;
    }
    const moreKey = `${key}+${start}`;
    if (folds.isOpen(moreKey)) {
      add(start + BATCH);
      return;
    }
    const button = el("button", { type: "button" }, `Show ${left} more of ${entries.length.toLocaleString("en")}`);
    button.onclick = () => {
      folds.set(moreKey, true);
      button.remove();
      add(start + BATCH);
    };
    body.append(button);
  };
  add(0);
  return body;
}

/** @param {string} name @param {unknown} value @param {Folds} folds @param {string} key @param {number} depth */
function item(name, value, folds, key, depth) {
  const label = el("span", { class: "json-key" }, name);
  if (isContainer(value)) {
    return container(label, value, folds, key, depth);
  }
  if (typeof value === "string" && (value.includes("\n") || value.length > 400)) {
    return el("div", { class: "json-item" }, label, ": ", block(value, folds, key, name));
  }
  return el("div", { class: "json-item" }, label, ": ", scalar(value));
}

/** @param {string} text @param {Folds} folds @param {string} key @param {string} label */
function block(text, folds, key, label) {
  return longText(text, folds, key, (part) => pre(part, new Text(part), label));
}

/** @param {Node | null} label @param {object} value @param {Folds} folds @param {string} key @param {number} depth */
function container(label, value, folds, key, depth) {
  const count = Object.keys(value).length;
  if (isShort(value)) {
    return el("div", { class: "json-item" }, label, label && ": ", shortList(value));
  }
  const brief = el("span", { class: "json-outline" }, count ? outline(value) : "{}");
  if (!count) {
    return el("div", { class: "json-item" }, label, label && ": ", brief);
  }
  const summary = el("span", {}, label, label && ": ", brief);
  return fold(folds, key, summary, () => members(value, folds, key, depth), depth === 0 || (depth === 1 && count <= 8));
}

/**
 * @param {unknown} value what JSON holds, and BigInt
 * @param {Folds} [folds] where it is remembered what is open
 * @param {string} [key]
 * @returns {HTMLElement}
 */
export function jsonView(value, folds = new Folds(), key = "") {
  const box = el("div", { class: "json content" });
  if (isContainer(value)) {
    box.append(container(null, value, folds, key, 0));
  } else if (typeof value === "string" && (value.includes("\n") || value.length > 400)) {
    box.append(block(value, folds, key, "Text"));
  } else {
    box.append(scalar(value));
  }
  return box;
}
