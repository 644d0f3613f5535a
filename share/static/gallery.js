/** The gallery: public recordings, found as one types, and more of them as one scrolls. */

import { cardOf } from "./card.js";
import { Hall } from "./hall.js";
import { Listing } from "./listing.js";

const MAX_QUERY_CHARS = 200;
const PAGE = 24;
const LARGE_PAGE = 100;
const MAX_RESTORED = 1000;
const TYPING_MS = 200;
const QUIET_MS = 700; // what is said of one search isn't talked over by what is said of the next
const MAX_BARREN = 12; // pages without a card that are asked for without being told to
const BARREN_MS = 150;

class Gallery {
  /** @param {string} root */
  constructor(root) {
    this.root = root;
    this.hall = new Hall(root, {
      search: (query, now) => this.searchSoon(query, now ? 0 : TYPING_MS),
      more: (byKey) => this.loadMore(byKey),
    });
    this.listing = new Listing(root, "");
    /** Whether what is shown is of the listing, and not still of the one before. */
    this.fresh = false;
    this.loading = false;
    this.failed = false;
    this.shown = 0;
    this.place = { shown: 0, y: 0 };
    this.timers = { typing: 0, saying: 0, going: 0, saving: 0 };
    this.observer = new IntersectionObserver((entries) => this.onSight(entries), { rootMargin: "0px 0px 800px" });
  }

  start() {
    document.body.append(this.hall.main);
    history.scrollRestoration = "manual";
    this.place = { shown: 0, y: 0, ...history.state?.gallery };
    addEventListener("popstate", () => queryOf(location.search) !== this.listing.query && this.readAddress());
    addEventListener("scroll", () => this.savePlaceSoon(), { passive: true });
    addEventListener("online", () => this.failed && this.load());
    this.readAddress();
  }

  readAddress() {
    const query = queryOf(location.search);
    this.hall.input.value = query;
    this.search(query);
  }

  /** @param {string} typed @param {number} delay ms */
  searchSoon(typed, delay) {
    const query = typed.trim();
    clearTimeout(this.timers.typing);
    this.timers.typing = setTimeout(() => {
      if (query !== this.listing.query) {
        this.place = { shown: 0, y: 0 };
        history.replaceState(null, "", addressOf(query));
        this.search(query);
      } else if (this.failed) {
        this.load();
      }
    }, delay);
  }

  /** @param {string} query */
  search(query) {
    clearTimeout(this.timers.going);
    clearTimeout(this.timers.saying);
    this.observer.disconnect();
    this.listing.stop();
    this.listing = new Listing(this.root, query);
    this.fresh = false;
    this.loading = false;
    this.load();
  }

  /** @param {boolean} byKey whether somebody who uses no mouse has asked for it */
  loadMore(byKey) {
    this.listing.barren = 0;
    this.load(byKey);
  }

  /** Load the next page. @param {boolean} [byKey] */
  async load(byKey = false) {
    const listing = this.listing;
    if (this.loading || listing.complete) {
      return;
    }
    this.loading = true;
    this.failed = false;
    this.hall.setBusy(true, !this.fresh);
    try {
      const recordings = await listing.next(this.place.shown > this.shown ? LARGE_PAGE : PAGE);
      if (listing === this.listing) {
        this.show(recordings, byKey);
      }
    } catch (error) {
      if (listing === this.listing) {
        this.fail(error, byKey);
      }
    }
  }

  /** @param {import("./listing.js").Listed[]} recordings @param {boolean} byKey */
  show(recordings, byKey) {
    const { hall, listing } = this;
    const now = new Date();
    const cards = recordings.map((recording) => cardOf(recording, this.root, now));
    if (!this.fresh) {
      this.shown = 0;
      hall.clear();
    }
    hall.append(cards);
    this.shown += cards.length;
    this.loading = false;
    hall.setBusy(false, false);
    this.tell(!this.fresh || byKey || listing.complete);
    this.fresh = true;
    if (listing.complete && !this.shown) {
      hall.showNothing(listing.query);
    }
    if (byKey) {
      cards[0]?.querySelector("a")?.focus();
    }
    this.goOn();
  }

  /** What is there stays. @param {unknown} error @param {boolean} byKey */
  fail(error, byKey) {
    this.loading = false;
    this.failed = true;
    this.hall.setBusy(false, false);
    this.hall.showTrouble(error instanceof Error ? error.message : String(error), !this.fresh, byKey);
  }

  /** @param {boolean} aloud whether also to those who don't see the cards: not while they come by themselves */
  tell(aloud) {
    const text = this.hall.setCount(this.shown, this.listing.complete, this.listing.query);
    if (aloud) {
      clearTimeout(this.timers.saying);
      this.timers.saying = setTimeout(() => this.hall.say(text), QUIET_MS);
    }
  }

  /** See whether more is to be loaded. */
  goOn() {
    const { hall, listing } = this;
    hall.more.hidden = listing.complete;
    hall.more.textContent = listing.barren ? "Keep looking" : "Load more";
    if (this.shown < this.place.shown && !listing.complete) {
      this.load();
      return;
    }
    this.restorePlace();
    if (!listing.complete && listing.barren < MAX_BARREN) {
      this.timers.going = setTimeout(() => this.watchEnd(), listing.barren * BARREN_MS);
    }
  }

  /** The observer speaks up when the end comes into sight; asked anew, also if it is there already. */
  watchEnd() {
    this.observer.disconnect();
    this.observer.observe(this.hall.end);
  }

  /** @param {IntersectionObserverEntry[]} entries */
  onSight(entries) {
    if (entries.some((entry) => entry.isIntersecting) && !this.failed) {
      this.observer.disconnect();
      this.load();
    }
  }

  restorePlace() {
    if (this.place.y) {
      scrollTo({ top: this.place.y, behavior: "instant" });
    }
    this.place = { shown: 0, y: 0 };
  }

  /** Whoever comes back from a recording finds the list as he left it. */
  savePlaceSoon() {
    clearTimeout(this.timers.saving);
    this.timers.saving = setTimeout(() => {
      if (this.fresh) {
        history.replaceState({ gallery: { shown: Math.min(this.shown, MAX_RESTORED), y: scrollY } }, "");
      }
    }, TYPING_MS);
  }
}

/** @param {string} search the part of an address */
function queryOf(search) {
  return (new URLSearchParams(search).get("q") ?? "").trim().slice(0, MAX_QUERY_CHARS);
}

/** @param {string} query */
function addressOf(query) {
  const address = new URL(location.href);
  address.searchParams.delete("q");
  if (query) {
    address.searchParams.set("q", query);
  }
  return address;
}

new Gallery(document.body.dataset.root ?? "/").start();
