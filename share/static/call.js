/** The steps in which the agent thinks, uses a tool and hands in a result. */

import { codeBlock, languageOf } from "./code.js";
import { el } from "./dom.js";
import { fold } from "./folds.js";
import { exactJson, jsonView } from "./json.js";
import { longText } from "./long_text.js";
import { outputView } from "./output.js";
import { isSaid, part, prose, section } from "./prose.js";
import { objectOf, textOf } from "./data.js";

/** @typedef {import("./types.js").Files} Files */
/** @typedef {import("./folds.js").Folds} Folds */

const THOUGHTS = ["thoughts", "reasoning", "plan", "criticism"];
const KNOWN = [...THOUGHTS, "node_id", "using_tools"];
/** The arguments that hold code, by their names. @type {Record<string, string>} */
const CODE = {
  command: "bash",
  cmd: "bash",
  bash: "bash",
  script: "bash",
  code: "python",
  python: "python",
  sql: "sql",
};

/** What was thought, wherever it stands. @param {Record<string, unknown>} data @returns {Record<string, unknown>} */
function thoughtsOf(data) {
  const inner = objectOf(objectOf(objectOf(objectOf(data.using_tools).thought_data).thought).properties);
  const [thoughts, reasoning, plan, criticism] = THOUGHTS.map((name) =>
    isSaid(data[name]) ? data[name] : inner[name],
  );
  return { thoughts: thoughts ?? inner.thought, reasoning, plan, criticism };
}

/** @param {Record<string, unknown>} data @param {Files} files @param {Folds} folds @param {string} key */
function thoughtView(data, files, folds, key) {
  const { thoughts, ...rest } = thoughtsOf(data);
  const more = Object.entries(rest).filter(([, value]) => isSaid(value));
  const show = () => {
    const names = more.map(([name, value]) => {
      return section(`${name[0].toUpperCase()}${name.slice(1)}`, value, files, folds, `${key}:${name}`);
    });
    return el("div", { class: "more-thoughts" }, ...names);
  };
  return [
    isSaid(thoughts) && prose(thoughts, files, folds, `${key}:thoughts`),
    more.length > 0 && fold(folds, `${key}:more`, "More thoughts", show),
  ];
}

/** @param {string} tool @param {string} name of the argument */
function languageFor(tool, name) {
  if (/python|notebook|ipython|jupyter/i.test(tool) && name in CODE) {
    return "python";
  }
  if (/shell|bash|terminal|command/i.test(tool) && ["", "command", "cmd", "code"].includes(name)) {
    return "bash";
  }
  return Object.hasOwn(CODE, name) ? CODE[name] : null;
}

/**
 * @param {string} text
 * @param {string | null} language
 * @param {Folds} folds
 * @param {string} key
 * @param {string} label
 */
function codeView(text, language, folds, key, label) {
  return longText(text, folds, key, (piece) => codeBlock(piece, language, label));
}

/** @param {[string, unknown][]} entries @param {string} tool @param {Folds} folds @param {string} key */
function argumentsView(entries, tool, folds, key) {
  const texts = entries.map(([, value]) => textOf(value));
  const path = texts.find((text) => /^[^\n]{1,200}\.[a-z0-9]{1,10}$/i.test(text)) ?? "";
  const list = el("dl", { class: "arguments" });
  for (const [name, value] of entries) {
    const text = typeof value === "string" ? value : String(value);
    const language = languageFor(tool, name) ?? (text.includes("\n") ? languageOf(path) : null);
    const isCode = text.includes("\n") || text.length > 200 || Object.hasOwn(CODE, name);
    const shown = isCode ? codeView(text, language, folds, `${key}.${name}`, name) : el("code", {}, text);
    list.append(el("div", { class: isCode ? "long-argument" : null }, el("dt", {}, name), el("dd", {}, shown)));
  }
  return list;
}

/**
 * A tool's input. Plain arguments are shown as they are, with code highlighted; anything else as JSON.
 *
 * @param {unknown} input
 * @param {string} tool
 * @param {Folds} folds
 * @param {string} key
 * @returns {HTMLElement}
 */
