/** A Jupyter notebook: its cells with what they have put out. Nothing of it runs; HTML is shown as text. */

import { codeBlock } from "./code.js";
import { el } from "./dom.js";
import { fold } from "./folds.js";
import { picture } from "./image.js";
import { jsonView } from "./json.js";
import { markdown } from "./markdown.js";
import { terminalText } from "./output.js";
import { objectOf, textOf } from "./data.js";

/** @typedef {import("./types.js").Files} Files */
/** @typedef {import("./folds.js").Folds} Folds */

const BATCH = 100;

/** Text that may come in lines. @param {unknown} value */
function joined(value) {
  return Array.isArray(value) ? value.filter((line) => typeof line === "string").join("") : textOf(value);
}

/** @param {Record<string, unknown>} data by media type @param {Folds} folds @param {string} key */
function richOutput(data, folds, key) {
  for (const type of ["image/png", "image/jpeg", "image/gif", "image/webp"]) {
    const base64 = joined(data[type]).replace(/\s+/g, "");
    if (/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) {
      return picture(`data:${type};base64,${base64}`, "Output of the cell");
    }
  }
  const text = joined(data["text/plain"]) || joined(data["text/markdown"]) || joined(data["text/html"]);
  return text ? terminalText(text, folds, key) : jsonView(data, folds, key);
}

/** @param {unknown} output @param {Folds} folds @param {string} key */
function outputOf(output, folds, key) {
  const value = objectOf(output);
  switch (value.output_type) {
    case "stream":
      return terminalText(joined(value.text), folds, key);
    case "error": {
      const trace = joined(Array.isArray(value.traceback) ? [value.traceback.join("\n")] : "");
      const text = trace || `${textOf(value.ename)}: ${textOf(value.evalue)}`;
      return el("div", { class: "cell-error" }, terminalText(text, folds, key, "Error"));
    }
    case "execute_result":
    case "display_data":
      return richOutput(objectOf(value.data), folds, key);
    default:
      return jsonView(output, folds, key);
  }
}

/** @param {unknown} cell @param {string} language @param {Files} files @param {Folds} folds @param {string} key */
function cellView(cell, language, files, folds, key) {
  const { cell_type: type, source, outputs, execution_count: count } = objectOf(cell);
  const text = joined(source);
  if (type === undefined) {
    return jsonView(cell, folds, key);
  }
  if (type === "markdown") {
    return el("div", { class: "cell prose" }, markdown(text, files));
  }
  if (type !== "code") {
    return el("div", { class: "cell" }, codeBlock(text, null));
  }
  const number = typeof count === "number" ? `[${count}]` : "[ ]";
  const list = Array.isArray(outputs) ? outputs : [];
  const rest = () => jsonView(list.slice(BATCH), folds, `${key}:others`);
  return el(
    "div",
    { class: "cell" },
    el("span", { class: "cell-number" }, number),
    text && codeBlock(text, language, "Code of the cell"),
    ...list.slice(0, BATCH).map((output, at) => outputOf(output, folds, `${key}.${at}`)),
    list.length > BATCH && fold(folds, `${key}:rest`, `${list.length - BATCH} more outputs`, rest),
  );
}

/**
 * @param {unknown} value the notebook's JSON
 * @param {Files} files
 * @param {Folds} folds
 * @returns {HTMLElement | null} null for what is no notebook that can be shown
 */
export function notebookView(value, files, folds) {
  const { cells, metadata } = objectOf(value);
  if (!Array.isArray(cells)) {
    return null;
  }
  const { language_info: info, kernelspec: kernel } = objectOf(metadata);
  const language = textOf(objectOf(info).name) || textOf(objectOf(kernel).language) || "python";
  const box = el("div", { class: "notebook" });
  const add = (/** @type {number} */ start) => {
    const batch = cells.slice(start, start + BATCH);
    box.append(...batch.map((cell, at) => cellView(cell, language, files, folds, `cell ${start + at}`)));
    if (start + BATCH < cells.length) {
      const button = el("button", { type: "button" }, `Show more of ${cells.length.toLocaleString("en")} cells`);
      button.onclick = () => (button.remove(), add(start + BATCH));
      box.append(button);
    }
  };
  add(0);
  return box;
}
