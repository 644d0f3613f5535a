/** The steps that are in the page at the moment, each as an article: made, filled and taken away again. */

import { el } from "./dom.js";
import { isFailedSubmit } from "./data.js";
import { kindOf } from "./kinds.js";
import { stepTitle, stepView } from "./step.js";

/** @typedef {import("./types.js").Row} Row */

const BUDGET_MS = 6; // of a frame, to fill steps in; those that are left wait for the next one

export class Entries {
  /**
   * @param {import("./types.js").Files} files
   * @param {import("./folds.js").Folds} folds
   * @param {(sizes: Map<number, number>) => void} onSizes told the heights, by index, of those whose height has changed
   */
  constructor(files, folds, onSizes) {
    this.files = files;
    this.folds = folds;
    /** @type {Map<number, HTMLElement>} by index */
    this.shown = new Map();
    /** @type {Set<number>} of those, which are only a place so far */
    this.empty = new Set();
    this.observer = new ResizeObserver((changed) => onSizes(this.sizesOf(changed)));
  }

  /** @param {ResizeObserverEntry[]} changed */
  sizesOf(changed) {
    const sizes = new Map();
    for (const { target } of changed) {
      const article = /** @type {HTMLElement} */ (target);
      const index = Number(article.dataset.offset) - 1;
      if (this.shown.get(index) === article && !this.empty.has(index)) {
        sizes.set(index, article.offsetHeight);
      }
    }
    return sizes;
  }

  /**
   * Have the steps from one index to another in the page, and no others.
   *
   * @param {Row[]} rows
   * @param {number} first
   * @param {number} last
   * @param {Element} above the element that they come behind
   * @param {(index: number) => number} heightOf of one that isn't filled yet
   * @returns {boolean} whether all are filled; else there was no time for it
   */
  show(rows, first, last, above, heightOf) {
    for (const [index, article] of this.shown) {
      // What has the keyboard stays, out of sight, or the viewer would be thrown to the top of the page.
      const isAway = index < first || index > last;
      article.classList.toggle("is-away", isAway);
      if (isAway && !article.contains(document.activeElement)) {
        this.drop(index, article);
      }
    }
    const deadline = performance.now() + BUDGET_MS;
    for (let index = first; index <= last; index += 1) {
      const article = this.shown.get(index) ?? this.make(rows[index], heightOf(index));
      if (this.empty.has(index) && performance.now() < deadline) {
        this.fill(article, rows[index]);
      }
    }
    this.order(above);
    return this.empty.size === 0;
  }

  /** Put them in their order behind an element. What has the keyboard isn't moved, or would lose it. @param {Element} above */
  order(above) {
    const articles = [...this.shown].sort(([one], [other]) => one - other).map(([, article]) => article);
    const kept = articles.findIndex((article) => article.contains(document.activeElement));
    for (let index = kept - 1; index >= 0; index -= 1) {
      if (articles[index].nextElementSibling !== articles[index + 1]) {
        articles[index + 1].before(articles[index]);
      }
    }
    let after = kept < 0 ? above : articles[kept];
    for (const article of articles.slice(kept + 1)) {
      if (after.nextElementSibling !== article) {
        after.after(article);
      }
      after = article;
    }
  }

  clear() {
    this.forget(0);
    this.folds.states.clear();
  }

  /** @param {number} from take away the steps from this index on: they are not the same any more */
  forget(from) {
    for (const [index, article] of this.shown) {
      if (index >= from) {
        this.drop(index, article);
      }
    }
  }

  /** @param {number} looked the offset of the one that is looked at @param {number} total */
  mark(looked, total) {
    for (const [index, article] of this.shown) {
      if (article.getAttribute("aria-setsize") !== String(total)) {
        article.setAttribute("aria-setsize", String(total));
      }
      article.classList.toggle("is-looked-at", index + 1 === looked);
    }
  }

  /** @param {Row} row @param {number} height */
  make(row, height) {
    const article = el("article", {
      class: "entry",
      id: `step=${row.offset}`, // what the link on its number, and the page's address, name
      tabindex: -1,
      "data-kind": isFailedSubmit(row) ? "failed" : kindOf(row.status),
      "data-offset": row.offset,
      "aria-posinset": row.offset,
      "aria-label": stepTitle(row),
    });
    article.style.minHeight = `${height}px`;
    this.shown.set(row.offset - 1, article);
    this.empty.add(row.offset - 1);
    this.observer.observe(article);
    return article;
  }

  /** @param {HTMLElement} article @param {Row} row */
  fill(article, row) {
    const label = `Go to step ${row.offset}`;
    const href = `#step=${row.offset}`;
    // The address may name it already, and then it doesn't change.
    const again = () => location.hash === href && dispatchEvent(new Event("hashchange"));
    const number = el("a", { class: "entry-number", href, "aria-label": label, onclick: again }, row.offset);
    this.empty.delete(row.offset - 1);
    article.style.minHeight = "";
    article.replaceChildren(number, stepView(row, this.files, this.folds));
  }

  /** @param {number} index @param {HTMLElement} article */
  drop(index, article) {
    this.observer.unobserve(article);
    this.shown.delete(index);
    this.empty.delete(index);
    article.remove();
  }
}
