/** Where a replay is in time, also between two rows: reckoned, as nobody tells every moment of it. */

import { countUntil, positionAt } from "./timeline.js";

function now() {
  return performance.now() / 1000;
}

export class Place {
  constructor() {
    this.since = { at: 0, now: 0 };
    /** @type {number[]} of all rows, in seconds from the first, as far as known */
    this.times = [];
  }

  /** Be at a moment of the recording. @param {number} at seconds from the first row */
  set(at) {
    this.since = { at, now: now() };
  }

  /**
   * Where it is while it plays: on its way from the last row that has come to the next.
   *
   * @param {number} offset of that row
   * @param {number} speed
   * @param {number | null} limit seconds
   */
  after(offset, speed, limit) {
    const [previous, next] = [this.times[offset - 1], this.times[offset]];
    return next === undefined ? this.since.at : positionAt(this.since, previous, next, speed, limit, now());
  }

  /** @param {import("./types.js").Row} row that has come */
  learn(row) {
    this.times[row.offset - 1] = row.at;
  }

  /** @param {import("./types.js").Outline} outline that may be thinned out, and then says too little */
  learnAll(outline) {
    if (outline.steps.length === outline.total) {
      outline.steps.forEach(([offset, at]) => (this.times[offset - 1] ??= at));
    }
  }

  /** How many rows there are up to a moment. @param {number} at */
  countUntil(at) {
    return countUntil(this.times, at, Number);
  }
}
