/** What a tool has answered: text, pictures, tables or JSON. */

import { ansi } from "./ansi.js";
import { codeBlock } from "./code.js";
import { el } from "./dom.js";
import { picture, pictureAddress } from "./image.js";
import { exactJson, jsonView } from "./json.js";
import { longText } from "./long_text.js";
import { pre } from "./scrollable.js";
import { tableOf, tableView } from "./table.js";

/** @typedef {import("./types.js").Files} Files */
/** @typedef {import("./folds.js").Folds} Folds */

const MAX_PARTS = 200;

/**
 * The text of a terminal; a long one's beginning.
 *
 * @param {string} text
 * @param {Folds} folds
 * @param {string} key
 * @param {string} [label]
 */
export function terminalText(text, folds, key, label = "Output") {
  return longText(text, folds, key, (part) => pre(part, ansi(part), label));
}

/** @param {string} text @param {Files} files @param {Folds} folds @param {string} key */
function textView(text, files, folds, key) {
  const trimmed = text.trim();
  if (["{}", "[]"].includes(`${trimmed[0]}${trimmed.at(-1)}`)) {
    const value = exactJson(trimmed);
    if (value !== undefined) {
      return valueView(value, files, folds, key);
    }
  }
  if (/^(diff --git |--- \S[^\n]*\n\+\+\+ )/.test(text)) {
    return longText(text, folds, key, (part) => codeBlock(part, "diff", "Changes"));
  }
  return terminalText(text, folds, key);
}

/** @param {unknown} value @returns {value is { media_type: string, file_name?: unknown, file_url?: unknown }} */
function isPicture(value) {
  if (typeof value !== "object" || value === null) {
    return false;
  }
  const { media_type: type, file_name: name, file_url: url } = /** @type {Record<string, unknown>} */ (value);
  const named = typeof name === "string" || typeof url === "string" || (name === undefined && url === undefined);
  return typeof type === "string" && type.startsWith("image/") && named;
}

/** @param {{ file_name?: unknown, file_url?: unknown }} value @param {Files} files */
function pictureView(value, files) {
  const name = typeof value.file_name === "string" ? value.file_name : "";
  return picture(pictureAddress(value.file_url, files), name);
}

/** Texts that follow each other are one. @param {unknown[]} parts */
function joinTexts(parts) {
  /** @type {unknown[]} */
  const found = [];
  for (const part of parts) {
    const last = found[found.length - 1];
    if (typeof part === "string" && typeof last === "string") {
      found[found.length - 1] = `${last}${last.endsWith("\n") ? "" : "\n"}${part}`;
    } else {
      found.push(part);
    }
  }
  return found;
}

/** @param {unknown[]} parts @param {Files} files @param {Folds} folds @param {string} key */
function partsView(parts, files, folds, key) {
  const box = el("div", { class: "parts" });
  joinTexts(parts).forEach((part, at) => {
    const partKey = `${key}.${at}`;
    box.append(typeof part === "string" ? terminalText(part, folds, partKey) : valueView(part, files, folds, partKey));
  });
  return box;
}

/** @param {unknown} value @param {Files} files @param {Folds} folds @param {string} key @returns {HTMLElement} */
function valueView(value, files, folds, key) {
  if (isPicture(value)) {
    return pictureView(value, files);
  }
  if (
    Array.isArray(value) &&
    value.length <= MAX_PARTS &&
    value.some((part) => typeof part === "string" || isPicture(part))
  ) {
    return partsView(value, files, folds, key);
  }
  const table = tableOf(value);
  return table ? tableView(table.head, table.rows, "Table") : jsonView(value, folds, key);
}

/**
 * @param {unknown} value any JSON
 * @param {Files} files
 * @param {Folds} folds
 * @param {string} key
 * @returns {HTMLElement}
 */
export function outputView(value, files, folds, key) {
  const box = el("div", { class: "output content" });
  if (value === null || value === undefined || value === "") {
    return box;
  }
  box.append(typeof value === "string" ? textView(value, files, folds, key) : valueView(value, files, folds, key));
  return box;
}
