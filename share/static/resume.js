/** The command with which a replay is started, and with which it is gone on with when the connection is back. Pure. */

/**
 * @param {object} replay
 * @param {number} replay.speed
 * @param {number | null} replay.idleTimeLimit
 * @param {boolean} replay.playing
 * @param {boolean} replay.atLiveEdge
 * @param {{ length: number }} replay.rows that are there already
 * @param {{ since: { at: number } }} replay.place where it was when the connection was lost
 * @param {import("./address.js").Start} replay.start
 * @param {import("./types.js").Recording} recording as hello has just said
 * @param {boolean} again whether this replay was started before
 */
export function startCommand(replay, recording, again) {
  const command = {
    type: "shared",
    speed: replay.speed,
    idle_time_limit: replay.idleTimeLimit,
    autoplay: replay.playing,
  };
  // Without a place to start at, a run that is going on is followed from its newest row on.
  const within = (/** @type {number | null} */ at) => (at === null ? null : Math.min(at, recording.duration));
  if (!again) {
    return { ...command, start_at: within(replay.start.offset === null ? replay.start.at : 0) };
  }
  const anew = (replay.atLiveEdge && recording.live) || !replay.rows.length;
  const start_at = within(anew ? null : replay.place.since.at);
  return { ...command, start_at, offset: replay.rows.length, epoch: recording.epoch };
}
