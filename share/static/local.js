/** replay.v1 within the page, over a recording that the page holds itself. */

import { outcomeOf } from "./kinds.js";
import { Timeline } from "./timeline.js";

/** @typedef {import("./connection.js").Transport} Transport */

const BATCH_ROWS = 64;

/**
 * @typedef {object} Held
 * @property {import("./types.js").Recording} recording
 * @property {import("./types.js").Row[]} rows
 */

/** @implements {Transport} */
export class LocalReplay {
  /** @param {Held} held */
  constructor(held) {
    this.recording = held.recording;
    this.rows = held.rows;
    this.timeline = new Timeline(held.rows.map((row) => row.at));
    this.reason = outcomeOf(held.rows[held.rows.length - 1]?.status, held.recording.status);
    this.ended = false;
    this.timer = 0;
  }

  /** @param {import("./connection.js").Listener} listener */
  open(listener) {
    this.listener = listener;
    listener.onFrame({ status: "connect", success: true, message: "connect success", data: this.recording });
  }

  /** @param {Record<string, any>} command */
  send(command) {
    // The answer comes later, as it does from a server.
    setTimeout(() => this.carryOut(command));
  }

  /** @param {Record<string, any>} command */
  carryOut(command) {
    const [timeline, now] = [this.timeline, this.now()];
    timeline.settle(now);
    switch (command.type) {
      case "shared":
        timeline.speed = command.speed;
        timeline.limit = command.idle_time_limit;
        timeline.playing = command.autoplay;
        timeline.seekAt(command.start_at ?? -1, now);
        break;
      case "play":
        timeline.playing = true;
        break;
      case "pause":
        timeline.playing = false;
        break;
      case "seek":
        this.seek(command, now);
        break;
      case "set_speed":
        timeline.speed = command.speed;
        break;
      case "set_idle_time_limit":
        timeline.limit = command.seconds;
        break;
    }
    this.ended = false;
    this.tellState(now);
    this.sendDue();
  }

  /** @param {Record<string, any>} command @param {number} now */
  seek(command, now) {
    if (typeof command.at === "number") {
      this.timeline.seekAt(command.at, now);
    } else {
      this.timeline.seek(
        command.marker === undefined ? command.offset : this.recording.markers[command.marker].offset,
        now,
      );
    }
  }

  /** @param {number} now */
  tellState(now) {
    const { timeline } = this;
    this.listener?.onFrame({
      type: "state",
      playing: timeline.playing,
      speed: timeline.speed,
      offset: Math.max(timeline.offset, timeline.place),
      at: timeline.position(now),
      total: this.rows.length,
      duration: this.recording.duration,
      live: false,
      recovered: false,
    });
  }

  sendDue() {
    clearTimeout(this.timer);
    const { timeline } = this;
    const [now, before] = [this.now(), timeline.offset];
    timeline.advance(now, BATCH_ROWS);
    if (timeline.offset > before) {
      this.listener?.onFrame({ type: "rows", rows: this.rows.slice(before, timeline.offset) });
    }
    if (timeline.playing && timeline.offset === this.rows.length && !this.ended) {
      this.ended = true;
      this.listener?.onFrame({ type: "end", offset: timeline.offset, reason: this.reason });
    }
    const due = timeline.due(this.now());
    if (due !== null) {
      // A timer can't wait longer than 2^31 ms; it looks again then.
      this.timer = setTimeout(() => this.sendDue(), Math.min(Math.max(due - this.now(), 0) * 1000, 1e9));
    }
  }

  now() {
    return performance.now() / 1000;
  }
}
