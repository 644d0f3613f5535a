/** Markdown as chats show it. What strangers have written becomes text and harmless elements, and fetches nothing. */

import { codeBlock } from "./code.js";
import { el } from "./dom.js";
import { picture } from "./image.js";
import { hasLongLine, pre, scrollable } from "./scrollable.js";
import { Marked } from "./vendor/marked.js";
import DOMPurify from "./vendor/purify.js";

/** @typedef {import("./types.js").Files} Files */

// What is beyond these is shown as it was written: the time that Markdown takes grows with their squares.
const MAX_CHARS = 100_000;
const MAX_LINE_CHARS = 10_000;
const MAX_MARKS = 2000; // in a paragraph
const MAX_TAGS = 3000;
const DEEP = /^(?:[ \t]*(?:[-*+>]|\d{1,9}[.)])){30}/m;
const TAGS = (
  "a b blockquote br caption code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q " +
  "s samp small span strong sub summary sup table tbody td tfoot th thead tr u ul var"
).split(" ");
const ATTRIBUTES = ["href", "src", "alt", "title", "class", "align", "start"];
const TAG = /<(\/?)([a-z][a-z0-9]*)((?:\s+[a-z-]+(?:\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'=<>`]+))?)*)\s*\/?>/gi;
const ATTRIBUTE = /([a-z-]+)\s*=\s*("[^"]*"|'[^']*'|[^\s"'=<>`]+)/gi;
const PICTURES = /^data:image\/(png|jpeg|gif|webp);base64,/i;
// A place for relative addresses, to see which of them leave it.
const NOWHERE = "http://nowhere.invalid/";

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => plainHtml(text),
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

/**
 * HTML with nothing but the tags and attributes that are shown. All else becomes text, which is what `List<String>` and
 * `<script>` most often are. DOMPurify would see to it too, but the browser reports a style or a handler as against the
 * page's policy as soon as it is read.
 *
 * @param {string} html
 */
function plainHtml(html) {
  let [plain, end] = ["", 0];
  for (const match of html.matchAll(TAG)) {
    const [whole, slash, name, attributes] = match;
    if (TAGS.includes(name.toLowerCase())) {
      plain += `${escaped(html.slice(end, match.index))}<${slash}${name}${slash ? "" : plainAttributes(attributes)}>`;
      end = match.index + whole.length;
    }
  }
  return plain + escaped(html.slice(end));
}

/** @param {string} text of a tag */
function plainAttributes(text) {
  return [...text.matchAll(ATTRIBUTE)]
    .filter(([, name]) => ATTRIBUTES.includes(name.toLowerCase()))
    .map(([, name, value]) => ` ${name}="${escaped(value.replace(/^(["'])(.*)\1$/s, "$2"))}"`)
    .join("");
}

/** @param {string} text */
function isBearable(text) {
  if (text.length > MAX_CHARS || hasLongLine(text, MAX_LINE_CHARS) || DEEP.test(text)) {
    return false;
  }
  if (text.split("<").length > MAX_TAGS) {
    return false;
  }
  return text.split("\n\n").every((paragraph) => (paragraph.match(/[*_`~[\]()<>!|:@]/g)?.length ?? 0) <= MAX_MARKS);
}

/** Entities stay. @param {string} text */
function escaped(text) {
  return text
    .replace(/<!--.*?-->/gs, "")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

/** @param {string} address @returns {URL | null} */
function parsed(address) {
  try {
    return new URL(address, NOWHERE);
  } catch {
    return null;
  }
}

/** The address of a link that may be followed. @param {string} address */
function outside(address) {
  const url = parsed(address);
  return url && ["http:", "https:", "mailto:"].includes(url.protocol) && url.host !== "nowhere.invalid"
    ? url.href
    : null;
}

/** @param {string} address @param {Node[]} children */
function link(address, children) {
  return el("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow" }, ...children);
}

/** @param {Element} image @param {Files} files */
function shownImage(image, files) {
  const [source, name] = [image.getAttribute("src") ?? "", image.getAttribute("alt") ?? ""];
  if (PICTURES.test(source)) {
    return picture(source, name);
  }
  const [address, text] = [outside(source), new Text(`image: ${name || source}`)];
  if (address) {
    // A link within a link is none.
    return image.closest("a") ? text : link(address, [text]);
  }
  const path = parsed(source)?.protocol === "http:" ? source.replace(/^(\.?\/)+/, "") : "";
  const file = path ? files.url(decoded(path)) : null;
  return file === null ? text : picture(file, name || decoded(path));
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @param {DocumentFragment} fragment @param {string} selector @param {(element: Element) => Node} make */
function replaceEach(fragment, selector, make) {
  fragment.querySelectorAll(selector).forEach((element) => element.replaceWith(make(element)));
}

/** @param {Element} block */
function shownCode(block) {
  const code = block.querySelector("code");
  const language = /(?:^|\s)language-([\w+#.-]{1,40})/.exec(code?.className ?? "")?.[1] ?? null;
  return codeBlock((block.textContent ?? "").replace(/\n$/, ""), language);
}

/** @param {Element} heading */
function lowered(heading) {
  const level = Math.min(6, Number(heading.localName[1]) + 3);
  return el(/** @type {"h4"} */ (`h${level}`), {}, ...heading.childNodes);
}

/** @param {Element} anchor */
function shownLink(anchor) {
  const address = outside(anchor.getAttribute("href") ?? "");
  const children = [...anchor.childNodes];
  return address ? link(address, children) : el("span", {}, ...children);
}

/** @param {string} html */
function sanitized(html) {
  return DOMPurify.sanitize(html, {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|data:image\/|[^a-z]|[a-z+.-]+(?:[^a-z+.\-:]|$))/i,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });
}

/** @param {string} text @param {Files} files */
function rendered(text, files) {
  // The fragment belongs to no page as yet, so that no picture is fetched before it is known whether it may be.
  const fragment = sanitized(marked.parse(text, { async: false }));
  replaceEach(fragment, "pre", shownCode);
  fragment.querySelectorAll("[class]:not(pre *, pre, code *)").forEach((element) => element.removeAttribute("class"));
  replaceEach(fragment, "img", (image) => shownImage(image, files));
  replaceEach(fragment, "a", (anchor) => shownLink(anchor));
  replaceEach(fragment, "h1, h2, h3, h4, h5, h6", lowered);
  replaceEach(fragment, "table", (table) => {
    return scrollable(el("div", { class: "table-scroll" }, table.cloneNode(true)), "Table");
  });
  return fragment;
}

/**
 * @param {string} text
 * @param {Files} files of the run, whose pictures are shown
 * @returns {DocumentFragment}
 */
export function markdown(text, files) {
  if (isBearable(text)) {
    try {
      return rendered(text, files);
    } catch {
      // It is nested deeper than the stack is; then it is shown as it was written.
    }
  }
  const fragment = document.createDocumentFragment();
  fragment.append(pre(text, new Text(text), "Text"));
  return fragment;
}
