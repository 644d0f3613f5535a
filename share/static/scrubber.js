/** The timeline: a mark for every step, the subtasks above them, and the place of the replay, to be dragged. */

import { clockTime, el } from "./dom.js";
import { drawMarks } from "./marks.js";

/** @typedef {import("./marks.js").Mark} Mark */

const MAX_MARKERS = 200;

export class Scrubber {
  /** @param {import("./navigation.js").Navigation} navigation */
  constructor(navigation) {
    this.navigation = navigation;
    /** @type {Mark[]} */
    this.marks = [];
    this.duration = 0;
    this.total = 0;
    /** @type {number | null} where it is dragged to, 0 to 1 */
    this.dragged = null;
    this.offset = 0;
    this.at = 0;
    this.said = "";
    /** @type {unknown[]} of what the marks were drawn */
    this.known = [];
    this.canvas = el("canvas", { class: "scrubber-marks", "aria-hidden": "true" });
    this.played = el("div", { class: "scrubber-played" });
    this.hint = el("div", { class: "scrubber-hint", hidden: true, "aria-hidden": "true" });
    this.markers = el("div", { class: "scrubber-markers" });
    this.slider = el(
      "div",
      { class: "scrubber-slider", role: "slider", tabindex: 0, "aria-label": "Timeline", "aria-valuemin": 0 },
      this.canvas,
      this.played,
    );
    this.element = el("div", { class: "scrubber" }, this.markers, this.slider, this.hint);
    this.listen();
  }

  listen() {
    const { slider } = this;
    slider.addEventListener("pointerdown", (event) => {
      slider.setPointerCapture(event.pointerId);
      this.drag(event);
    });
    slider.addEventListener("pointermove", (event) => {
      if (this.dragged !== null) {
        this.drag(event);
      }
      this.showHint(event);
    });
    slider.addEventListener("pointerup", () => this.release());
    slider.addEventListener("pointercancel", () => (this.dragged = null));
    slider.addEventListener("pointerleave", () => (this.hint.hidden = true));
    slider.addEventListener("keydown", (event) => this.onKey(event));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** @param {KeyboardEvent} event as every slider has it */
  onKey(event) {
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowLeft: () => this.navigation.step(-1),
      ArrowDown: () => this.navigation.step(-1),
      ArrowRight: () => this.navigation.step(1),
      ArrowUp: () => this.navigation.step(1),
      PageDown: () => this.navigation.skip(-0.1),
      PageUp: () => this.navigation.skip(0.1),
      Home: () => this.navigation.jump(0),
      End: () => this.navigation.jump(1),
    };
    if (!event.shiftKey && Object.hasOwn(keys, event.key)) {
      event.preventDefault();
      keys[event.key]();
    } else if (event.shiftKey && event.key.startsWith("Arrow")) {
      event.preventDefault();
      this.navigation.skip(event.key === "ArrowLeft" || event.key === "ArrowDown" ? -0.1 : 0.1);
    }
  }

  /** @param {PointerEvent} event */
  placeOf(event) {
    const box = this.slider.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - box.left) / (box.width || 1)));
  }

  /** @param {PointerEvent} event */
  drag(event) {
    this.dragged = this.placeOf(event);
    this.played.style.width = `${this.dragged * 100}%`;
  }

  release() {
    if (this.dragged !== null) {
      const place = this.dragged;
      this.dragged = null;
      this.navigation.jump(place);
    }
  }

  /** @param {PointerEvent} event */
  showHint(event) {
    const place = this.placeOf(event);
    this.hint.hidden = false;
    this.hint.textContent = this.duration ? clockTime(place * this.duration) : `Step ${Math.round(place * this.total)}`;
    this.hint.style.left = `${place * 100}%`;
  }

  placeNow() {
    return this.duration ? this.at / this.duration : this.total ? this.offset / this.total : 0;
  }

  /** @param {Mark[]} marks @param {import("./types.js").Recording | null} recording */
  setMarks(marks, recording) {
    const { markers = [], duration = 0, total = 0 } = recording ?? {};
    const known = [marks, marks.length, markers, duration, total];
    if (known.every((value, index) => value === this.known[index])) {
      return;
    }
    this.known = known;
    [this.marks, this.duration, this.total] = [marks, duration, total];
    this.markers.replaceChildren(
      ...markers.slice(0, MAX_MARKERS).map((marker) => {
        // The same can be reached by the keyboard in the plan, and by [ and ].
        const button = el("button", { class: "marker", type: "button", tabindex: -1, title: marker.label });
        button.setAttribute("aria-label", `Go to ${marker.label}`);
        button.style.left = `${this.partOf(marker) * 100}%`;
        button.addEventListener("click", () => this.navigation.seekStep(marker.offset));
        return button;
      }),
    );
    this.draw();
  }

  draw() {
    drawMarks(this.canvas, this.marks, (mark) => this.partOf(mark));
  }

  /** Where a step stands on the timeline, 0 to 1. @param {{ at: number, offset: number }} step */
  partOf({ at, offset }) {
    return Math.min(1, this.duration ? at / this.duration : (offset - 1) / Math.max(1, this.total - 1));
  }

  /** Show where the replay is. @param {number} offset @param {number} at seconds */
  show(offset, at) {
    [this.offset, this.at] = [offset, at];
    if (this.dragged === null) {
      this.played.style.width = `${Math.min(1, this.placeNow()) * 100}%`;
    }
    const text = `Step ${offset} of ${this.total}, ${clockTime(at)} of ${clockTime(this.duration)}`;
    if (text !== this.said) {
      this.said = text;
      this.slider.setAttribute("aria-valuetext", text);
      this.slider.setAttribute("aria-valuenow", String(Math.round((this.duration ? at : offset) * 10) / 10));
      this.slider.setAttribute("aria-valuemax", String(this.duration || this.total));
    }
  }
}
