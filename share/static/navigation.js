/** What the viewer can do, by keys and by buttons: where to go in the replay, and how fast. */

import { stepOf } from "./address.js";

const IDLE_LIMIT_SECONDS = 1;

export class Navigation {
  /**
   * @param {import("./replay.js").Replay} replay
   * @param {{ say: (text: string, quietly?: boolean) => void, look: (offset: number) => void }} page to say something, to look at a step;
   *   0 is wherever the replay is
   */
  constructor(replay, page) {
    this.replay = replay;
    this.page = page;
    this.wanted = 0; // where the last seek goes
  }

  /** The step at which the replay is, or to which it is on its way. */
  get here() {
    return this.replay.isSeeking ? this.wanted : this.replay.offset;
  }

  get total() {
    return this.replay.recording?.total ?? 0;
  }

  get duration() {
    return this.replay.recording?.duration ?? 0;
  }

  toggle() {
    const { replay } = this;
    if (replay.playing && replay.end === null) {
      replay.pause();
      this.page.say("Paused");
    } else {
      this.page.look(0);
      replay.play();
      this.page.say("Playing");
    }
  }

  /** @param {number} offset */
  seekStep(offset) {
    this.wanted = Math.max(Math.min(1, this.total), Math.min(offset, this.total));
    this.page.look(0);
    this.replay.seek({ offset: this.wanted });
    this.page.say(`Step ${this.wanted} of ${this.total}`, true); // who sees the page sees it below
  }

  /** @param {number} by */
  step(by) {
    this.seekStep(this.here + by);
  }

  /** Pause, and a step. @param {number} by */
  nudge(by) {
    this.replay.pause();
    this.step(by);
  }

  /** @param {number} at seconds from the first row */
  seek(at) {
    // To the millisecond: what has been divided and multiplied must not miss a row by less.
    const bounded = Math.max(0, Math.min(Math.round(at * 1000) / 1000, this.duration));
    this.wanted = this.replay.place.countUntil(bounded);
    this.page.look(0);
    this.replay.seek({ at: bounded });
  }

  /** Go to a part of the whole; where all steps are of one moment, by their number. @param {number} part 0 to 1 */
  jump(part) {
    const bounded = Math.max(0, Math.min(part, 1));
    if (this.duration) {
      this.seek(bounded * this.duration);
    } else {
      this.seekStep(Math.round(bounded * this.total));
    }
  }

  /** @param {number} by a part of the whole, such as -0.1 */
  skip(by) {
    if (this.duration) {
      this.seek(this.replay.position() + by * this.duration);
    } else {
      this.seekStep(this.here + Math.round(by * this.total));
    }
  }

  /** Go to where the subtask before, or the one behind, begins. @param {number} by */
  marker(by) {
    const offsets = (this.replay.recording?.markers ?? []).map((marker) => marker.offset);
    const { here } = this;
    const offset = by > 0 ? offsets.find((other) => other > here) : offsets.filter((other) => other < here).pop();
    if (offset !== undefined) {
      this.seekStep(offset);
    }
  }

  /** Go to the step that the page's address names. @param {string} hash */
  hash(hash) {
    const offset = stepOf(hash);
    if (offset !== null) {
      this.replay.pause();
      this.seekStep(offset);
    }
  }

  live() {
    this.page.look(0);
    this.replay.jumpToLive();
  }

  /** @param {number} speed */
  speed(speed) {
    this.replay.setSpeed(speed);
    this.page.say(`Speed ${speed}`);
  }

  skipIdle() {
    const skips = this.replay.idleTimeLimit === null;
    this.replay.setIdleTimeLimit(skips ? IDLE_LIMIT_SECONDS : null);
    this.page.say(skips ? "Pauses are skipped" : "Pauses are as recorded");
  }

  fullscreen() {
    if (document.fullscreenElement) {
      document.exitFullscreen();
    } else {
      document.documentElement.requestFullscreen?.().catch(() => {}); // refused within a frame that may not
    }
  }
}
