/** What the rows of a run add up to: its goal, its plan and its files, as of each of them. Pure. */

import { isSuccess, listOf, objectOf, textOf } from "./data.js";
import { countUntil } from "./timeline.js";

/** @typedef {import("./types.js").Row} Row */
/** @typedef {"todo" | "doing" | "done" | "failed" | "dropped"} TaskState */

/**
 * @typedef {object} Task a subtask of the plan; never changed once it is made
 * @property {string} id such as 1.2.1
 * @property {string} name
 * @property {string} goal
 * @property {TaskState} state
 * @property {string} change what a refinement has made of it: "", "added", "changed" or "dropped"
 * @property {string[]} notes what was learnt when it was looked back on
 * @property {number} offset where it began; 0 when it hasn't yet
 */

/**
 * @typedef {object} Plan as of a row
 * @property {number} offset of the row that made it so
 * @property {Task[]} tasks
 * @property {string} current the id of the task that is worked on; "" for none
 */

const MAX_NOTES = 20; // of a subtask, the newest
const MAX_TASKS = 500; // each change of one keeps a plan of its own
/** @type {Record<string, TaskState>} as XAgent spells them */
const STATES = { SUCCESS: "done", FAIL: "failed", DOING: "doing" };

/** @param {unknown} value @returns {Task | null} */
function taskOf(value) {
  const { name, goal, task_id: id, exceute_status: status } = objectOf(value);
  const state = STATES[textOf(status)] ?? "todo";
  const known = typeof id === "string" && id !== "";
  return known ? { id, name: textOf(name) || id, goal: textOf(goal), state, change: "", notes: [], offset: 0 } : null;
}

/** @param {unknown} value a list of subtasks, which may have subtasks themselves @returns {Task[]} */
function tasksOf(value) {
  const tasks = [];
  const waiting = listOf(value).slice(0, MAX_TASKS).reverse();
  while (waiting.length && tasks.length < MAX_TASKS) {
    const item = waiting.pop();
    const task = taskOf(item);
    if (task) {
      tasks.push(task);
    }
    waiting.push(...listOf(objectOf(item).subtasks).slice(0, MAX_TASKS).reverse());
  }
  return tasks;
}

/** @param {string} one @param {string} other by their numbers: 1.10 comes after 1.9 */
function compareIds(one, other) {
  return one.localeCompare(other, "en", { numeric: true });
}

/**
 * The last of what was made at or before a row.
 *
 * @template {{ offset: number }} Thing
 * @param {Thing[]} things
 * @param {number} offset
 * @returns {Thing | undefined}
 */
function asOf(things, offset) {
  return things[countUntil(things, offset, (thing) => thing.offset) - 1];
}

export class Run {
  constructor() {
    this.offset = 0;
    this.goal = "";
    /** @type {Plan[]} */
    this.plans = [];
    /** @type {{ offset: number, names: string[] }[]} */
    this.fileLists = [];
  }

  /** Forget what came after a row. @param {number} offset */
  truncate(offset) {
    if (offset >= this.offset) {
      return;
    }
    this.offset = offset;
    this.goal = offset ? this.goal : "";
    this.plans = this.plans.filter((plan) => plan.offset <= offset);
    this.fileLists = this.fileLists.filter((list) => list.offset <= offset);
  }

  /** @param {number} offset @returns {Plan} */
  planAt(offset) {
    return asOf(this.plans, offset) ?? { offset: 0, tasks: [], current: "" };
  }

  /** The names of the files as of a row; null where none of the rows up to there says so. @param {number} offset */
  filesAt(offset) {
    return asOf(this.fileLists, offset)?.names ?? null;
  }

  /** @param {Row} row */
  take(row) {
    this.offset = row.offset;
    this.takeFiles(row);
    const data = objectOf(row.data);
    switch (row.status) {
      case "start":
        this.goal = this.goal || textOf(data.goal);
        this.setPlan(row, tasksOf(data.subtasks), "");
        break;
      case "inner":
        this.begin(row);
        break;
      case "subtask_submit":
        this.begin(row);
        this.submit(row, data);
        break;
      case "refinement":
        this.note(row, data);
        break;
      case "subtask":
        this.refine(row, tasksOf(row.data));
        break;
      case "finished":
      case "failed":
        this.finish(row);
        break;
    }
  }

