/** When each row is due, as the server reckons it. Pure: it is told the time, in seconds, and never asks for it. */

/**
 * How long a recorded pause lasts when it is played.
 *
 * @param {number} gap recorded, in seconds
 * @param {number} speed
 * @param {number | null} limit in seconds; null for none
 */
function pauseSeconds(gap, speed, limit) {
  const pause = gap / speed;
  return limit === null ? pause : Math.min(pause, limit);
}

/**
 * Where a replay is that was at `since.at` at the moment `since.now`, on its way from one row to the next.
 *
 * @param {{ at: number, now: number }} since
 * @param {number} previous the last row's time in the recording
 * @param {number} next the next row's
 * @param {number} speed
 * @param {number | null} limit
 * @param {number} now
 */
export function positionAt(since, previous, next, speed, limit, now) {
  const gap = next - previous;
  const pause = pauseSeconds(gap, speed, limit);
  return pause > 0 ? Math.min(next, since.at + ((now - since.now) * gap) / pause) : next;
}

/**
 * How many of the things, sorted by a number that each has, are not behind `limit`.
 *
 * @template Thing
 * @param {Thing[]} things
 * @param {number} limit
 * @param {(thing: Thing) => number} numberOf
 */
export function countUntil(things, limit, numberOf) {
  let [low, high] = [0, things.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numberOf(things[middle]) <= limit) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/** Where one replay of a recording that is all there is, and when it goes on. */
export class Timeline {
  /** @param {number[]} times each row's time in seconds from the first, in order */
  constructor(times) {
    this.times = times;
    this.speed = 1;
    /** @type {number | null} */
    this.limit = null;
    this.playing = false;
    this.offset = 0;
    this.place = 0; // rows up to here are due at once, after a seek forwards
    this.since = { at: 0, now: 0 };
  }

  /** @param {number} now @returns {number | null} when the next row is due; null while none is */
  due(now) {
    if (this.offset < this.place) {
      return now;
    }
    if (!this.playing || this.offset >= this.times.length) {
      return null;
    }
    if (this.offset === 0) {
      return this.since.now;
    }
    const [previous, next] = [this.times[this.offset - 1], this.times[this.offset]];
    const gap = next - previous;
    const left = gap > 0 ? (next - this.since.at) / gap : 0;
    return this.since.now + left * pauseSeconds(gap, this.speed, this.limit);
  }

  /** Pass the rows that are due, at most `most`. @param {number} now @param {number} most */
  advance(now, most) {
    for (let count = 0; count < most; count += 1) {
      const due = this.due(now);
      if (due === null || due > now) {
        return;
      }
      this.offset += 1;
      if (this.offset > this.place) {
        this.since = { at: this.times[this.offset - 1], now: due };
      }
    }
  }

  /** The place in seconds from the first row, between two rows too. @param {number} now */
  position(now) {
    const offset = Math.max(this.offset, this.place);
    if (!this.playing || offset === 0 || offset >= this.times.length || this.offset < this.place) {
      return this.since.at;
    }
    return positionAt(this.since, this.times[offset - 1], this.times[offset], this.speed, this.limit, now);
  }

  /** Begin to count anew from where it is now: before what changes the pace. @param {number} now */
  settle(now) {
    this.since = { at: this.position(now), now };
  }

  /** Go to where the row `offset` has just been passed. @param {number} offset @param {number} now */
  seek(offset, now) {
    this.offset = Math.min(this.offset, offset);
    this.place = offset;
    this.since = { at: offset ? this.times[offset - 1] : 0, now };
  }

  /** Go to a moment of the recording. @param {number} at @param {number} now */
  seekAt(at, now) {
    this.seek(countUntil(this.times, at, Number), now);
    if (this.place > 0 && this.place < this.times.length) {
      this.since.at = at;
    }
  }
}
