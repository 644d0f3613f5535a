/** Pictures: only those of the recording, so that nobody else learns who looks at it. */

import { el } from "./dom.js";

/**
 * A picture, or the word that it is missing.
 *
 * @param {string | null} address
 * @param {string} name
 * @returns {HTMLElement}
 */
export function picture(address, name) {
  const box = el("span", { class: "picture" });
  const miss = () => box.replaceChildren(el("span", { class: "missing" }, `The picture ${name || "here"} is missing.`));
  if (address === null) {
    miss();
  } else {
    const image = el("img", { alt: name, loading: "lazy", decoding: "async", onerror: miss });
    image.src = address;
    box.append(image);
  }
  return box;
}

/**
 * The address that a frame gives of a picture; null for one that leads away from the recordings, as anybody may have
 * written it.
 *
 * @param {unknown} path relative to the mount
 * @param {import("./types.js").Files} files
 */
export function pictureAddress(path, files) {
  const leadsAway = typeof path !== "string" || !path.startsWith("api/v1/recordings/") || /[\\\t\n\r?#]/.test(path);
  return leadsAway || /(^|\/)(\.|%2e){1,2}(\/|$)/i.test(path) ? null : files.resolve(path);
}