  /** @param {Row} row */
  takeFiles(row) {
    const names = listOf(row.workspace_file_list)
      .map((file) => textOf(objectOf(file).name))
      .filter(Boolean);
    const known = this.fileLists[this.fileLists.length - 1];
    // Many runs list their files nowhere; a list that is empty says nothing before there was one, nor at the end.
    if (!names.length && (row.status === "finished" || row.status === "failed")) {
      return;
    }
    const same = names.length === known?.names.length && names.every((name, index) => name === known.names[index]);
    if ((names.length || known) && !same) {
      this.fileLists.push({ offset: row.offset, names });
    }
  }

  /** @param {Row} row @param {Task[]} tasks @param {string} current */
  setPlan(row, tasks, current) {
    this.plans.push({ offset: row.offset, tasks, current });
  }

  /** @param {Row} row @param {string} id @param {(task: Task) => Partial<Task>} change @param {string} [current] */
  changeTask(row, id, change, current) {
    const plan = this.planAt(row.offset);
    const tasks = plan.tasks.map((task) => (task.id === id ? { ...task, ...change(task) } : task));
    this.setPlan(row, tasks, current ?? plan.current);
  }

  /** @param {Row} row a step of the task that it names, which is worked on from here */
  begin(row) {
    const id = row.current ?? "";
    const plan = this.planAt(row.offset);
    if (id && id !== plan.current && plan.tasks.some((task) => task.id === id)) {
      this.changeTask(row, id, (task) => ({ state: "doing", offset: task.offset || row.offset }), id);
    }
  }

  /** @param {Row} row @param {Record<string, unknown>} data */
  submit(row, data) {
    this.changeTask(row, row.current ?? "", () => ({ state: isSuccess(data) === false ? "failed" : "done" }));
  }

  /** @param {Row} row @param {Record<string, unknown>} data */
  note(row, data) {
    const learnt = listOf(data.posterior_plan_reflection).map(textOf);
    const notes = [...learnt, textOf(data.action_list_summary)].filter(Boolean).slice(0, MAX_NOTES);
    this.changeTask(row, textOf(data.task_id) || (row.current ?? ""), (task) => ({
      notes: [...task.notes, ...notes].slice(-MAX_NOTES),
    }));
  }

  /** @param {Row} row @param {Task[]} tasks the plan from here on */
  refine(row, tasks) {
    const before = this.planAt(row.offset);
    const known = new Map(before.tasks.map((task) => [task.id, task]));
    const wanted = new Map(tasks.map((task) => [task.id, task]));
    for (const [id, task] of known) {
      const later = wanted.get(id);
      if (!later) {
        wanted.set(id, task.state === "todo" ? { ...task, state: "dropped", change: "dropped" } : task);
      } else {
        const same = later.name === task.name && later.goal === task.goal;
        const state = task.state === "dropped" || task.state === "todo" ? later.state : task.state;
        wanted.set(id, { ...task, name: later.name, goal: later.goal, state, change: same ? task.change : "changed" });
      }
    }
    for (const [id, task] of wanted) {
      wanted.set(id, known.has(id) || !before.tasks.length ? task : { ...task, change: "added" });
    }
    const sorted = [...wanted.values()].sort((one, other) => compareIds(one.id, other.id)).slice(0, MAX_TASKS);
    this.setPlan(row, sorted, before.current);
    this.begin(row);
  }

  /** @param {Row} row */
  finish(row) {
    const state = row.status === "finished" ? "done" : "failed";
    const tasks = this.planAt(row.offset).tasks;
    this.setPlan(
      row,
      tasks.map((task) => (task.state === "doing" ? { ...task, state } : task)),
      "",
    );
  }
}