function inputView(input, tool, folds, key) {
  if (typeof input === "string") {
    const value = /^\s*[{[]/.test(input) ? exactJson(input) : undefined;
    const language = languageFor(tool, "") ?? (/python|notebook/i.test(tool) ? "python" : null);
    return value ? inputView(value, tool, folds, key) : codeView(input, language, folds, key, "Input");
  }
  const entries = Object.entries(objectOf(input));
  const isPlain = entries.every(([, value]) => typeof value !== "object" || value === null);
  if (Array.isArray(input) || !entries.length || !isPlain || entries.length > 30) {
    return jsonView(input, folds, key);
  }
  const [[name, value]] = entries;
  if (entries.length === 1 && typeof value === "string") {
    return codeView(value, languageFor(tool, name), folds, key, name);
  }
  return argumentsView(entries, tool, folds, key);
}

/** @param {string} code */
function statusBadge(code) {
  const bad = /fail|error|timeout|invalid|not_found|denied/i.test(code);
  const words = code
    .replace(/^(TOOL_CALL|SUBMIT_AS)_/, "")
    .replaceAll("_", " ")
    .toLowerCase();
  return el("span", { class: `badge ${bad ? "bad" : "good"}`, title: code }, words);
}

/** @param {Record<string, unknown>} tool @param {Files} files @param {Folds} folds @param {string} key */
function toolView(tool, files, folds, key) {
  const [name, code] = [textOf(tool.tool_name), textOf(tool.tool_status_code)];
  const badge = code && code !== "TOOL_CALL_SUCCESS" ? statusBadge(code) : null;
  const [input, output] = [tool.tool_input, tool.tool_output];
  return [
    isSaid(input) && part("Input", inputView(input, name, folds, `${key}:input`)),
    (isSaid(output) || badge) &&
      part(el("span", {}, "Output ", badge), outputView(output, files, folds, `${key}:output`)),
  ];
}

/**
 * What there is that we know nothing of.
 *
 * @param {Record<string, unknown>} data
 * @param {Folds} folds
 * @param {string} key
 */
function otherView(data, folds, key) {
  const others = Object.entries(data).filter(([name, value]) => !KNOWN.includes(name) && isSaid(value));
  const isAll = KNOWN.every((name) => !isSaid(data[name]));
  const make = () => jsonView(Object.fromEntries(others), folds, `${key}:others`);
  return others.length > 0 && (isAll ? make() : fold(folds, `${key}:other`, "Other data", make));
}

/**
 * What the step holds: thoughts, a tool and what it did.
 *
 * @param {Record<string, unknown>} data
 * @param {Files} files
 * @param {Folds} folds
 * @param {string} key
 * @returns {(Node | false | null)[]}
 */
export function callView(data, files, folds, key) {
  const tool = data.using_tools;
  const known = Object.keys(objectOf(tool)).some((name) => name.startsWith("tool_"));
  return [
    ...thoughtView(data, files, folds, key),
    ...(known ? toolView(objectOf(tool), files, folds, key) : []),
    !known && isSaid(tool) && part("Tool", outputView(tool, files, folds, `${key}:tool`)),
    otherView(data, folds, key),
  ];
}

/**
 * What was handed in as a subtask's result.
 *
 * @param {Record<string, unknown>} data
 * @param {Files} files
 * @param {Folds} folds
 * @param {string} key
 * @returns {(Node | false | null)[]}
 */
export function submitView(data, files, folds, key) {
  const tool = objectOf(data.using_tools);
  const input = objectOf(tool.tool_input);
  const result = objectOf(input.result);
  if (!isSaid(result)) {
    return callView(data, files, folds, key);
  }
  const advice = objectOf(input.suggestions_for_latter_subtasks_plan);
  const why = advice.need_for_plan_refine === true ? "Why the plan should change" : "On the plan";
  return [
    ...thoughtView(data, files, folds, key),
    section("Conclusion", result.conclusion, files, folds, `${key}:conclusion`),
    section("Milestones", result.milestones, files, folds, `${key}:milestones`),
    section(why, advice.reason, files, folds, `${key}:advice`),
    isSaid(tool.tool_output) &&
      fold(folds, `${key}:answer`, "Answer", () => outputView(tool.tool_output, files, folds, `${key}:output`)),
    otherView(data, folds, key),
  ];
}
