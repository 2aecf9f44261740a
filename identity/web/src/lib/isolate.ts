/** A name inside a sentence that is text alone: set apart, whichever way it runs (Unicode FSI and PDI). */
export const isolate = (name: string): string => `\u2068${name}\u2069`;
