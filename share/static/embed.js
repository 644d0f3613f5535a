/**
 * Puts a player where this script stands, in another page:
 *
 *   <script src="https://host/embed.js" data-recording="ID or TOKEN" data-speed="2"></script>
 *
 * data-speed, data-idle-time-limit, data-t (seconds), data-autoplay, data-loop and data-step are what they are in the
 * address of a player. Nothing is left behind in the page but the frame and what listens to it.
 */
(() => {
  const script = document.currentScript;
  if (!(script instanceof HTMLScriptElement)) {
    return;
  }
  const root = new URL(".", script.src);

  /** The address of the player, with what the script's attributes say. */
  function address() {
    const {
      recording = "",
      speed,
      idleTimeLimit,
      t,
      autoplay,
      loop,
      step,
    } = /** @type {HTMLScriptElement} */ (script).dataset;
    const url = new URL(`embed/${encodeURIComponent(recording)}`, root);
    for (const [name, value] of Object.entries({ speed, idleTimeLimit, t })) {
      if (value) {
        url.searchParams.set(name, value);
      }
    }
    for (const [name, value] of Object.entries({ autoplay, loop })) {
      if (value !== undefined) {
        url.searchParams.set(name, value || "1"); // an attribute without a value means yes
      }
    }
    if (step) {
      url.hash = `step=${encodeURIComponent(step)}`;
    }
    return url.href;
  }

  const frame = document.createElement("iframe");
  frame.title = script.title || "Replay of a recorded run";
  frame.allow = "fullscreen; clipboard-write";
  frame.loading = "lazy";
  Object.assign(frame.style, {
    display: "block",
    boxSizing: "border-box",
    width: "100%",
    height: "auto",
    aspectRatio: "16 / 10",
    minHeight: "360px",
    maxHeight: "720px",
    border: "0",
  });
  frame.src = address();

  // Only what is in this very frame may say how high it wants to be, and nothing but that.
  addEventListener("message", ({ origin, source, data }) => {
    if (origin !== root.origin || source === null || source !== frame.contentWindow) {
      return;
    }
    if (data?.type === "replay-share:height" && Number.isFinite(data.height)) {
      const height = Math.min(Math.max(Math.round(data.height), 200), 2000);
      Object.assign(frame.style, { height: `${height}px`, aspectRatio: "auto", minHeight: "0", maxHeight: "none" });
    }
  });

  script.after(frame);
})();
