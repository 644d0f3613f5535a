/** The marks of the steps on the timeline, drawn. */

import { kindOf } from "./kinds.js";

/** @typedef {{ offset: number, at: number, status: string }} Mark */

/**
 * Draw a line for every step at its place in time. What matters most comes last, over the others.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Mark[]} marks
 * @param {(mark: Mark) => number} placeOf 0 to 1
 */
export function drawMarks(canvas, marks, placeOf) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const context = canvas.getContext("2d");
  if (!context || !width) {
    return;
  }
  context.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const line = marks.length > width / 3 ? 1 : 2;
  for (const kind of ["other", "tool", "plan", "refinement", "submit", "help", "finished", "failed"]) {
    context.fillStyle = style.getPropertyValue(`--kind-${kind}`) || "gray";
    const top = ["tool", "other"].includes(kind) ? height * 0.3 : 0;
    let last = -1;
    for (const mark of marks) {
      const x = Math.round(placeOf(mark) * (width - line));
      if (x !== last && kindOf(mark.status) === kind) {
        context.fillRect(x, top, line, height - top);
        last = x;
      }
    }
  }
}
