/** The workspace's files beside the steps, as of the step that is looked at. */

import { el, fileSize } from "./dom.js";
import { fileView } from "./file.js";

/** @typedef {import("./types.js").FileInfo} FileInfo */

export class FilesPane {
  /** @param {import("./types.js").Files} files */
  constructor(files) {
    this.files = files;
    this.shown = "";
    /** @type {FileInfo[] | null} */
    this.kept = null;
    this.problem = "";
    /** @type {string[] | null} */
    this.names = null;
    this.offset = 0;
    this.open = "";
    this.title = el("h2", {}, "Files");
    this.list = el("div", { class: "files" });
    this.viewer = el("div", { class: "file-open", hidden: true });
    this.element = el(
      "aside",
      { class: "pane", id: "files", "aria-label": "Files", tabindex: -1 },
      this.title,
      this.list,
      this.viewer,
    );
  }

  /** Read what the run has left: contents are those of its end. */
  async load() {
    try {
      this.kept = await this.files.list();
      this.problem = "";
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
    }
    this.shown = "";
    this.show(this.names, this.offset);
  }

  /** Whether a file is named that wasn't there when the list was read. */
  get isBehind() {
    const kept = new Set(this.kept?.map((file) => file.name));
    return this.names !== null && this.names.some((name) => !kept.has(name));
  }

  /** @param {string[] | null} names as of that step; null where no step has said @param {number} offset */
  show(names, offset) {
    [this.names, this.offset] = [names, offset];
    const key = JSON.stringify(names);
    const kept = new Map((this.kept ?? []).map((file) => [file.name, file]));
    this.title.textContent = names ? `Files as of step ${offset}` : kept.size ? "Files at the end of the run" : "Files";
    this.element.classList.toggle("is-empty", !names && this.kept !== null && !kept.size);
    if (key === this.shown) {
      return;
    }
    this.shown = key;
    const focused = document.activeElement?.closest("#files button")?.getAttribute("data-name");
    const now = names ?? [...kept.keys()];
    const known = new Set(now);
    const later = [...kept.keys()].filter((name) => !known.has(name));
    const nothing = el("p", { class: "nothing" }, this.problem || "No files.");
    this.list.replaceChildren(now.length ? this.listOf(now, kept) : nothing);
    if (later.length) {
      const title = `${later.length} more at the end of the run`;
      this.list.append(el("details", {}, el("summary", {}, title), this.listOf(later, kept)));
    }
    // The list is another one, but the keyboard stays where it was.
    [...this.list.querySelectorAll("button")].find((button) => button.dataset.name === focused)?.focus();
  }

  /** @param {string[]} names @param {Map<string, FileInfo>} kept */
  listOf(names, kept) {
    return el("ul", { class: "file-list" }, ...names.map((name) => this.item(name, kept.get(name))));
  }

  /** @param {string} name @param {FileInfo | undefined} file */
  item(name, file) {
    if (!file) {
      return el(
        "li",
        { class: "kept-file is-gone" },
        el("span", { class: "file-name" }, name),
        el("span", { class: "file-size" }, "not kept"),
      );
    }
    const button = el(
      "button",
      { type: "button", class: "file-name", "aria-expanded": String(this.open === name), "data-name": name },
      name,
    );
    button.addEventListener("click", () => this.toggle(file));
    return el("li", { class: "kept-file" }, button, el("span", { class: "file-size" }, fileSize(file.size)));
  }

  /** @param {FileInfo} file */
  toggle(file) {
    this.open = this.open === file.name ? "" : file.name;
    for (const button of this.list.querySelectorAll("button.file-name")) {
      button.setAttribute("aria-expanded", String(button.getAttribute("data-name") === this.open));
    }
    this.viewer.hidden = !this.open;
    if (this.open) {
      const close = el("button", { type: "button", onclick: () => this.toggle(file) }, "Close");
      this.viewer.replaceChildren(
        el("div", { class: "file-head" }, el("h3", {}, file.name), close),
        fileView(file, this.files),
      );
      this.viewer.scrollIntoView({ block: "nearest" });
    } else {
      this.viewer.replaceChildren();
    }
  }
}
