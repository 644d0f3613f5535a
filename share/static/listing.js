/** A search through the recordings: page by page, each recording once. */

/**
 * A recording as the API lists it.
 *
 * @typedef {object} Listed
 * @property {string} id
 * @property {string} description
 * @property {string | null} goal
 * @property {string} user_name
 * @property {string} agent
 * @property {string} status
 * @property {boolean} live
 * @property {number} rows
 * @property {number} duration seconds
 * @property {string | null} create_time
 */

export class Listing {
  /**
   * @param {string} root where the server's routes are, with a slash at its end
   * @param {string} query what to look for; empty for all
   */
  constructor(root, query) {
    this.address = new URL(`${root}api/v1/recordings`, location.href);
    this.query = query;
    this.complete = false;
    /** How many pages in a row had nothing: the server doesn't look at everything in one go. */
    this.barren = 0;
    /** @type {Set<string>} */
    this.seen = new Set();
    this.controller = new AbortController();
    if (query) {
      this.address.searchParams.set("q", query);
    }
  }

  /**
   * The next page, which may be empty also before the end.
   *
   * @param {number} limit
   * @returns {Promise<Listed[]>} rejects with an error whose message is for people
   */
  async next(limit) {
    this.address.searchParams.set("limit", String(limit));
    const page = await readPage(this.address, this.controller.signal);
    const fresh = page.recordings.filter(({ id }) => !this.seen.has(id) && this.seen.add(id));
    this.barren = fresh.length ? 0 : this.barren + 1;
    this.complete = page.next_cursor === null;
    this.address.searchParams.set("cursor", page.next_cursor ?? "");
    return fresh;
  }

  /** Give up what is being asked for. */
  stop() {
    this.controller.abort();
  }
}

/**
 * @param {URL} address
 * @param {AbortSignal} signal
 * @returns {Promise<{ recordings: Listed[], next_cursor: string | null }>}
 */
async function readPage(address, signal) {
  let response;
  try {
    response = await fetch(address, { signal });
  } catch {
    throw new Error("The server doesn’t answer.");
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => null);
    const detail = problem?.detail;
    throw new Error(typeof detail === "string" && detail ? detail : `The server answered with ${response.status}.`);
  }
  return response.json().catch(() => {
    throw new Error("The answer of the server has broken off.");
  });
}
