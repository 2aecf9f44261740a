/** Where identity is: said by whoever serves these pages, so that one bundle is the same everywhere. */

/** Its URL, from {@link findIdentity} on. */
export let identity = `${location.origin}/identity`;

/** Reads where identity is, before anything is asked of it. */
export async function findIdentity(): Promise<void> {
  const said = (await (await fetch("/baton.json")).json()) as { identity?: unknown };
  if (typeof said.identity === "string") identity = said.identity;
}
