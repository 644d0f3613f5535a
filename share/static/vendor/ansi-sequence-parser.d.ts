/** What we use of ansi-sequence-parser. */
export type AnsiColor =
  { type: "named"; name: string } | { type: "rgb"; rgb: [number, number, number] } | { type: "table"; index: number };

export interface AnsiToken {
  value: string;
  foreground: AnsiColor | null;
  background: AnsiColor | null;
  decorations: Set<string>;
}

export const namedColors: string[];

/** A parser that goes on, with each text, in the colours in which the last one ended. */
export function createAnsiSequenceParser(): { parse(text: string): AnsiToken[] };
