/** The bar below the steps: play, the timeline, where the replay is, and how fast. */

import { clockTime, el } from "./dom.js";
import { icon } from "./icons.js";
import { Scrubber } from "./scrubber.js";

const SPEEDS = [0.5, 1, 1.5, 2, 4, 8];

/** @param {string} label @param {string} name @param {() => void} action */
function iconButton(label, name, action) {
  return el("button", { type: "button", "aria-label": label, title: label, onclick: action }, icon(name));
}

export class Controls {
  /**
   * @param {import("./navigation.js").Navigation} navigation
   * @param {{ copyLink: () => void, help: () => void }} actions
   */
  constructor(navigation, actions) {
    this.scrubber = new Scrubber(navigation);
    this.play = iconButton("Play", "play", () => navigation.toggle());
    this.play.classList.add("play");
    this.shown = "play";
    this.previous = iconButton("Previous step", "previous", () => navigation.step(-1));
    this.next = iconButton("Next step", "next", () => navigation.step(1));
    this.clock = el("span", { class: "counter clock" });
    this.steps = el("span", { class: "counter" });
    const speeds = SPEEDS.map((speed) => el("option", { value: speed }, `${speed}×`));
    this.speed = el("select", { "aria-label": "Speed" }, ...speeds);
    this.speed.addEventListener("change", () => {
      navigation.speed(Number(this.speed.value));
      this.speed.blur(); // the keys are the player's again
    });
    this.skipIdle = el("button", { type: "button", "aria-pressed": "false" }, "Skip idle");
    this.skipIdle.addEventListener("click", () => navigation.skipIdle());
    this.badge = el("span", { class: "live-badge", hidden: true }, "Live");
    this.live = el("button", { type: "button", hidden: true, onclick: () => navigation.live() }, "Jump to live");
    this.fullscreen = iconButton("Fullscreen", "fullscreen", () => navigation.fullscreen());
    this.fullscreen.hidden = !document.fullscreenEnabled;
    const copyLink = iconButton("Copy link to this step", "link", actions.copyLink);
    const help = iconButton("Keyboard shortcuts", "help", actions.help);
    const position = [this.previous, this.play, this.next, this.steps, this.clock, this.badge, this.live];
    const rest = [this.speed, this.skipIdle, copyLink, help, this.fullscreen];
    const buttons = el("div", { class: "control-buttons" }, ...position, el("span", { class: "gap" }), ...rest);
    const bar = { class: "controls", role: "group", "aria-label": "Playback" };
    this.element = el("div", bar, this.scrubber.element, buttons);
    // After a click by the mouse, the space bar is the player's again.
    this.element.addEventListener("click", (event) => {
      const button = event.target instanceof Element ? event.target.closest("button") : null;
      if (event.detail > 0) {
        button?.blur();
      }
    });
  }

  /** @param {import("./replay.js").Replay} replay */
  update(replay) {
    const { recording, offset } = replay;
    const [name, label] =
      replay.end !== null || (replay.outcome !== null && !replay.playing)
        ? ["replay", "Play"]
        : replay.playing
          ? ["pause", "Pause"]
          : ["play", "Play"];
    if (this.shown !== name) {
      this.shown = name;
      this.play.setAttribute("aria-label", label);
      this.play.title = label;
      this.play.replaceChildren(icon(name));
    }
    const total = recording?.total ?? 0;
    const live = recording?.live ?? false;
    // Not `disabled`: that would take the keyboard away from who has just pressed it.
    this.previous.setAttribute("aria-disabled", String(offset <= 1));
    this.next.setAttribute("aria-disabled", String(offset >= total && !live));
    this.steps.textContent = `Step ${offset} / ${total}`;
    this.badge.hidden = !live;
    this.live.hidden = !live || (replay.atLiveEdge && replay.playing);
    this.showSpeed(replay.speed);
    this.skipIdle.setAttribute("aria-pressed", String(replay.idleTimeLimit !== null));
    this.tick(replay);
  }

  /** Show how the time goes on. @param {import("./replay.js").Replay} replay */
  tick(replay) {
    const at = replay.position();
    const text = `${clockTime(at)} / ${clockTime(replay.recording?.duration ?? 0)}`;
    if (this.clock.textContent !== text) {
      this.clock.textContent = text;
    }
    this.scrubber.show(replay.offset, at);
  }

  /** @param {number} speed any that the address has asked for */
  showSpeed(speed) {
    if (!SPEEDS.includes(speed) && ![...this.speed.options].some((option) => Number(option.value) === speed)) {
      this.speed.append(el("option", { value: speed }, `${speed}×`));
    }
    this.speed.value = String(speed);
  }
}
