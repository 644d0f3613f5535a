/** The page that plays a recording: puts the parts together, and keeps them of one mind. */

import { startOf } from "./address.js";
import { Connection } from "./connection.js";
import { Controls } from "./controls.js";
import { parse } from "./data.js";
import { sizeItself } from "./embedded.js";
import { LocalFiles, ServerFiles } from "./files.js";
import { FilesPane } from "./files_pane.js";
import { Folds } from "./folds.js";
import { Help } from "./help.js";
import { listenToKeys } from "./keys.js";
import { Layout } from "./layout.js";
import { LocalReplay } from "./local.js";
import { Navigation } from "./navigation.js";
import { Outliner, outlineOf } from "./outliner.js";
import { PlanView } from "./plan.js";
import { Replay } from "./replay.js";
import { Run } from "./run.js";
import { Steps } from "./steps.js";

const LOOP_PAUSE_MS = 1000;
const RELOAD_MS = 2000;
const STATE_MS = 2000;

/** @type {Record<string, string>} */
const ENDS = {
  finished: "The run has finished.",
  failed: "The run has failed.",
  truncated: "The recording ends here; nothing says how the run ended.",
};

/**
 * Where a recording comes from, the server or the page itself.
 *
 * @typedef {object} Source
 * @property {import("./connection.js").Transport} transport
 * @property {import("./types.js").Files} files
 * @property {() => Promise<import("./types.js").Outline>} readOutline
 * @property {string} address of the page, for links to a step
 * @property {import("./layout.js").Home | null} home
 */

/** @returns {Source} */
function sourceOf() {
  const held = document.getElementById("recording")?.textContent;
  if (held) {
    const recording = parse(held);
    return {
      transport: new LocalReplay(recording),
      files: new LocalFiles(recording.files),
      readOutline: async () => outlineOf(recording),
      address: location.href.split("#")[0],
      home: null,
    };
  }
  const { root = "/", name = "", viewer = "", kind } = document.body.dataset;
  const files = new ServerFiles(root, name, viewer);
  const address = `${files.root}${name.startsWith("rs_") ? "s" : "r"}/${name}`;
  const framed = kind === "embed";
  const home = framed
    ? { address, label: "Open in a page of its own", framed }
    : { address: files.root, label: "All recordings", framed };
  const transport = new Connection(socketUrl(root, name, viewer));
  return { transport, files, readOutline: () => files.readOutline(), address, home };
}

