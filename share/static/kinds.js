/** The kinds of steps, by which they are coloured and named. Pure. */

/** @typedef {"plan" | "tool" | "submit" | "refinement" | "help" | "finished" | "failed" | "other"} Kind */

/** @type {Record<string, Kind>} */
const KINDS = {
  start: "plan",
  subtask: "plan",
  inner: "tool",
  subtask_submit: "submit",
  refinement: "refinement",
  ask_for_human_help: "help",
  finished: "finished",
  failed: "failed",
  error: "failed",
};

/** @type {Record<Kind, string>} */
const LABELS = {
  plan: "Plan",
  tool: "Tool",
  submit: "Result",
  refinement: "Reflection",
  help: "Help wanted",
  finished: "Finished",
  failed: "Failed",
  other: "Event",
};

/** @param {string} status of a row @returns {Kind} */
export function kindOf(status) {
  return Object.hasOwn(KINDS, status) ? KINDS[status] : "other";
}

/** @param {(string | null)[]} statuses of the last row, and of the run @returns {string} how the run ended */
export function outcomeOf(...statuses) {
  return statuses.find((status) => status === "finished" || status === "failed") ?? "truncated";
}

/** @param {Kind} kind */
export function kindLabel(kind) {
  return LABELS[kind];
}
