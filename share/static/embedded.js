/** A player inside of another page tells that page how high it would like to be. */

const [LOWEST, HIGHEST] = [420, 720];

export function sizeItself() {
  if (parent === window) {
    return;
  }
  const tell = () => {
    // By its width alone: what the other page then does to the height changes nothing here.
    const lowest = innerWidth < 560 ? HIGHEST * 0.8 : LOWEST;
    const height = Math.round(Math.min(HIGHEST, Math.max(lowest, innerWidth * 0.625)));
    parent.postMessage({ type: "replay-share:height", height }, "*"); // no secret, and any page may embed it
  };
  addEventListener("resize", tell);
  tell();
}
