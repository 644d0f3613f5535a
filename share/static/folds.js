/** What the viewer has opened. It outlives the elements: a step that is scrolled away leaves the page. */

import { el } from "./dom.js";

export class Folds {
  constructor() {
    /** @type {Map<string, boolean>} */
    this.states = new Map();
  }

  /** @param {string} key */
  isOpen(key, initially = false) {
    return this.states.get(key) ?? initially;
  }

  /** @param {string} key @param {boolean} open */
  set(key, open) {
    this.states.set(key, open);
  }
}

/**
 * A part that opens and closes. What is in it is made when it is first opened.
 *
 * @param {Folds} folds
 * @param {string} key
 * @param {string | Node} summary
 * @param {() => Node} make
 * @returns {HTMLDetailsElement}
 */
export function fold(folds, key, summary, make, initially = false) {
  const body = el("div", { class: "fold-body" });
  const details = el("details", { class: "fold" }, el("summary", {}, summary), body);
  const fill = () => {
    if (details.open && !body.hasChildNodes()) {
      body.append(make());
    }
  };
  details.open = folds.isOpen(key, initially);
  fill();
  details.addEventListener("toggle", () => {
    folds.set(key, details.open);
    fill();
  });
  return details;
}
