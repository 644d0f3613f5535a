/** A recording in the gallery. */

import { el } from "./dom.js";
import { LANGUAGE, ago, exactly, lasting, moment } from "./when.js";

/** @typedef {import("./listing.js").Listed} Listed */

const UNTITLED = "A recorded run";
const UNSEEN = /(?!\s)[\p{Cc}\p{Bidi_Control}]/gu; // what would turn the text around it about
const MAX_CHARS = 300; // a card shows two lines, and there may be thousands of cards

/** @type {Record<string, string>} */
const OUTCOMES = { live: "Live", finished: "Finished", failed: "Failed", broken: "Broken off" };

/**
 * @param {Listed} recording
 * @param {string} root where the server's routes are, with a slash at its end
 * @param {Date} now
 */
export function cardOf(recording, root, now) {
  const description = shortened(recording.description);
  const goal = withoutTitle(shortened(recording.goal), description);
  const outcome = outcomeOf(recording);
  const link = el("a", { href: `${root}r/${quoted(recording.id)}`, dir: "auto" }, description || goal || UNTITLED);
  const top = el("p", { class: "card-top" }, el("span", { class: `outcome is-${outcome}` }, OUTCOMES[outcome]));
  const time = when(recording.create_time, now);
  if (time) {
    time.addEventListener("click", () => link.click()); // it lies above the link, for its title
    top.append(time);
  }
  const card = el("div", { class: "card", role: "listitem" }, el("h2", {}, link), top);
  if (description && goal) {
    card.append(el("p", { class: "goal", dir: "auto" }, goal));
  }
  card.append(facts(recording));
  return card;
}

/** A goal often begins with the line that has become the description. @param {string} goal @param {string} title */
function withoutTitle(goal, title) {
  return title && goal.startsWith(title) ? goal.slice(title.length).trim() : goal;
}

/** @param {Listed} recording */
function facts(recording) {
  const steps = `${recording.rows.toLocaleString("en")} ${recording.rows === 1 ? "step" : "steps"}`;
  const who = [shortened(recording.user_name), shortened(recording.agent)].filter((text) => text);
  return el(
    "ul",
    { class: "facts", role: "list" },
    ...who.map((text, index) => el("li", { class: index ? "agent" : "author" }, el("bdi", {}, text))),
    el("li", { class: "steps" }, steps),
    recording.duration > 0 && el("li", {}, lasting(recording.duration)),
  );
}

/** @param {string | null} text @param {Date} now */
function when(text, now) {
  const date = moment(text);
  return date
    ? el("time", { datetime: date.toISOString(), title: exactly(date), lang: LANGUAGE }, ago(date, now))
    : null;
}

/** @param {Listed} recording */
function outcomeOf({ live, status }) {
  if (live) {
    return "live";
  }
  return status === "finished" || status === "failed" ? status : "broken";
}

/** @param {string | null} text */
function shortened(text) {
  const line = (text ?? "")
    .slice(0, MAX_CHARS * 2)
    .replace(UNSEEN, "")
    .replace(/\s+/g, " ")
    .trim();
  const characters = Array.from(line);
  return characters.length > MAX_CHARS ? `${characters.slice(0, MAX_CHARS).join("")}…` : line;
}

/** @param {string} id */
function quoted(id) {
  return encodeURIComponent(id.replace(/\p{Surrogate}/gu, "\ufffd")); // half a character can't be quoted
}
