/** The steps, one below the other. Only those that are on the screen, and a few around them, are in the page. */

import { el } from "./dom.js";
import { Entries } from "./entries.js";
import { Heights } from "./heights.js";

/** @typedef {import("./types.js").Row} Row */

const GUESS = 180; // pixels, until a step has been measured
const MARGIN = 600; // pixels above and below the screen that are there already
const NEAR = 60;
const TOP_GAP = 12;

export class Steps {
  /**
   * @param {import("./types.js").Files} files
   * @param {import("./folds.js").Folds} folds
   * @param {(offset: number) => void} onSelect a step is looked at
   */
  constructor(files, folds, onSelect) {
    this.onSelect = onSelect;
    /** @type {Row[]} */
    this.rows = [];
    this.total = 0;
    this.selected = 0;
    this.following = true;
    this.top = 0; // where it was scrolled to last, and how high the list was then
    this.height = 0;
    this.heights = new Heights(GUESS);
    this.entries = new Entries(files, folds, (sizes) => this.measure(sizes));
    this.frame = 0;
    this.first = 0; // the index of the first that is in the page
    this.above = el("div");
    this.below = el("div");
    this.list = el("div", { class: "steps-list" }, this.above, this.below);
    this.element = el("div", { class: "steps", role: "feed", "aria-label": "Steps", tabindex: 0 }, this.list);
    new ResizeObserver(() => this.draw()).observe(this.element);
    this.listen();
  }

  /** @type {(() => void) | undefined} told when the end has been reached by scrolling */
  onFollow;

  /** @type {(() => void) | undefined} told when the newest step isn't followed any more */
  onLeave;

  listen() {
    this.element.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.element.addEventListener("wheel", (event) => event.deltaY < 0 && this.leave(), { passive: true });
    this.element.addEventListener("touchmove", () => this.leave(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    const select = (/** @type {Event} */ event) => this.select(event.target);
    this.element.addEventListener("click", select);
    this.element.addEventListener("focusin", select);
  }

  /** @param {KeyboardEvent} event as ARIA's feed has it */
  onKey(event) {
    const by = { PageDown: 1, PageUp: -1 }[event.key];
    const article = event.target instanceof Element ? event.target.closest("article") : null;
    if (by && article && event.target === article) {
      const offset = Number(article.dataset.offset) + by;
      if (offset >= 1 && offset <= this.rows.length) {
        event.preventDefault();
        this.focus(offset);
      }
    }
  }

  /** @param {EventTarget | null} target */
  select(target) {
    const article = target instanceof Element ? target.closest("article") : null;
    const offset = Number(article?.dataset.offset ?? 0);
    if (offset && offset !== this.selected) {
      this.onSelect(offset);
    }
  }

  /** Forget all steps: those that come are other ones. */
  clear() {
    this.entries.clear();
    this.heights = new Heights(GUESS);
    this.rows = [];
  }

  /** Show these rows; the last of them is where the replay is. @param {Row[]} rows @param {number} total */
  update(rows, total) {
    if (rows.length < this.heights.length) {
      this.entries.forget(rows.length);
      this.following = true;
    }
    this.rows = rows;
    this.total = total;
    this.heights.resize(rows.length);
    this.mark(this.selected);
    this.draw();
  }

  /** Say which step is looked at, 0 for the newest. @param {number} offset */
  mark(offset) {
    this.selected = offset;
    this.entries.mark(offset || this.rows.length, this.total);
  }

  /** Bring a step to the top of the screen, and the keyboard to it. @param {number} offset */
  focus(offset) {
    this.following = false;
    this.scrollTo(this.heights.start(offset - 1));
    this.render();
    this.entries.shown.get(offset - 1)?.focus({ preventScroll: true });
  }

  /** @param {number} top */
  scrollTo(top) {
    this.element.scrollTop = top;
    this.top = this.element.scrollTop;
    this.height = this.element.scrollHeight;
  }

  /** Whoever scrolls up wants to read, and isn't taken along to the next step; at the end he is again. */
  leave() {
    if (this.following && this.element.scrollHeight > this.element.clientHeight) {
      this.following = false;
      this.onLeave?.();
    }
  }

  scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.element;
    const atBottom = scrollTop + clientHeight >= scrollHeight - 1;
    // Where the list has become shorter or longer meanwhile, that may have moved it.
    if (scrollTop < this.top - 1 && !atBottom && scrollHeight === this.height) {
      this.leave();
    } else if (!this.following && scrollTop > this.top && (atBottom || scrollTop >= this.tail() - NEAR)) {
      this.following = true;
      this.onFollow?.();
    }
    [this.top, this.height] = [scrollTop, scrollHeight];
    this.draw();
  }

  /** Where the screen stands when the newest step is followed: its head is never above it. */
  tail() {
    const bottom = this.list.offsetHeight - this.element.clientHeight;
    return Math.max(0, Math.min(bottom, this.heights.start(this.heights.length - 1) - TOP_GAP));
  }

  draw() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.render();
    });
  }

  render() {
    const { element, heights } = this;
    if (this.following && heights.length) {
      this.place(Math.max(0, heights.start(heights.length) - element.clientHeight - MARGIN));
      this.scrollTo(this.tail());
    }
    this.place(element.scrollTop);
    this.mark(this.selected);
  }

  /** Have the steps around a place in the page. @param {number} top */
  place(top) {
    const { heights } = this;
    const first = heights.at(top - MARGIN);
    const last = heights.length ? heights.at(top + this.element.clientHeight + MARGIN) : -1;
    this.first = first;
    this.above.style.height = `${heights.start(first)}px`;
    this.below.style.height = `${heights.start(heights.length) - heights.start(last + 1)}px`;
    if (!this.entries.show(this.rows, first, last, this.above, (index) => heights.of(index))) {
      this.draw();
    }
  }

  /** @param {Map<number, number>} sizes */
  measure(sizes) {
    // What is on the screen stays where it is, whatever has become longer or shorter above it.
    const top = this.element.scrollTop;
    const anchor = this.heights.at(top);
    const before = this.heights.start(anchor);
    this.heights.measure(sizes);
    const moved = this.heights.start(anchor) - before;
    if (moved && !this.following) {
      this.above.style.height = `${this.heights.start(this.first)}px`;
      this.scrollTo(top + moved);
    }
    this.draw();
  }
}
