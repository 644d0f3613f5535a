/** The plan beside the steps: its subtasks as a tree, as of the step that is looked at. */

import { el } from "./dom.js";

/** @typedef {import("./run.js").Task} Task */

const MAX_DEPTH = 8; // deeper ones stand on the same level

const STATES = { todo: "To do", doing: "In progress", done: "Done", failed: "Failed", dropped: "Dropped" };
const MARKS = { todo: "○", doing: "◉", done: "✓", failed: "✕", dropped: "–" };
const CHANGES = /** @type {Record<string, string>} */ ({ added: "added", changed: "changed" });

export class PlanView {
  /** @param {(offset: number) => void} onSeek the viewer wants to go to where a subtask began */
  constructor(onSeek) {
    this.onSeek = onSeek;
    /** @type {import("./run.js").Plan | null} */
    this.plan = null;
    this.body = el("div", { class: "plan" });
    this.element = el(
      "aside",
      { class: "pane", id: "plan", "aria-label": "Plan", tabindex: -1 },
      el("h2", {}, "Plan"),
      this.body,
    );
  }

  /** @param {import("./run.js").Plan} plan @param {boolean} isPlanned whether there will be one, if there is none yet */
  show(plan, isPlanned) {
    this.element.classList.toggle("is-empty", !plan.tasks.length && !isPlanned);
    if (plan === this.plan) {
      return;
    }
    this.plan = plan;
    const focused = document.activeElement?.closest("#plan button")?.getAttribute("data-id");
    if (plan.tasks.length) {
      this.body.replaceChildren(this.tree(plan.tasks, plan.current));
    } else {
      this.body.replaceChildren(el("p", { class: "nothing" }, "No plan so far."));
    }
    // The list is another one, but the keyboard stays where it was.
    [...this.body.querySelectorAll("button")].find((button) => button.dataset.id === focused)?.focus();
    this.body.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  }

  /** @param {Task[]} tasks in the order of their ids @param {string} current */
  tree(tasks, current) {
    const root = el("ul", { class: "subtasks" });
    /** @type {{ id: string, list: HTMLElement }[]} the lists that are open, outermost first */
    const open = [{ id: "", list: root }];
    for (const [index, task] of tasks.entries()) {
      while (open.length > 1 && !task.id.startsWith(open[open.length - 1].id)) {
        open.pop();
      }
      const item = this.item(task, task.id === current);
      const { list } = open[open.length - 1];
      list.append(item);
      if (tasks[index + 1]?.id.startsWith(`${task.id}.`) && open.length < MAX_DEPTH) {
        const inner = el("ul", { class: "subtasks" });
        item.append(inner);
        open.push({ id: `${task.id}.`, list: inner });
      }
    }
    return root;
  }

  /** @param {Task} task @param {boolean} current */
  item(task, current) {
    const item = el("li", { class: `subtask is-${task.state}`, "aria-current": current ? "step" : null });
    const name = task.offset
      ? el(
          "button",
          { type: "button", class: "subtask-name", "data-id": task.id, onclick: () => this.onSeek(task.offset) },
          task.name,
        )
      : el("span", { class: "subtask-name" }, task.name);
    const change = CHANGES[task.change];
    item.append(
      el("span", { class: "subtask-mark", "aria-hidden": "true" }, MARKS[task.state]),
      el("span", { class: "unseen" }, `${STATES[task.state]}: `),
      el("span", { class: "subtask-id" }, task.id),
      name,
    );
    if (change) {
      item.append(el("span", { class: `subtask-change is-${change}` }, change));
    }
    if (task.goal && task.goal !== task.name) {
      item.append(el("p", { class: "subtask-goal", title: task.goal }, task.goal));
    }
    if (task.notes.length) {
      const notes = el("ul", {}, ...task.notes.map((note) => el("li", {}, note)));
      const title = `${task.notes.length} ${task.notes.length === 1 ? "lesson" : "lessons"}`;
      item.append(el("details", { class: "subtask-notes", open: current }, el("summary", {}, title), notes));
    }
    return item;
  }
}
