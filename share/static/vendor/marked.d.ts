/** What we use of marked. */
export interface Token {
  type: string;
  raw: string;
  text: string;
  checked?: boolean;
}

export interface Options {
  gfm?: boolean;
  breaks?: boolean;
  async?: false;
  renderer?: Record<string, (this: unknown, token: Token) => string | false>;
}

export class Marked {
  constructor(options: Options);
  parse(text: string, options: { async: false }): string;
}
