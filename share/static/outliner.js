/** What is known of all steps before they have come: where each stands on the timeline, and of what kind it is. */

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
    this.epoch = "";
  }

  /** @type {(() => void) | undefined} */
  onLearnt;

  /** Add what has come since, or begin anew where the recording isn't the same any more. */
  update() {
    const { recording, rows } = this.replay;
    if (recording && recording.epoch !== this.epoch) {
      this.epoch = recording.epoch;
      [this.marks, this.known] = [[], 0];
      this.read().then(
        (outline) => this.learn(outline),
        () => {},
      ); // else marks come with their steps
    }
    for (const { offset, at, status } of rows.slice(this.known)) {
      this.marks.push({ offset, at, status });
      this.known = offset;
    }
  }

  /** @param {import("./types.js").Outline} outline */
  learn(outline) {
    if (outline.epoch === this.epoch) {
      this.marks = outline.steps.map(([offset, at, status]) => ({ offset, at, status }));
      this.known = outline.total;
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
