/** The page around the steps: what run it is, what is said to the viewer, and where each part stands. */

import { el } from "./dom.js";
import { icon } from "./icons.js";

const SAID_MS = 4000;
/** @type {Record<string, string>} */
const OUTCOMES = { finished: "Finished", failed: "Failed", truncated: "Broken off" };
/** @type {Record<number, string>} */
const REFUSALS = { 4503: "Not available", 4504: "Not found", 4505: "Not found" };

/**
 * Where the sign in the corner leads; `framed` where the player is in another site's page.
 *
 * @typedef {{ address: string, label: string, framed: boolean }} Home
 */

/**
 * @typedef {object} Parts
 * @property {import("./replay.js").Replay} replay
 * @property {import("./run.js").Run} run
 * @property {import("./steps.js").Steps} steps
 * @property {import("./plan.js").PlanView} plan
 * @property {import("./files_pane.js").FilesPane} pane
 * @property {import("./controls.js").Controls} controls
 * @property {import("./navigation.js").Navigation} navigation
 */

export class Layout {
  /** @param {Parts} parts @param {Home | null} home */
  constructor(parts, home) {
    this.parts = parts;
    this.home = home;
    this.timer = 0;
    this.title = el("h1", {}, "Replay");
    this.outcome = el("span", { class: "outcome", hidden: true });
    this.meta = el("p", { class: "meta" });
    this.goal = el("p", { class: "goal-text", tabindex: 0, role: "region", "aria-label": "Goal" });
    this.goalLine = el("span", { class: "goal-line" });
    this.goalBox = el("details", { class: "goal", hidden: true }, el("summary", {}, "Goal ", this.goalLine), this.goal);
    this.status = el("div", { class: "said", role: "status" });
    this.connection = el("div", { class: "connection", role: "status" });
    this.newest = el("button", { type: "button", class: "newest", hidden: true }, "↓ Newest step");
    this.newest.addEventListener("click", () => this.onNewest?.());
    this.startButton = el("button", { type: "button", class: "start", hidden: true }, "▶ Start the replay");
    this.startButton.addEventListener("click", () => parts.navigation.toggle());
    this.header = this.makeHeader();
    const heading = el("h2", { class: "unseen" }, "Steps");
    const middle = el("div", { class: "middle" }, heading, parts.steps.element, this.newest, this.startButton);
    const body = el("div", { class: "body" }, parts.plan.element, middle, parts.pane.element);
    const bars = [this.connection, this.status, parts.controls.element];
    this.element = el("main", { class: "player" }, this.header, body, ...bars);
  }

  makeHeader() {
    const { home } = this;
    const line = el("div", { class: "title-line" }, this.title, this.outcome);
    const head = el("div", { class: "head-text" }, line, this.meta);
    const panes = el(
      "div",
      { class: "pane-buttons" },
      this.paneButton("Plan", "plan"),
      this.paneButton("Files", "files"),
    );
    const sign =
      home && el("a", { class: "home", href: home.address, title: home.label, "aria-label": home.label }, icon("home"));
    sign?.setAttribute("target", home?.framed ? "_blank" : "_self");
    return el("header", {}, sign, head, panes, this.goalBox);
  }

  /** @type {(() => void) | undefined} */
  onNewest;

  /** Where there is no room beside the steps, a pane is opened over them. @param {string} label @param {string} pane */
  paneButton(label, pane) {
    const button = el("button", { type: "button", "aria-expanded": "false", "aria-controls": pane }, label);
    button.addEventListener("click", () => {
      const open = this.element.dataset.pane === pane ? "" : pane;
      this.element.dataset.pane = open;
      for (const other of this.header.querySelectorAll("button[aria-controls]")) {
        other.setAttribute("aria-expanded", String(other.getAttribute("aria-controls") === open));
      }
    });
    return button;
  }

  update() {
    const { replay, run, steps } = this.parts;
    const { recording, end } = replay;
    const state =
      replay.connection === "open" ? (end !== null ? "ended" : replay.playing ? "playing" : "paused") : null;
    document.documentElement.dataset.state = state ?? (replay.connection === "lost" ? "reconnecting" : "connecting");
    document.documentElement.dataset.offset = String(replay.offset);
    this.setText(this.connection, this.connectionText());
    this.newest.hidden = steps.following || !replay.offset;
    this.startButton.hidden = replay.offset > 0 || replay.playing || !recording?.total;
    if (recording) {
      this.setText(this.title, recording.description || "A recorded run");
      this.setText(this.meta, [recording.user_name, recording.agent].filter(Boolean).join(" · "));
      this.setGoal(run.goal, recording.description || "");
      const { outcome } = replay;
      this.outcome.hidden = outcome === null;
      this.outcome.className = `outcome is-${outcome}`;
      this.setText(this.outcome, OUTCOMES[outcome ?? ""] ?? "");
    }
  }

  connectionText() {
    const { connection, message, recording } = this.parts.replay;
    if (connection === "lost") {
      return `${message}. Trying again …`;
    }
    if (connection === "connecting") {
      return message ? `${message}. Trying again …` : "Connecting …";
    }
    return recording && !recording.total
      ? recording.live
        ? "Waiting for the first step …"
        : "This recording is empty."
      : "";
  }

  /** @param {string} goal @param {string} title */
  setGoal(goal, title) {
    if (this.goal.textContent !== goal) {
      this.goal.textContent = goal;
      this.goalLine.textContent = goal.slice(0, 300);
      this.goalBox.hidden = !goal || goal === title;
    }
  }

  /** @param {HTMLElement} element @param {string} text */
  setText(element, text) {
    if (element.textContent !== text) {
      element.textContent = text; // a screen reader says what is set, also where it is the same
    }
  }

  /** Say something for a moment; quietly, to those alone who hear the page. @param {string} text */
  say(text, quietly = false) {
    clearTimeout(this.timer);
    this.status.classList.toggle("unseen", quietly);
    this.setText(this.status, text);
    this.timer = setTimeout(() => this.setText(this.status, ""), SAID_MS);
  }

  /** What was shown goes, too: it isn't for this viewer any more. @param {string} message @param {number} code */
  refuse(message, code) {
    document.documentElement.dataset.state = "refused";
    const title = REFUSALS[code] ?? "Not available";
    document.title = title;
    const heading = el("h1", { tabindex: -1 }, title);
    this.element.className = "message";
    const { home } = this;
    const link = home && !home.framed && el("p", {}, el("a", { href: home.address }, home.label));
    this.element.replaceChildren(heading, el("p", {}, message), ...(link ? [link] : []));
    heading.focus();
  }
}
