/** The way to the server: a WebSocket that speaks replay.v1, and comes back when it is lost. */

import { parse } from "./data.js";

const FIRST_BACKOFF_SECONDS = 0.5;
const MAX_BACKOFF_SECONDS = 10;
const PING_SECONDS = 20;
const ANSWER_SECONDS = 10;
const FINAL_CODES = 4500;

/**
 * What a way to a recording has: the server's, or the one in a page that holds the recording itself.
 *
 * @typedef {object} Transport
 * @property {(listener: Listener) => void} open
 * @property {(command: Record<string, unknown>) => void} send dropped while there is no connection
 */

/**
 * @typedef {object} Listener
 * @property {(frame: any) => void} onFrame
 * @property {(message: string) => void} onLost what to tell people; it comes back by itself
 * @property {(message: string, code: number) => void} onRefused it doesn't
 */

/** @implements {Transport} */
export class Connection {
  /** @param {string} url ws: or wss: */
  constructor(url) {
    this.url = url;
    /** @type {WebSocket | null} */
    this.socket = null;
    this.backoff = FIRST_BACKOFF_SECONDS;
    this.said = ""; // by the last error frame
    this.timer = 0;
    this.deadline = 0;
    this.isFinal = false; // refused for good
  }

  /** @param {Listener} listener */
  open(listener) {
    this.listener = listener;
    setInterval(() => this.ping(), PING_SECONDS * 1000);
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.wake());
    this.connect();
  }

  /** @param {Record<string, unknown>} command */
  send(command) {
    if (this.socket?.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify(command));
    }
  }

  connect() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.said = "";
    const socket = new WebSocket(this.url, "replay.v1");
    this.socket = socket;
    this.expectAnswer();
    socket.onmessage = (event) => this.socket === socket && this.take(event.data);
    socket.onclose = (event) => this.socket === socket && this.closed(event.code, event.reason);
  }

  /** @param {string} text */
  take(text) {
    clearTimeout(this.deadline);
    const frame = frameOf(text);
    if (frame === null) {
      return;
    }
    if (frame.type === "error" && typeof frame.message === "string") {
      this.said = frame.message;
    } else if (frame.type !== "pong") {
      this.backoff = FIRST_BACKOFF_SECONDS;
    }
    this.listener?.onFrame(frame);
  }

  /** @param {number} code @param {string} reason */
  closed(code, reason) {
    clearTimeout(this.deadline);
    this.socket = null;
    if (code >= FINAL_CODES) {
      this.isFinal = true;
      this.listener?.onRefused(reason || this.said || `The server closed the connection with ${code}.`, code);
      return;
    }
    this.listener?.onLost(code === 1013 ? this.said || reason || "The server is busy" : "Connection lost");
    // A random part of it, so that a server that starts anew isn't met by all of its viewers at one moment.
    this.timer = setTimeout(() => this.connect(), Math.random() * this.backoff * 1000);
    this.backoff = Math.min(this.backoff * 2, MAX_BACKOFF_SECONDS);
  }

  /** A network that is gone closes nothing: who doesn't answer in time counts as lost. */
  ping() {
    if (this.socket?.readyState === WebSocket.OPEN) {
      this.send({ type: "ping" });
      this.expectAnswer();
    }
  }

  expectAnswer() {
    clearTimeout(this.deadline);
    this.deadline = setTimeout(() => this.drop(), ANSWER_SECONDS * 1000);
  }

  drop() {
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    this.closed(1006, "");
  }

  wake() {
    if (this.socket) {
      this.ping();
    } else {
      this.retryNow();
    }
  }

  retryNow() {
    if (!this.socket && !this.isFinal) {
      this.connect();
    }
  }
}

/** @param {string} text @returns {any} the frame; null for what is none, which a server of ours never sends */
function frameOf(text) {
  try {
    const frame = parse(text);
    const isFrame = typeof frame === "object" && frame !== null && (frame.type !== "rows" || Array.isArray(frame.rows));
    return isFrame ? frame : null;
  } catch {
    return null;
  }
}
