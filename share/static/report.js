/** The steps in which nothing is done: plans, what was learnt, questions and the end. */

import { el } from "./dom.js";
import { fold } from "./folds.js";
import { jsonView } from "./json.js";
import { outputView } from "./output.js";
import { isSaid, part, prose, section } from "./prose.js";
import { objectOf, textOf } from "./data.js";

/** @typedef {import("./types.js").Files} Files */
/** @typedef {import("./folds.js").Folds} Folds */

const MAX_TASKS = 500;

/**
 * @param {string} kind
 * @param {string} title
 * @param {...(Node | string | null | false)} children
 * @returns {HTMLElement}
 */
export function callout(kind, title, ...children) {
  return el("div", { class: `callout callout-${kind}` }, el("p", { class: "callout-title" }, title), ...children);
}

/** @param {unknown} value @param {Files} files @param {Folds} folds @param {string} key */
function task(value, files, folds, key) {
  const { task_id: id, name, goal, milestones } = objectOf(value);
  if (!isSaid(name) && !isSaid(goal)) {
    return el("li", {}, jsonView(value, folds, key));
  }
  const list = Array.isArray(milestones) ? milestones.filter((text) => typeof text === "string") : [];
  return el(
    "li",
    {},
    el("p", { class: "task-name" }, el("span", { class: "task-id" }, textOf(id)), " ", textOf(name)),
    textOf(goal) && textOf(goal) !== textOf(name) && prose(goal, files, folds, key),
    list.length > 0 && el("ul", { class: "milestones" }, ...list.map((text) => el("li", {}, text))),
  );
}

/** @param {unknown[]} tasks @param {Files} files @param {Folds} folds @param {string} key */
function tasksView(tasks, files, folds, key) {
  const items = tasks.slice(0, MAX_TASKS).map((value, at) => task(value, files, folds, `${key}.${at}`));
  const left = tasks.length - items.length;
  const rest = () => jsonView(tasks.slice(MAX_TASKS), folds, `${key}:others`);
  // Chromium takes a list without bullets for none; its role says that it is one.
  const list = el("ol", { class: "tasks content", role: "list" }, ...items);
  return el("div", {}, list, left > 0 && fold(folds, `${key}:rest`, `${left.toLocaleString("en")} more`, rest));
}

/** @param {unknown} data @param {Files} files @param {Folds} folds @param {string} key */
function startView(data, files, folds, key) {
  const { goal, subtasks } = objectOf(data);
  // A run with one subtask often has the same goal for it, which needn't be read twice.
  const tasks = (Array.isArray(subtasks) ? subtasks : []).map((task) => {
    return textOf(goal) && objectOf(task).goal === goal ? { ...objectOf(task), goal: "" } : task;
  });
  if (!isSaid(goal) && !tasks.length) {
    return [isSaid(data) && outputView(data, files, folds, key)];
  }
  return [
    section("Goal", goal, files, folds, `${key}:goal`),
    tasks.length > 0 && part("Subtasks", tasksView(tasks, files, folds, `${key}:tasks`)),
  ];
}

/** @param {unknown} data @param {Files} files @param {Folds} folds @param {string} key */
function planView(data, files, folds, key) {
  if (!Array.isArray(data)) {
    return [isSaid(data) && outputView(data, files, folds, key)];
  }
  return [data.length ? tasksView(data, files, folds, `${key}:tasks`) : el("p", {}, "Nothing is left to do.")];
}

/** @param {unknown} value */
function lessons(value) {
  const texts = Array.isArray(value) ? value : [];
  return texts.flatMap((lesson) => {
    const { target_tool_name: name, reflection } = objectOf(lesson);
    const said = Array.isArray(reflection) ? reflection : [reflection];
    return typeof name === "string"
      ? said.filter((text) => typeof text === "string").map((text) => `\`${name}\`: ${text}`)
      : [];
  });
}

/** @param {unknown} data @param {Files} files @param {Folds} folds @param {string} key */
function refinementView(data, files, folds, key) {
  const value = objectOf(data);
  const parts = [
    section("What was done", value.action_list_summary, files, folds, `${key}:summary`),
    section("What was learnt", value.posterior_plan_reflection, files, folds, `${key}:learnt`),
    section("About the tools", lessons(value.tool_reflection), files, folds, `${key}:tools`),
    section("Milestones", value.milestones, files, folds, `${key}:milestones`),
  ];
  return parts.some(Boolean) ? parts : [isSaid(data) && outputView(data, files, folds, key)];
}

/**
 * The inside of such a step.
 *
 * @param {string} status
 * @param {unknown} data
 * @param {Files} files
 * @param {Folds} folds
 * @param {string} key
 * @returns {(Node | false | null)[]}
 */
export function reportView(status, data, files, folds, key) {
  const said = isSaid(data) && outputView(data, files, folds, key);
  switch (status) {
    case "start":
      return startView(data, files, folds, key);
    case "subtask":
      return planView(data, files, folds, key);
    case "refinement":
      return refinementView(data, files, folds, key);
    case "ask_for_human_help":
      return [callout("help", "The agent asks for help", isSaid(data) && prose(data, files, folds, key))];
    case "finished":
      return [callout("finished", "The run has finished.", said)];
    case "failed":
      return [callout("failed", "The run has failed.", said)];
    default:
      return [said];
  }
}
