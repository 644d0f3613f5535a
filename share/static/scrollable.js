/** What scrolls by itself must be within reach of the keyboard; what doesn't would only be in the way of it. */

import { el } from "./dom.js";

const MAX_LINE_CHARS = 240;
const observer = new ResizeObserver((entries) => entries.forEach(({ target }) => update(target)));

/** @param {Element} element */
function update(element) {
  const scrolls = element.scrollWidth > element.clientWidth || element.scrollHeight > element.clientHeight;
  if (scrolls) {
    element.setAttribute("tabindex", "0");
  } else if (element !== document.activeElement) {
    element.removeAttribute("tabindex");
  }
}

/**
 * Make an element one that may scroll.
 *
 * @template {HTMLElement} Kind
 * @param {Kind} element
 * @param {string} label
 * @returns {Kind}
 */
export function scrollable(element, label) {
  element.setAttribute("role", "group");
  element.setAttribute("aria-label", label);
  observer.observe(element);
  return element;
}

/** @param {string} text @param {number} most */
export function hasLongLine(text, most) {
  let start = 0;
  for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n", start)) {
    if (end - start > most) {
      return true;
    }
    start = end + 1;
  }
  return text.length - start > most;
}

/**
 * A <pre> that scrolls sideways; very long lines are wrapped, as nobody scrolls that far.
 *
 * @param {string} text what is in it, to see how long its lines are
 * @param {Node} content
 * @param {string} label
 */
export function pre(text, content, label) {
  return scrollable(el("pre", { class: hasLongLine(text, MAX_LINE_CHARS) ? "wrapped" : null }, content), label);
}
