/** One step of a run, as the inside of its card. */

import { callView, submitView } from "./call.js";
import { clockTime, el } from "./dom.js";
import { kindLabel, kindOf } from "./kinds.js";
import { outputView } from "./output.js";
import { isSaid } from "./prose.js";
import { callout, reportView } from "./report.js";
import { isSuccess, objectOf, parse, textOf } from "./data.js";

/** @typedef {import("./types.js").Row} Row */
/** @typedef {import("./types.js").Files} Files */
/** @typedef {import("./folds.js").Folds} Folds */

/** Data that was too large for its frame, by the row that it is of. @type {WeakMap<Row, unknown>} */
const loaded = new WeakMap();

/** @param {number} count @param {string} noun */
function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

/**
 * @param {Row} row
 * @param {unknown} data
 * @returns {{ label: string, what: string, tool: boolean }} `tool`: whether `what` is the name of one
 */
function titleOf(row, data) {
  const kind = kindOf(row.status);
  const [value, label] = [objectOf(data), kindLabel(kind)];
  const tool = textOf(objectOf(value.using_tools).tool_name);
  if (!row.success) {
    return { label: kindLabel("failed"), what: "This step can't be shown", tool: false };
  }
  switch (row.status) {
    case "running":
      return { label, what: "The run begins", tool: false };
    case "start":
      return {
        label,
        what: counted(Array.isArray(value.subtasks) ? value.subtasks.length : 0, "subtask"),
        tool: false,
      };
    case "subtask":
      return { label, what: Array.isArray(data) ? `${counted(data.length, "subtask")} from here on` : "", tool: false };
    case "inner":
      if (tool || row.data_url) {
        return { label, what: tool, tool: true };
      }
      return {
        label: isSaid(data) ? "Thought" : kindLabel("other"),
        what: isSaid(data) ? "" : "Nothing was recorded",
        tool: false,
      };
    case "subtask_submit":
      return { label, what: submitted(row, data), tool: false };
    case "refinement":
      return { label, what: textOf(value.name), tool: false };
    case "ask_for_human_help":
    case "finished":
    case "failed":
      return { label, what: "", tool: false };
    default:
      return { label, what: textOf(row.status), tool: false };
  }
}

/** @param {Row} row @param {unknown} data */
function submitted(row, data) {
  const success = isSuccess(data);
  const task = /^[0-9][0-9.]*$/.test(row.current ?? "") ? `subtask ${row.current} ` : "";
  const what = success === null ? `${task}is handed in` : `${task}${success ? "is done" : "has failed"}`;
  return `${what[0].toUpperCase()}${what.slice(1)}`;
}

/** @param {Row} row */
function dataOf(row) {
  return loaded.has(row) ? loaded.get(row) : row.data;
}

/**
 * The step in one line.
 *
 * @param {Row} row
 * @returns {string}
 */
export function stepTitle(row) {
  const { label, what, tool } = titleOf(row, dataOf(row));
  const brief = what.length > 200 ? `${what.slice(0, 200)}…` : what;
  return `Step ${row.offset}: ${tool ? label.toLowerCase() : label}${brief && (tool ? " " : ", ")}${brief}`;
}

/** @param {Row} row @param {unknown} data */
function header(row, data) {
  const kind = row.success ? kindOf(row.status) : "failed";
  const { label, what, tool } = titleOf(row, data);
  const success = row.status === "subtask_submit" && row.success ? isSuccess(data) : null;
  return el(
    "header",
    { class: "step-head" },
    el(
      "h3",
      { class: "step-title" },
      el("span", { class: `kind kind-${success === false ? "failed" : kind}` }, label),
      what && " ",
      what && el("span", { class: tool ? "step-what step-tool" : "step-what" }, what),
    ),
    row.status === "inner" && row.current && el("span", { class: "step-task", title: "Subtask" }, row.current),
    el("time", { datetime: `PT${Math.max(0, row.at).toFixed(3)}S`, title: row.time }, clockTime(row.at)),
  );
}

/** @param {Row} row @param {unknown} data @param {Files} files @param {Folds} folds */
function body(row, data, files, folds) {
  const key = `${row.offset}:`;
  const isObject = Object.keys(objectOf(data)).length > 0;
  if (!row.success || row.status === "error") {
    const said = isSaid(data) && outputView(data, files, folds, key);
    return [callout("failed", row.message || "This step can't be shown.", said)];
  }
  if (row.status === "subtask_submit" && isObject) {
    return submitView(objectOf(data), files, folds, key);
  }
  if (row.status === "inner" && isObject) {
    return callView(objectOf(data), files, folds, key);
  }
  return reportView(row.status, data, files, folds, key);
}

/** @param {Row} row @param {string} address @param {Files} files @param {() => void} done */
function loader(row, address, files, done) {
  const message = el("p", { class: "note", role: "status" });
  const button = el("button", { type: "button" }, "Load the large data of this step");
  button.onclick = async () => {
    button.disabled = true;
    message.textContent = "Loading …";
    try {
      const content = await files.read(files.resolve(address));
      loaded.set(row, parse(new TextDecoder().decode(content)));
      done();
    } catch (error) {
      message.textContent = error instanceof Error ? error.message : String(error);
      button.textContent = "Try again";
      button.disabled = false;
    }
  };
  return el("div", { class: "loader" }, button, message);
}

/**
 * @param {Row} row
 * @param {Files} files
 * @param {Folds} folds
 * @returns {HTMLElement}
 */
export function stepView(row, files, folds) {
  const box = el("div", { class: "step content" });
  const draw = () => {
    const data = dataOf(row);
    const waits = typeof row.data_url === "string" && !loaded.has(row);
    const parts = waits ? [loader(row, row.data_url ?? "", files, draw)] : body(row, data, files, folds);
    const shown = parts.filter((child) => child instanceof Node);
    const inside = el("div", { class: "step-body" }, ...shown);
    box.replaceChildren(header(row, data), ...(shown.length ? [inside] : []));
  };
  draw();
  return box;
}
