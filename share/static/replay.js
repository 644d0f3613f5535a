/** One replay as the viewer has it: the rows that have come, and where it is. Every way to a recording feeds it. */

import { outcomeOf } from "./kinds.js";
import { Place } from "./place.js";
import { startCommand } from "./resume.js";

/** @typedef {import("./types.js").Row} Row */

/**
 * Dispatches `change` after every change; `hello` when it is connected first, `back` when again, and `problem` with a
 * message when the server didn't take a command.
 */
export class Replay extends EventTarget {
  /** @param {import("./connection.js").Transport} transport @param {import("./address.js").Start} start */
  constructor(transport, start) {
    super();
    this.transport = transport;
    this.start = start;
    /** @type {Row[]} the rows 1 to `offset` */
    this.rows = [];
    /** @type {import("./types.js").Recording | null} */
    this.recording = null;
    /** @type {"connecting" | "open" | "lost" | "refused"} */
    this.connection = "connecting";
    this.message = "";
    this.code = 0;
    this.playing = start.autoplay;
    this.speed = start.speed;
    this.idleTimeLimit = start.idleTimeLimit;
    /** @type {string | null} how the recording ended, once it is over */
    this.end = null;
    this.target = 0; // rows up to here are on their way
    this.atLiveEdge = start.at === null && start.offset === null;
    /** @type {Record<string, unknown>[]} */
    this.unanswered = [];
    /** @type {{ offset: number } | { at: number } | null} what is asked for when the seek before is answered */
    this.nextSeek = null;
    this.place = new Place();
  }

  open() {
    this.transport.open({
      onFrame: (frame) => this.take(frame),
      onLost: (message) => this.lost(message),
      onRefused: (message, code) => this.refuse(message, code),
    });
  }

  get offset() {
    return this.rows.length;
  }

  get isSeeking() {
    return this.nextSeek !== null || this.waitsFor("seek");
  }

  /** @param {string} type of a command that hasn't been answered */
  waitsFor(type) {
    return this.unanswered.some((command) => command.type === type);
  }

  /** Where the replay is, in seconds from the first row. */
  position() {
    const { place, offset } = this;
    const moves = this.playing && this.end === null && this.connection === "open" && !this.unanswered.length;
    const between = moves && offset > 0 && offset >= this.target;
    return between ? place.after(offset, this.speed, this.idleTimeLimit) : place.since.at;
  }

  /** How the run ended, where the last of its steps is shown; null where it isn't, or where more may come. */
  get outcome() {
    const { recording, rows } = this;
    if (this.end !== null || !recording || recording.live || !rows.length || rows.length < recording.total) {
      return this.end;
    }
    return outcomeOf(rows[rows.length - 1].status, recording.status);
  }

  play() {
    if (this.end !== null || (!this.playing && this.outcome !== null)) {
      this.seek({ offset: 0 });
    }
    this.settle();
    this.playing = true;
    this.send({ type: "play" });
  }

  pause() {
    this.settle();
    this.playing = this.atLiveEdge = false;
    this.send({ type: "pause" });
  }

  /** @param {{ offset: number } | { at: number }} place */
  seek(place) {
    this.atLiveEdge = false;
    this.end = null;
    // A key that is held down asks faster than a slow network answers: what counts is where it ends.
    if (this.isSeeking) {
      this.nextSeek = place;
      this.changed();
    } else {
      this.send({ type: "seek", ...place });
    }
  }

  /** Go to the last row there is and stay with the run. */
  jumpToLive() {
    this.seek({ offset: this.recording?.total ?? 0 });
    this.atLiveEdge = true;
    this.play();
  }

  /** @param {number} speed */
  setSpeed(speed) {
    this.settle();
    this.speed = speed;
    this.send({ type: "set_speed", speed });
  }

  /** @param {number | null} seconds */
  setIdleTimeLimit(seconds) {
    this.settle();
    this.idleTimeLimit = seconds;
    this.send({ type: "set_idle_time_limit", seconds });
  }

