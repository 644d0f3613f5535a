/** The gallery's page: the search, the cards, and what it says when there are none. */

import { el } from "./dom.js";
import { icon } from "./icons.js";

const SITE = "Replay Share";
const BATCH = 24; // of cards that are laid out together: fills all rows where there are up to four in one
const MAX_QUERY_CHARS = 200;

/**
 * What is done when something is typed or pressed.
 *
 * @typedef {object} Acts
 * @property {(query: string, now: boolean) => void} search
 * @property {(byKey: boolean) => void} more
 */

export class Hall {
  /**
   * @param {string} root where the server's routes are, with a slash at its end
   * @param {Acts} acts
   */
  constructor(root, acts) {
    this.root = root;
    this.acts = acts;
    this.input = searchInput(acts);
    this.count = el("p", { class: "count", "aria-hidden": "true" });
    this.status = el("p", { class: "unseen", role: "status" });
    this.list = el("div", { class: "cards", role: "list", "aria-label": "Recordings" });
    /** @type {HTMLElement | null} */
    this.batch = null;
    this.nothing = el("div", { class: "nothing", hidden: true });
    this.more = moreButton("more", "Load more", acts);
    this.more.hidden = true;
    this.waiting = el("p", { class: "waiting", hidden: true }, "Loading …");
    this.trouble = el("div", { class: "trouble", role: "alert" });
    this.end = el("div", { class: "end" }, this.waiting, this.trouble, this.more);
    this.main = this.build();
  }

  build() {
    return el(
      "main",
      { class: "gallery" },
      el(
        "header",
        {},
        el("p", { class: "brand" }, el("a", { href: this.root }, el("span", { class: "logo" }, icon("play")), SITE)),
        el("h1", {}, "Watch agents at work"),
        el("p", { class: "about" }, "Recorded runs of AI agents, replayed step by step as they happened."),
        this.buildSearch(),
      ),
      this.status,
      this.count,
      this.list,
      this.nothing,
      this.end,
    );
  }

  buildSearch() {
    const label = el("label", { class: "unseen", for: this.input.id }, "Search recordings");
    const search = el("form", { role: "search" }, label, this.input);
    search.addEventListener("submit", (event) => {
      event.preventDefault();
      this.acts.search(this.input.value, true);
    });
    return search;
  }

  /** @param {HTMLElement[]} cards */
  append(cards) {
    for (const card of cards) {
      if (!this.batch || this.batch.childElementCount === BATCH) {
        this.batch = el("div", { class: "batch", role: "none" });
        this.list.append(this.batch);
      }
      this.batch.append(card);
    }
  }

  clear() {
    this.list.replaceChildren();
    this.batch = null;
    this.nothing.hidden = true;
  }

  /** @param {boolean} busy @param {boolean} stale whether what is shown is of the search before */
  setBusy(busy, stale) {
    this.list.setAttribute("aria-busy", String(busy));
    this.list.classList.toggle("stale", busy && stale);
    this.waiting.hidden = !busy;
    this.more.ariaDisabled = String(busy);
    if (busy) {
      this.trouble.replaceChildren();
    }
  }

  /**
   * @param {number} shown
   * @param {boolean} complete whether there are no more
   * @param {string} query
   * @returns {string} the same for those who don't see it
   */
  setCount(shown, complete, query) {
    const number = shown.toLocaleString("en");
    const noun = shown === 1 ? "recording" : "recordings";
    const found = query ? " found" : "";
    this.count.textContent = shown ? `${number}${complete ? "" : "+"} ${complete ? noun : "recordings"}${found}` : "";
    if (complete) {
      return `${shown ? number : "No"} ${noun}${found}`;
    }
    return shown ? `More than ${number} ${noun}${found}` : "Still looking";
  }

  /** Say it to those who don't see it. @param {string} text */
  say(text) {
    this.status.textContent = text;
  }

  /**
   * @param {string} reason
   * @param {boolean} atTop where it is seen, if what failed is the search and not its going on
   * @param {boolean} byKey
   */
  showTrouble(reason, atTop, byKey) {
    const again = moreButton("again", "Try again", this.acts);
    this.trouble.replaceChildren(el("p", {}, reason), again);
    if (atTop) {
      this.list.before(this.trouble);
    } else {
      this.end.prepend(this.trouble);
    }
    this.more.hidden = true;
    if (byKey) {
      again.focus();
    }
  }

  /** @param {string} query what nothing was found for; empty where there is nothing at all */
  showNothing(query) {
    this.nothing.replaceChildren(...(query ? notFound(query, () => this.showAll()) : howToBegin(this.root)));
    this.nothing.hidden = false;
  }

  showAll() {
    this.input.value = "";
    this.input.focus();
    this.acts.search("", true);
  }
}

/**
 * @param {string} name
 * @param {string} label
 * @param {Acts} acts
 */
function moreButton(name, label, acts) {
  return el("button", { type: "button", class: name, onclick: (event) => acts.more(event.detail === 0) }, label);
}

/** @param {Acts} acts */
function searchInput(acts) {
  const input = el("input", {
    id: "query",
    type: "search",
    maxlength: MAX_QUERY_CHARS,
    placeholder: "Search descriptions and goals",
    autocomplete: "off",
    spellcheck: "false",
    enterkeyhint: "search",
  });
  input.addEventListener("input", () => acts.search(input.value, false));
  return input;
}

/** @param {string} query @param {() => void} showAll */
function notFound(query, showAll) {
  return [
    el("h2", {}, "Nothing found"),
    el("p", {}, "No description and no goal has “", el("bdi", {}, query), "” in it."),
    el("button", { type: "button", onclick: showAll }, "Show all recordings"),
  ];
}

/** @param {string} root */
function howToBegin(root) {
  const address = new URL(`${root}api/v1/recordings?visibility=public`, location.href).href;
  const headers = '-H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json"';
  return [
    el("h2", {}, "No recordings yet"),
    el("p", {}, "Put a recorded run in, a recording of XAgent or a trajectory of SWE-agent, and list it here:"),
    el("pre", {}, "replay-share import FILE --public"),
    el("p", {}, "Or send it from anywhere, with the token that the server’s first start has printed:"),
    el("pre", {}, `curl ${headers} \\\n  --data-binary @recording.json \\\n  "${address}"`),
  ];
}
