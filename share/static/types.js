/** What comes from the server, and what views are given. Nothing in a row's `data` is trusted: any shape may come. */

/**
 * A row's frame, as docs/protocol.md has it.
 *
 * @typedef {object} Row
 * @property {unknown} data
 * @property {string} status
 * @property {string} message
 * @property {boolean} success
 * @property {string | null} current
 * @property {string} node_id
 * @property {{ name: string, suffix: string }[]} workspace_file_list
 * @property {number} offset 1 is the first row
 * @property {number} at seconds from the first row
 * @property {string | null} time
 * @property {string} [data_url] where data is that is too large for a frame, relative to the mount
 */

/**
 * @typedef {object} Marker
 * @property {number} offset
 * @property {number} at seconds from the first row
 * @property {string} label
 */

/**
 * What hello says of the recording.
 *
 * @typedef {object} Recording
 * @property {string} interaction_id
 * @property {string | null} description
 * @property {string | null} user_name
 * @property {string | null} agent
 * @property {string | null} mode
 * @property {string | null} status
 * @property {string} epoch
 * @property {number} total
 * @property {number} duration seconds
 * @property {Marker[]} markers
 * @property {boolean} live
 */

/**
 * @typedef {object} State
 * @property {boolean} playing
 * @property {number} speed
 * @property {number} offset
 * @property {number} at
 * @property {number} total
 * @property {number} duration
 * @property {boolean} live
 * @property {boolean} recovered
 */

/**
 * Where every row stands in time, and of what kind it is, known before the rows have come.
 *
 * @typedef {object} Outline
 * @property {number} total
 * @property {string} epoch
 * @property {[offset: number, at: number, status: string][]} steps in order; thinned out where there are very many
 */

/**
 * @typedef {object} FileInfo
 * @property {string} name
 * @property {number} size bytes
 * @property {string} media_type
 * @property {string} url
 */

/**
 * The files of the workspace, as views are given them.
 *
 * @typedef {object} Files
 * @property {() => Promise<FileInfo[]>} list what the run left
 * @property {(name: string) => string | null} url the address of a file; null for a name that can't be one
 * @property {(path: string) => string} resolve an address that a frame has, `file_url` or `data_url`, as it is fetched
 * @property {(url: string) => Promise<ArrayBuffer>} read rejects with an error whose message is for people
 */

export {};
