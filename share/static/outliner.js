/** What is known of all steps before they have come: where each stands on the timeline, and of what kind it is. */

import { isFailedSubmit } from "./data.js";

/** @typedef {import("./marks.js").Mark} Mark */

export class Outliner {
  /**
   * @param {import("./replay.js").Replay} replay
   * @param {() => Promise<import("./types.js").Outline>} read
   */
  constructor(replay, read) {
    this.replay = replay;
    this.read = read;
    /** @type {Mark[]} */
    this.marks = [];
    this.known = 0; // rows that the marks stand for
    this.looked = 0; // rows that have been looked at for failures
    this.epoch = "";
    this.failed = false;
  }

  /** @type {(() => void) | undefined} */
  onLearnt;

  /** Add what has come since, or begin anew where the recording isn't the same any more. */
  update() {
    const { recording, rows } = this.replay;
    if (recording && recording.epoch !== this.epoch) {
      this.epoch = recording.epoch;
      [this.marks, this.known, this.looked] = [[], 0, 0];
      this.ask();
    }
    for (const { offset, at, status } of rows.slice(this.known)) {
      this.marks.push({ offset, at, status });
      this.known = offset;
    }
    this.markFailures(rows);
  }

  /** Ask for the outline; where that fails, marks come with their steps. */
  ask() {
    this.read().then(
      (outline) => this.learn(outline),
      () => (this.failed = true),
    );
  }

  /** Ask again for what couldn't be read while the connection was lost. */
  askAgain() {
    if (this.failed) {
      this.failed = false;
      this.ask();
    }
  }

  /** That a subtask has failed is known when its step has come. @param {import("./types.js").Row[]} rows */
  markFailures(rows) {
    for (const row of rows.slice(this.looked)) {
      if (isFailedSubmit(row)) {
        this.marks = this.marks.map((mark) => (mark.offset === row.offset ? { ...mark, status: "failed" } : mark));
      }
    }
    this.looked = rows.length;
  }

  /** @param {import("./types.js").Outline} outline */
  learn(outline) {
    if (outline.epoch === this.epoch) {
      this.marks = outline.steps.map(([offset, at, status]) => ({ offset, at, status }));
      this.known = outline.total;
      this.looked = 0;
      this.replay.learn(outline);
      this.onLearnt?.();
    }
  }
}

/** The outline of a recording that the page holds. @param {import("./local.js").Held} held @returns {import("./types.js").Outline} */
export function outlineOf({ recording, rows }) {
  return {
    total: rows.length,
    epoch: recording.epoch,
    steps: rows.map(({ offset, at, status }) => [offset, at, status]),
  };
}
