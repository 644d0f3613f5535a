/** Source code, highlighted where its language is known. */

import { el } from "./dom.js";
import { hasLongLine, pre } from "./scrollable.js";
import hljs from "./vendor/highlight.js";
import DOMPurify from "./vendor/purify.js";

// Some of the patterns take time that grows with the square of a word's, a line's or a text's length.
const MAX_HIGHLIGHTED_CHARS = 50_000;
const MAX_LINE_CHARS = 1000;
const LONG_WORD = /[\w$]{300}/;
/** The slowest languages, by the names that highlight.js has for them. @type {Record<string, number>} */
const MAX_CHARS_OF = { "C#": 10_000, Perl: 20_000, Ruby: 20_000 };
/** What is called otherwise than its suffix. @type {Record<string, string>} */
const LANGUAGES = {
  bat: "plaintext",
  cfg: "ini",
  conf: "ini",
  console: "shell",
  h: "c",
  htm: "xml",
  ipynb: "json",
  jsonl: "json",
  log: "plaintext",
  patch: "diff",
  svg: "xml",
  tex: "plaintext",
  text: "plaintext",
  traj: "json",
  txt: "plaintext",
  vue: "xml",
};

/**
 * The language of a file, by its name; null for what isn't known.
 *
 * @param {string} name
 * @returns {string | null}
 */
export function languageOf(name) {
  const base = name.slice(name.lastIndexOf("/") + 1).toLowerCase();
  if (/^(gnu)?makefile$/.test(base)) {
    return "makefile";
  }
  return base.includes(".") ? known(base.slice(base.lastIndexOf(".") + 1)) : null;
}

/** @param {string} name of a language or a suffix */
function known(name) {
  const language = Object.hasOwn(LANGUAGES, name) ? LANGUAGES[name] : name;
  return language !== "plaintext" && hljs.getLanguage(language) ? language : null;
}

/** @param {string} text @param {string} language */
function highlighted(text, language) {
  return DOMPurify.sanitize(hljs.highlight(text, { language, ignoreIllegals: true }).value, {
    ALLOWED_TAGS: ["span"],
    ALLOWED_ATTR: ["class"],
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });
}

/** @param {string} text @param {string} language */
function isBearable(text, language) {
  const most = MAX_CHARS_OF[hljs.getLanguage(language)?.name ?? ""] ?? MAX_HIGHLIGHTED_CHARS;
  return text.length <= most && !hasLongLine(text, MAX_LINE_CHARS) && !LONG_WORD.test(text);
}

/**
 * @param {string} text
 * @param {string | null} language as Markdown or a file's suffix has it; one that isn't known counts as none
 * @param {string} [label]
 * @returns {HTMLElement}
 */
export function codeBlock(text, language, label = "Code") {
  const name = language ? known(language.toLowerCase()) : null;
  return pre(text, el("code", {}, name && isBearable(text, name) ? highlighted(text, name) : text), label);
}