/** @param {string} root @param {string} name @param {string} viewer */
function socketUrl(root, name, viewer) {
  const url = new URL(`${root}ws/share/${encodeURIComponent(name)}`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  if (viewer) {
    url.searchParams.set("viewer", viewer);
  }
  return url.href;
}

class Player {
  /** @param {Source} source @param {import("./address.js").Start} start */
  constructor(source, start) {
    this.address = source.address;
    this.start = start;
    this.replay = new Replay(source.transport, start);
    this.outliner = new Outliner(this.replay, source.readOutline);
    this.run = new Run();
    this.help = new Help();
    this.navigation = new Navigation(this.replay, {
      say: (text, quietly) => this.layout.say(text, quietly),
      look: (offset) => this.look(offset),
    });
    this.controls = new Controls(this.navigation, { copyLink: () => this.copyLink(), help: () => this.help.open() });
    this.plan = new PlanView((offset) => this.navigation.seekStep(offset));
    this.pane = new FilesPane(source.files);
    this.steps = new Steps(source.files, new Folds(), (offset) => this.lookAt(offset));
    this.layout = new Layout(this, source.home);
    this.selected = 0;
    /** @type {string | undefined} of the rows that are shown */
    this.epoch = undefined;
    /** @type {string | null} the end that has been told */
    this.end = null;
    this.drawn = 0; // the frames that have been asked for
    this.ticked = 0;
    this.reload = 0;
  }

  open() {
    const { replay } = this;
    document.body.append(this.layout.element, this.help.element);
    this.layout.onNewest = this.steps.onFollow = () => this.lookAt(0);
    this.steps.onLeave = () => this.draw();
    replay.addEventListener("change", () => this.draw());
    replay.addEventListener("hello", () => this.pane.load());
    replay.addEventListener("back", () => {
      this.layout.say("Connected again");
      this.outliner.askAgain();
    });
    replay.addEventListener("problem", (event) => this.layout.say(/** @type {CustomEvent} */ (event).detail));
    this.outliner.onLearnt = () => this.draw();
    addEventListener("hashchange", () => this.navigation.hash(location.hash));
    listenToKeys(this.navigation, () => this.help.open());
    document.addEventListener("visibilitychange", () => this.draw());
    sizeItself();
    setInterval(() => replay.askForState(), STATE_MS);
    replay.open();
    this.draw();
  }

  /** Look at a step; 0 for wherever the replay is. @param {number} offset */
  look(offset) {
    this.selected = offset < this.replay.offset ? offset : 0;
    this.steps.mark(this.selected);
    this.steps.following = this.selected === 0;
  }

  /** @param {number} offset */
  lookAt(offset) {
    this.look(offset);
    this.draw();
  }

  get lookedAt() {
    return this.selected && this.selected <= this.replay.offset ? this.selected : this.replay.offset;
  }

  async copyLink() {
    const step = Math.max(1, this.lookedAt);
    const link = `${this.address}#step=${step}`;
    try {
      await navigator.clipboard.writeText(link);
      this.layout.say(`Link to step ${step} copied`);
    } catch {
      this.help.showLink(link); // a page without https has no clipboard
    }
  }

  /** Draw once a frame, however much has come. */
  draw() {
    this.drawn ||= requestAnimationFrame(() => {
      this.drawn = 0;
      this.update();
    });
  }

  update() {
    const { replay, run } = this;
    if (replay.connection === "refused") {
      this.layout.refuse(replay.message, replay.code);
      return;
    }
    if (this.epoch !== replay.recording?.epoch) {
      this.epoch = replay.recording?.epoch;
      run.truncate(0);
      this.steps.clear();
    }
    run.truncate(replay.offset);
    for (const row of replay.rows.slice(run.offset)) {
      run.take(row);
    }
    this.outliner.update();
    this.controls.scrubber.setMarks(this.outliner.marks, replay.recording);
    this.steps.update(replay.rows, replay.recording?.total ?? 0);
    this.plan.show(run.planAt(this.lookedAt), Boolean(replay.recording?.markers.length));
    this.pane.show(run.filesAt(this.lookedAt), this.lookedAt);
    this.controls.update(replay);
    this.layout.update();
    this.reloadFiles();
    this.tellEnd();
    this.tick();
  }

  /** A run that is going on makes files; those that it names and that aren't there yet are asked for, now and then. */
  reloadFiles() {
    if (this.replay.recording?.live && this.pane.isBehind && !this.reload) {
      this.reload = setTimeout(async () => {
        await this.pane.load();
        this.reload = 0;
      }, RELOAD_MS);
    }
  }

  tellEnd() {
    const { end } = this.replay;
    if (end === this.end) {
      return;
    }
    this.end = end;
    if (end !== null && this.start.loop) {
      // Not at once: a recording of one moment would be played without a pause.
      setTimeout(() => {
        this.end = null;
        this.replay.play();
      }, LOOP_PAUSE_MS);
    } else if (end !== null) {
      this.pane.load(); // the files that are there are now those of the end
      this.layout.say(ENDS[end] ?? ENDS.truncated);
    }
  }

  /** While it plays, the time goes on from frame to frame. */
  tick() {
    if (this.replay.playing && this.replay.end === null && !document.hidden) {
      this.ticked ||= requestAnimationFrame(() => {
        this.ticked = 0;
        this.controls.tick(this.replay);
        this.tick();
      });
    }
  }
}

const embedded = document.body.dataset.kind === "embed";
new Player(sourceOf(), startOf(location.search, location.hash, embedded)).open();
