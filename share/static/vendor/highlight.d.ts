/** What we use of highlight.js. */
declare const hljs: {
  getLanguage(name: string): { name?: string } | undefined;
  highlight(text: string, options: { language: string; ignoreIllegals: boolean }): { value: string };
};

export default hljs;
