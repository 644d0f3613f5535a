/** What we use of d3-dsv. */
export function dsvFormat(delimiter: string): { parseRows(text: string): string[][] };
