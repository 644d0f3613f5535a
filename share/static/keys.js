/** The keys of the player, as asciinema's has them: what each does, and how the list of them reads. */

/** @type {[keys: string, what: string][]} */
export const KEYS = [
  ["Space", "Play or pause"],
  ["← →", "Step back, step forward"],
  ["Shift + ← →", "Back, forward by 10 %"],
  ["[ ]", "Previous, next subtask"],
  ["0 … 9", "Go to 0 %, 10 % … 90 %"],
  [", .", "Pause, and a step back, forward"],
  ["F", "Fullscreen"],
  ["?", "This list"],
];

/** What takes keys itself: it is left alone with those that it takes. @param {KeyboardEvent} event */
function isTaken(event) {
  const target = event.target instanceof Element ? event.target : document.body;
  if (target.closest("input, textarea, select, [contenteditable], dialog")) {
    return true;
  }
  if (event.key === " ") {
    return target.closest("button, summary, a") !== null;
  }
  return (
    event.key.startsWith("Arrow") &&
    target.closest("[role=slider], pre, :is([role=region], [role=group])[tabindex]") !== null
  );
}

/** @param {import("./navigation.js").Navigation} navigation @param {() => void} help */
export function listenToKeys(navigation, help) {
  /** @type {Record<string, () => void>} */
  const keys = {
    " ": () => navigation.toggle(),
    ArrowLeft: () => navigation.step(-1),
    ArrowRight: () => navigation.step(1),
    "shift ArrowLeft": () => navigation.skip(-0.1),
    "shift ArrowRight": () => navigation.skip(0.1),
    "[": () => navigation.marker(-1),
    "]": () => navigation.marker(1),
    ",": () => navigation.nudge(-1),
    ".": () => navigation.nudge(1),
    f: () => navigation.fullscreen(),
    "?": help,
  };
  for (let digit = 0; digit <= 9; digit += 1) {
    keys[digit] = () => navigation.jump(digit / 10);
  }
  document.addEventListener("keydown", (event) => {
    const name = event.shiftKey && event.key.startsWith("Arrow") ? `shift ${event.key}` : event.key;
    if (!event.ctrlKey && !event.metaKey && !event.altKey && !isTaken(event) && Object.hasOwn(keys, name)) {
      event.preventDefault();
      keys[name]();
    }
  });
}