  /** Who is paused in a run that is going on, or behind it, isn't told of what comes, unless he asks. */
  askForState() {
    const isTold = this.atLiveEdge && this.playing;
    if (this.connection === "open" && this.recording?.live && !isTold && !this.unanswered.length) {
      this.setSpeed(this.speed); // which changes nothing, and is answered
    }
  }

  settle() {
    this.place.set(this.position());
  }

  /** @param {Record<string, unknown>} command */
  send(command) {
    this.unanswered.push(command);
    this.transport.send(command);
    this.changed();
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  /** @param {any} frame */
  take(frame) {
    switch (frame.type) {
      case undefined:
        if (frame.status === "connect" && this.connection !== "open") {
          this.greet(frame);
        } else {
          this.add([frame]);
        }
        break;
      case "rows":
        this.add(frame.rows);
        break;
      case "state":
        this.takeState(frame);
        break;
      case "end":
        // Else it was sent before what was asked for since.
        if (!this.isSeeking && !this.waitsFor("play")) {
          this.settle();
          this.end = frame.reason;
          if (this.recording) {
            this.recording.live = false;
          }
        }
        break;
      case "error":
        if (frame.code === "internal") {
          return; // the server hangs up, and what it hasn't answered is sent again
        }
        this.answered();
        this.dispatchEvent(new CustomEvent("problem", { detail: String(frame.message) }));
        break;
      default:
        return;
    }
    this.changed();
  }

  /** @param {any} hello */
  greet(hello) {
    const known = this.recording;
    /** @type {import("./types.js").Recording} */
    const recording = hello.data;
    this.recording = recording;
    this.connection = "open";
    const seek = this.nextSeek ?? this.unanswered.filter((command) => command.type === "seek").pop();
    [this.unanswered, this.nextSeek] = [[], null];
    if (known && known.epoch !== recording.epoch) {
      // Not the same rows any more, though there may soon be as many.
      this.rows = [];
      this.place = new Place();
    }
    this.dispatchEvent(new Event(known ? "back" : "hello"));
    this.send(startCommand(this, recording, known !== null));
    if (seek) {
      this.send({ type: "seek", ...seek });
    }
    if (!known && this.start.offset !== null) {
      this.send({ type: "seek", offset: Math.min(this.start.offset, recording.total) });
    }
  }

  /** @param {Row[]} rows */
  add(rows) {
    for (const row of rows) {
      if (row.offset !== this.rows.length + 1) {
        continue; // sent twice, or before a seek was answered
      }
      this.rows.push(row);
      this.place.learn(row);
      if (row.offset > this.target) {
        this.place.set(row.at);
      }
    }
    this.end = null;
    if (this.recording) {
      this.recording.total = Math.max(this.recording.total, this.rows.length);
      this.recording.duration = Math.max(this.recording.duration, this.rows[this.rows.length - 1]?.at ?? 0);
    }
  }

  /** @param {import("./types.js").State} state */
  takeState(state) {
    this.truncate(state.offset);
    this.target = state.offset;
    this.place.set(state.at);
    this.answered();
    if (!this.unanswered.length) {
      this.playing = state.playing;
      this.speed = state.speed;
    }
    if (this.recording) {
      Object.assign(this.recording, { total: state.total, duration: state.duration, live: state.live });
    }
  }

  /** @param {number} offset */
  truncate(offset) {
    if (offset < this.rows.length) {
      this.rows = this.rows.slice(0, offset); // whoever shows them has the old list until it draws the new one
    }
  }

  /** @param {string} message */
  lost(message) {
    this.settle();
    this.connection = this.connection === "connecting" ? "connecting" : "lost";
    this.message = message;
    this.changed();
  }

  /** @param {string} message @param {number} code */
  refuse(message, code) {
    Object.assign(this, { connection: "refused", message, code });
    this.changed();
  }

  /** The oldest of the commands has been answered. */
  answered() {
    this.unanswered.shift();
    const seek = this.nextSeek;
    if (seek && !this.waitsFor("seek")) {
      this.nextSeek = null;
      this.send({ type: "seek", ...seek });
    }
  }

  /** What is known of the rows' times before they have come. @param {import("./types.js").Outline} outline */
  learn(outline) {
    if (outline.epoch === this.recording?.epoch) {
      this.place.learnAll(outline);
    }
  }
}
