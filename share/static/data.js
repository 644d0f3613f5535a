/** What strangers have recorded, read without trusting that it is what it should be. Pure. */

/** @param {unknown} value @returns {Record<string, unknown>} the object that it is, or an empty one */
export function objectOf(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? /** @type {any} */ (value) : {};
}

/** @param {unknown} value */
export function textOf(value) {
  return typeof value === "string" ? value : "";
}

/** @param {unknown} value @returns {unknown[]} the list that it is, or an empty one */
export function listOf(value) {
  return Array.isArray(value) ? value : [];
}

/**
 * The value of a JSON text, with whole numbers of any size: those beyond what a number holds become BigInt.
 *
 * @param {string} text
 */
export function parse(text) {
  if (!/[0-9]{16}/.test(text)) {
    return JSON.parse(text);
  }
  /** @type {(key: string, value: unknown, context?: { source?: string }) => unknown} */
  const keepDigits = (_key, value, context) => {
    const source = context?.source;
    const whole = typeof value === "number" && !Number.isSafeInteger(value) && source && /^-?[0-9]+$/.test(source);
    return whole ? BigInt(source) : value;
  };
  return JSON.parse(text, keepDigits);
}

/**
 * Whether the subtask that was handed in is done; null where the step doesn't say.
 *
 * @param {unknown} data
 * @returns {boolean | null}
 */
export function isSuccess(data) {
  const tool = objectOf(objectOf(data).using_tools);
  const { success } = objectOf(objectOf(tool.tool_input).result);
  if (typeof success === "boolean") {
    return success;
  }
  const code = textOf(tool.tool_status_code);
  return code ? code === "SUBMIT_AS_SUCCESS" : null;
}

/** Whether a row hands in a subtask that has failed. @param {import("./types.js").Row} row */
export function isFailedSubmit(row) {
  return row.status === "subtask_submit" && isSuccess(row.data) === false;
}
