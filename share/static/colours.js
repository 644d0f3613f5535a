/** Colours that can be read: those of a terminal, moved away from what they stand on as far as it takes. Pure. */

import { namedColors } from "./vendor/ansi-sequence-parser.js";

/** @typedef {[number, number, number]} Rgb */
/** @typedef {import("./vendor/ansi-sequence-parser.js").AnsiColor} AnsiColor */

/** The surface of each scheme that is the hardest to read on: --raised in base.css. @type {{ light: Rgb, dark: Rgb }} */
export const SURFACES = { light: [236, 239, 243], dark: [34, 40, 49] };
export const CONTRAST = 4.6; // a little more than 4.5, as the colours are rounded
const LEVELS = [0, 95, 135, 175, 215, 255];
/** What the names mean as a background, xterm's. @type {Rgb[]} */
const NAMED = [
  [0, 0, 0],
  [205, 0, 0],
  [0, 205, 0],
  [205, 205, 0],
  [0, 0, 238],
  [205, 0, 205],
  [0, 205, 205],
  [229, 229, 229],
  [127, 127, 127],
  [255, 0, 0],
  [0, 255, 0],
  [255, 255, 0],
  [92, 92, 255],
  [255, 0, 255],
  [0, 255, 255],
  [255, 255, 255],
];

/** Which of the 16 colours it is; -1 for another. @param {AnsiColor} color */
export function nameIndex(color) {
  if (color.type === "named") {
    return namedColors.indexOf(color.name);
  }
  return color.type === "table" && color.index >= 0 && color.index < 16 ? Math.floor(color.index) : -1;
}

/** @param {AnsiColor | null} color @returns {Rgb | null} null for what is no colour */
export function rgbOf(color) {
  if (!color) {
    return null;
  }
  const index = nameIndex(color);
  if (index >= 0) {
    return NAMED[index];
  }
  if (color.type === "rgb") {
    const [red, green, blue] = color.rgb.map((part) => Math.min(255, Math.max(0, part)));
    return [red, green, blue];
  }
  const number = color.type === "table" ? color.index - 16 : -1;
  if (!(number >= 0 && number < 240)) {
    return null;
  }
  const grey = 8 + 10 * (number - 216);
  const level = (/** @type {number} */ unit) => LEVELS[Math.floor(number / unit) % 6];
  return number >= 216 ? [grey, grey, grey] : [level(36), level(6), level(1)];
}

/** What a part of a colour adds in light, as WCAG reckons it. */
const LIGHT = Float64Array.from({ length: 256 }, (_, part) =>
  part <= 10 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4,
);

/** @param {Rgb} rgb */
function luminance([red, green, blue]) {
  return 0.2126 * LIGHT[red] + 0.7152 * LIGHT[green] + 0.0722 * LIGHT[blue];
}

/** @param {Rgb} one @param {Rgb} other */
export function contrast(one, other) {
  const [first, second] = [luminance(one) + 0.05, luminance(other) + 0.05];
  return first > second ? first / second : second / first;
}

/**
 * The colour, or the nearest on its way to black or white that can be read on the surface.
 *
 * @param {Rgb} rgb
 * @param {Rgb} surface
 * @param {number} least the contrast to reach; 21 for black or white
 * @returns {Rgb}
 */
export function readable(rgb, surface, least = CONTRAST) {
  const end = contrast([0, 0, 0], surface) > contrast([255, 255, 255], surface) ? 0 : 255;
  let found = rgb;
  for (let part = 0; contrast(found, surface) < least && part < 1;) {
    part += 0.05;
    const [red, green, blue] = rgb.map((value) => Math.round(value + (end - value) * Math.min(1, part)));
    found = [red, green, blue];
  }
  return found;
}

/** @param {Rgb} rgb */
export function css(rgb) {
  return `rgb(${rgb.join(" ")})`;
}
