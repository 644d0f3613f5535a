/** What we use of DOMPurify. */
export interface Config {
  ALLOWED_TAGS: string[];
  ALLOWED_ATTR: string[];
  ALLOWED_URI_REGEXP?: RegExp;
  ALLOW_DATA_ATTR: false;
  ALLOW_ARIA_ATTR: false;
  RETURN_DOM_FRAGMENT: true;
}

declare const DOMPurify: {
  sanitize(html: string, config: Config): DocumentFragment;
};

export default DOMPurify;
