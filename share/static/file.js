/** A file that the run has left: shown where it can be, and always to be downloaded. */

import { codeBlock, languageOf } from "./code.js";
import { el, fileSize } from "./dom.js";
import { Folds } from "./folds.js";
import { picture } from "./image.js";
import { exactJson, jsonView } from "./json.js";
import { longText } from "./long_text.js";
import { markdown } from "./markdown.js";
import { notebookView } from "./notebook.js";
import { terminalText } from "./output.js";
import { tableView } from "./table.js";
import { dsvFormat } from "./vendor/d3-dsv.js";

/** @typedef {import("./types.js").FileInfo} FileInfo */
/** @typedef {import("./types.js").Files} Files */
/** @typedef {"image" | "table" | "markdown" | "notebook" | "json" | "text" | "other"} Form */

const MAX_UNASKED_BYTES = 2_000_000;
const MAX_SHOWN_BYTES = 50_000_000;
const BEGINNING = { lines: 1000, chars: 100_000 };
/** @type {Record<string, Form>} */
const FORMS = { csv: "table", tsv: "table", md: "markdown", markdown: "markdown", ipynb: "notebook", json: "json" };
const NEVER_TEXT =
  /^(audio|video|font|image)\/(?!svg)|^application\/(gzip|pdf|zip|x-(bzip2|tar|xz|7z)|java-archive|wasm|msword|vnd\.)/;

/** @param {string} name */
function suffixOf(name) {
  const base = name.slice(name.lastIndexOf("/") + 1);
  return base.includes(".") ? base.slice(base.lastIndexOf(".") + 1).toLowerCase() : "";
}

/** @param {FileInfo} file @returns {Form} */
function formOf(file) {
  const suffix = suffixOf(file.name);
  if (/^image\/(png|jpeg|gif|webp|avif|bmp|x-icon|vnd\.microsoft\.icon)$/.test(file.media_type)) {
    return "image";
  }
  if (NEVER_TEXT.test(file.media_type)) {
    return "other";
  }
  return Object.hasOwn(FORMS, suffix) ? FORMS[suffix] : "text";
}

/** The text of a file; null for what is none. @param {ArrayBuffer} content */
function decoded(content) {
  const bytes = new Uint8Array(content, 0, Math.min(content.byteLength, 8000));
  const isUtf16 = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff);
  if (isUtf16) {
    return new TextDecoder(bytes[0] === 0xff ? "utf-16le" : "utf-16be").decode(content);
  }
  return bytes.includes(0) ? null : new TextDecoder().decode(content);
}

/** @param {string} text @param {string} name @param {Folds} folds */
function sourceView(text, name, folds) {
  if (!text) {
    return el("p", { class: "note" }, "The file is empty.");
  }
  if (text.includes("\x1b[")) {
    return terminalText(text, folds, "text", name);
  }
  return longText(text, folds, "text", (part) => codeBlock(part, languageOf(name), name), BEGINNING);
}

/** In many countries CSV has semicolons. @param {string} text @param {string} name */
function delimiterOf(text, name) {
  const line = text.slice(0, 10_000).split("\n", 1)[0];
  if (suffixOf(name) === "tsv") {
    return "\t";
  }
  return line.includes(";") && !line.includes(",") ? ";" : ",";
}

/** @param {string} text @param {string} name @returns {HTMLElement | null} */
function csvView(text, name) {
  const plain = text.replace(/^\ufeff/, "");
  const [head, ...rows] = dsvFormat(delimiterOf(plain, name)).parseRows(plain);
  const width = rows.slice(0, 500).reduce((most, row) => Math.max(most, row.length), head?.length ?? 0);
  if (!head) {
    return null;
  }
  const columns = Array.from({ length: width }, (_, at) => head[at] ?? "");
  const count = `${rows.length.toLocaleString("en")} row${rows.length === 1 ? "" : "s"}`;
  return el("div", {}, el("p", { class: "note" }, `${count}, ${width} columns`), tableView(columns, rows, name));
}

/** The better view of a text than its source; null where there is none. */
function richView(
  /** @type {Form} */ form,
  /** @type {string} */ text,
  /** @type {string} */ name,
  /** @type {Files} */ files,
  /** @type {Folds} */ folds,
) {
  switch (form) {
    case "markdown":
      return el("div", { class: "prose" }, markdown(text, files));
    case "table":
      return csvView(text, name);
    case "json":
    case "notebook": {
      const value = exactJson(text);
      const notebook = form === "notebook" ? notebookView(value, files, folds) : null;
      return notebook ?? (typeof value === "object" && value !== null ? jsonView(value, folds, "json") : null);
    }
    default:
      return null;
  }
}

/** @param {FileInfo} file @param {ArrayBuffer} content @param {Files} files */
function contentView(file, content, files) {
  const text = decoded(content);
  if (text === null) {
    return el("p", { class: "note" }, "This is no text; it can't be shown here.");
  }
  const folds = new Folds();
  const source = () => sourceView(text, file.name, folds);
  const rich = richView(formOf(file), text, file.name, files, folds);
  if (!rich) {
    return source();
  }
  const place = el("div", {}, rich);
  const button = el("button", { type: "button", "aria-pressed": "false" }, "Source");
  button.onclick = () => {
    const pressed = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(pressed));
    place.replaceChildren(pressed ? source() : rich);
  };
  return el("div", {}, el("div", { class: "buttons" }, button), place);
}

/** @param {FileInfo} file @param {Files} files @param {HTMLElement} place */
async function load(file, files, place) {
  place.replaceChildren(el("p", { class: "note", role: "status" }, "Loading …"));
  try {
    place.replaceChildren(contentView(file, await files.read(file.url), files));
  } catch (error) {
    const button = el("button", { type: "button", onclick: () => load(file, files, place) }, "Try again");
    const message = error instanceof Error ? error.message : String(error);
    place.replaceChildren(el("p", { class: "note", role: "alert" }, message), button);
  }
}

/** @param {FileInfo} file @param {Files} files @param {HTMLElement} place */
function show(file, files, place) {
  if (formOf(file) === "image") {
    place.replaceChildren(picture(file.url, file.name));
  } else {
    load(file, files, place);
  }
}

/**
 * @param {FileInfo} file
 * @param {Files} files
 * @returns {HTMLElement}
 */
export function fileView(file, files) {
  const [size, base] = [fileSize(file.size), file.name.slice(file.name.lastIndexOf("/") + 1)];
  const download = el("a", { href: file.url, download: base, class: "download" }, `Download ${base} (${size})`);
  const place = el("div", { class: "file-content" });
  if (formOf(file) === "other" || file.size > MAX_SHOWN_BYTES) {
    place.append(el("p", { class: "note" }, "This file can't be shown here."));
  } else if (file.size > MAX_UNASKED_BYTES) {
    place.append(el("button", { type: "button", onclick: () => show(file, files, place) }, `Show ${base} (${size})`));
  } else {
    show(file, files, place);
  }
  return el("div", { class: "file content" }, download, place);
}
