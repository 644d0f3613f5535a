/** The dialogs: the list of the keys, and a link to be copied by hand. */

import { el } from "./dom.js";
import { KEYS } from "./keys.js";

export class Help {
  constructor() {
    this.title = el("h2", { id: "dialog-title" });
    this.body = el("div", {});
    const close = el("button", { type: "button", onclick: () => this.element.close() }, "Close");
    this.element = el("dialog", { "aria-labelledby": "dialog-title" }, this.title, this.body, close);
    this.element.addEventListener("click", (event) => event.target === this.element && this.element.close());
  }

  open() {
    const lines = KEYS.map(([keys, what]) =>
      el("tr", {}, el("th", { scope: "row" }, el("kbd", {}, keys)), el("td", {}, what)),
    );
    this.show("Keyboard shortcuts", el("table", { class: "keys" }, el("tbody", {}, ...lines)));
  }

  /** @param {string} link */
  showLink(link) {
    const field = el("input", { type: "text", readonly: true, value: link, "aria-label": "Link" });
    this.show("Copy this link", field);
    field.select();
  }

  /** @param {string} title @param {HTMLElement} content */
  show(title, content) {
    this.title.textContent = title;
    this.body.replaceChildren(content);
    this.element.showModal();
  }
}
