/** The files of the workspace, on the server or within the page. */

/** @typedef {import("./types.js").FileInfo} FileInfo */
/** @typedef {import("./types.js").Files} Files */

/** @param {string} name @returns {boolean} whether it can be a file of a workspace */
function isName(name) {
  return name !== "" && !name.startsWith("/") && !name.split("/").some((part) => part === ".." || part === ".");
}

/** @param {string} name */
function quoted(name) {
  return name.split("/").map(encodeURIComponent).join("/");
}

/** @implements {Files} */
export class ServerFiles {
  /**
   * @param {string} root where the server's routes are, with a slash at its end
   * @param {string} name the recording's id, or the token of a link
   * @param {string} viewer by what a link knows its viewer again; empty for none
   */
  constructor(root, name, viewer) {
    this.root = new URL(root, location.href).href;
    this.api = `${this.root}api/v1/recordings/${encodeURIComponent(name)}`;
    this.viewer = viewer;
  }

  /** @returns {Promise<FileInfo[]>} */
  async list() {
    const found = JSON.parse(new TextDecoder().decode(await this.read(this.signed(`${this.api}/files`))));
    return found.files.map((/** @type {FileInfo} */ file) => ({ ...file, url: this.url(file.name) ?? file.url }));
  }

  /** @returns {Promise<import("./types.js").Outline>} */
  async readOutline() {
    return JSON.parse(new TextDecoder().decode(await this.read(this.signed(`${this.api}/outline`))));
  }

  /** @param {string} name */
  url(name) {
    return isName(name) ? this.signed(`${this.api}/files/${quoted(name)}`) : null;
  }

  /** @param {string} path */
  resolve(path) {
    const address = new URL(path, this.root);
    // A recording's own text must not send the viewer's name, or a request at all, to another place.
    return address.href.startsWith(this.root) ? this.signed(address.href) : this.root;
  }

  /** @param {string} address */
  signed(address) {
    return this.viewer ? `${address}?viewer=${encodeURIComponent(this.viewer)}` : address;
  }

  /** @param {string} url */
  async read(url) {
    let response;
    try {
      response = await fetch(url);
    } catch {
      throw new Error("The server can't be reached.");
    }
    if (!response.ok) {
      throw new Error(
        response.status === 404 ? "This is not there any more." : `The server answered with ${response.status}.`,
      );
    }
    return response.arrayBuffer();
  }
}

/** @implements {Files} */
export class LocalFiles {
  /** @param {{ name: string, media_type: string, content: string }[]} held `content` in base64 */
  constructor(held) {
    this.held = new Map(held.map((file) => [file.name, file]));
    /** @type {Map<string, string>} */
    this.urls = new Map();
  }

  async list() {
    return [...this.held.values()].map(({ name, media_type, content }) => {
      const size = Math.floor((content.length * 3) / 4) - (content.endsWith("==") ? 2 : content.endsWith("=") ? 1 : 0);
      return { name, size, media_type, url: this.url(name) ?? "" };
    });
  }

  /** @param {string} name */
  url(name) {
    const file = this.held.get(name);
    if (file && !this.urls.has(name)) {
      const content = Uint8Array.from(atob(file.content), (character) => character.charCodeAt(0));
      this.urls.set(name, URL.createObjectURL(new Blob([content], { type: file.media_type })));
    }
    return this.urls.get(name) ?? null;
  }

  /** @param {string} path as the server would have it: …/files/NAME */
  resolve(path) {
    const name = path.split("/files/").slice(1).join("/files/");
    try {
      return this.url(decodeURIComponent(name)) ?? "data:,";
    } catch {
      return "data:,";
    }
  }

  /** @param {string} url */
  async read(url) {
    const name = [...this.urls].find(([, known]) => known === url)?.[0];
    const file = name === undefined ? undefined : this.held.get(name);
    if (!file) {
      throw new Error("This file is not in the page.");
    }
    return Uint8Array.from(atob(file.content), (character) => character.charCodeAt(0)).buffer;
  }
}
