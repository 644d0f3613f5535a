/** The heights of very many items below each other, most of them guessed until they have been seen. Pure. */

export class Heights {
  /** @param {number} guess in pixels, for an item that nobody has measured */
  constructor(guess) {
    this.guess = guess;
    /** @type {number[]} */
    this.measured = [];
    /** @type {number[]} where each item begins; `starts[length]` is where the last ends */
    this.starts = [0];
  }

  get length() {
    return this.starts.length - 1;
  }

  /** @param {number} length */
  resize(length) {
    this.measured.length = Math.min(this.measured.length, length);
    this.starts.length = Math.min(this.starts.length, length + 1);
    for (let index = this.length; index < length; index += 1) {
      this.starts.push(this.starts[index] + this.of(index));
    }
  }

  /** @param {number} index */
  of(index) {
    return this.measured[index] ?? this.guess;
  }

  /** Take what has been measured. @param {Map<number, number>} found heights by index */
  measure(found) {
    let first = this.length;
    for (const [index, height] of found) {
      if (index < this.length && this.measured[index] !== height) {
        this.measured[index] = height;
        first = Math.min(first, index);
      }
    }
    for (let index = first; index < this.length; index += 1) {
      this.starts[index + 1] = this.starts[index] + this.of(index);
    }
  }

  /** Where an item begins, or, for `length`, where the last ends. @param {number} index */
  start(index) {
    return this.starts[Math.max(0, Math.min(index, this.length))];
  }

  /** The item that covers a place; the last for what is behind all. @param {number} y */
  at(y) {
    let [low, high] = [0, Math.max(0, this.length - 1)];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.starts[middle] <= y) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }
}
