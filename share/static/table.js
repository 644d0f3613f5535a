/** A table of a list of objects or of a CSV file. */

import { el } from "./dom.js";
import { scrollable } from "./scrollable.js";

const MAX_ROWS = 500;
const MAX_COLUMNS = 100;

/** @param {string} text */
function isNumber(text) {
  return /^-?[0-9][0-9.,]*(e[+-]?[0-9]+)?%?$/i.test(text);
}

/**
 * @param {string[]} head
 * @param {string[][]} rows
 * @param {string} label
 * @returns {HTMLElement}
 */
export function tableView(head, rows, label) {
  const cell = (/** @type {string} */ text) => el("td", { class: isNumber(text) ? "number" : null }, text);
  const columns = head.slice(0, MAX_COLUMNS);
  const body = rows.slice(0, MAX_ROWS).map((row) => el("tr", {}, ...columns.map((_, at) => cell(row[at] ?? ""))));
  const table = el(
    "table",
    {},
    el("thead", {}, el("tr", {}, ...columns.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, ...body),
  );
  const count = (/** @type {number} */ number) => number.toLocaleString("en");
  const notes = [
    rows.length > MAX_ROWS && `The first ${MAX_ROWS} of ${count(rows.length)} rows.`,
    head.length > MAX_COLUMNS && `The first ${MAX_COLUMNS} of ${count(head.length)} columns.`,
  ];
  const note = notes.filter(Boolean).join(" ");
  const scroller = scrollable(el("div", { class: "table-scroll" }, table), label);
  return el("div", { class: "table" }, note && el("p", { class: "note" }, note), scroller);
}

/**
 * The columns of a list of flat objects that all have the same keys; null for any other value.
 *
 * @param {unknown} value
 * @returns {{ head: string[], rows: string[][] } | null}
 */
export function tableOf(value) {
  if (!Array.isArray(value) || value.length < 2 || !value.every(isFlat)) {
    return null;
  }
  const head = Object.keys(value[0]);
  const same = value.every(
    (row) => Object.keys(row).length === head.length && head.every((name) => Object.hasOwn(row, name)),
  );
  if (!same || head.length < 1 || head.length > 30) {
    return null;
  }
  return { head, rows: value.map((row) => head.map((name) => (row[name] === null ? "" : String(row[name])))) };
}

/** @param {unknown} value */
function isFlat(value) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return false;
  }
  return Object.values(value).every((member) => typeof member !== "object" || member === null);
}
