/** DCQL (OpenID4VP 1.0 §6), the wallet's side: what one credential answers to a query. `fixtures/dcql-v1.json` holds both SDKs to the same answers. */

import { Refused } from "./refused.js";

type Step = string | number | null;

interface ClaimQuery {
  id?: string;
  path: Step[];
  values?: unknown[];
}

interface CredentialQuery {
  id: string;
  format: "dc+sd-jwt";
  meta: { vct_values: string[] };
  claims?: ClaimQuery[];
  claim_sets?: string[][];
  trusted_authorities?: unknown;
}

/** A query that could be asked; members it does not know are ignored. */
export interface Query {
  credentials: CredentialQuery[];
  credential_sets?: { options: string[][]; required?: boolean }[];
}

type Members = Record<string, unknown>;

const some = <T>(value: unknown, is: (one: unknown) => one is T): value is T[] => Array.isArray(value) && value.length > 0 && value.length <= 32 && value.every(is);
const isText = (value: unknown): value is string => typeof value === "string";
const isTexts = (value: unknown): value is string[] => some(value, isText);
const isMembers = (value: unknown): value is Members => typeof value === "object" && value !== null && !Array.isArray(value);
const isStep = (value: unknown): value is Step => isText(value) || value === null || (Number.isInteger(value) && Number(value) >= 0);
const left = <T>(value: unknown, is: (one: unknown) => one is T): value is T | undefined => value === undefined || is(value);

function isClaim(value: unknown): value is ClaimQuery {
  return isMembers(value) && left(value["id"], isText) && some(value["path"], isStep) && left(value["values"], (values): values is unknown[] => some(values, (one): one is unknown => one !== undefined));
}

function isCredential(value: unknown): value is CredentialQuery {
  if (!isMembers(value) || !isText(value["id"]) || value["format"] !== "dc+sd-jwt" || !isMembers(value["meta"])) return false;
  const { claims, claim_sets: sets } = value;
  const claimed = left(claims, (all): all is ClaimQuery[] => some(all, isClaim));
  return isTexts(value["meta"]["vct_values"]) && claimed && left(sets, (all): all is string[][] => some(all, isTexts));
}

function isSet(value: unknown): value is { options: string[][]; required?: boolean } {
  return isMembers(value) && some(value["options"], isTexts) && left(value["required"], (one): one is boolean => typeof one === "boolean");
}

/** Reads a query; refuses what could not be asked. */
export function readQuery(value: unknown): Query {
  const sound = isMembers(value) && some(value["credentials"], isCredential) && left(value["credential_sets"], (all): all is NonNullable<Query["credential_sets"]> => some(all, isSet));
  if (!sound) throw new Refused("vp.query", "query");
  const query = value as unknown as Query;
  if (new Set(query.credentials.map(({ id }) => id)).size !== query.credentials.length) throw new Refused("vp.query", "query");
  return query;
}

/**
 * What one credential with these claims answers: for each query it stands for, the names of the claims shown, no more than are wanted. `also` are to be among
 * them. Nothing when that is no answer.
 */
export function answerWith({ credentials, credential_sets: sets }: Query, claims: Members, also: string[]): Map<string, string[]> | undefined {
  const able = new Map<string, string[]>();
  for (const query of credentials) {
    const wanted = wantedOf(query, claims);
    if (wanted) able.set(query.id, [...new Set(wanted.map(({ path }) => String(path[0])))].sort());
  }
  const fits = ({ options }: { options: string[][] }): string[] | undefined => options.find((option) => option.every((id) => able.has(id)));
  const ids = new Set(also);
  const add = (option: string[] | undefined): boolean => (option ?? []).every((id) => ids.add(id)) && option !== undefined;
  if (sets === undefined) add(credentials.map(({ id }) => id));
  else {
    if (!sets.filter(({ required = true }) => required).every((set) => add(fits(set)))) return undefined;
    const optional = sets.map(fits).find((option) => option !== undefined);
    if (ids.size === 0 && !add(optional)) return undefined;
  }
  const shown = [...ids].sort().map((id) => [id, able.get(id)] as const);
  return shown.every((one): one is [string, string[]] => one[1] !== undefined) ? new Map(shown) : undefined;
}

/** What is asked of these claims, if they meet it: the most wanted set of it that they do (§6.4.1). */
function wantedOf({ meta, claims: asked = [], claim_sets: sets, trusted_authorities: authorities }: CredentialQuery, claims: Members): ClaimQuery[] | undefined {
  // A person's own root is under no authority of the kinds there are.
  if (authorities !== undefined || !meta.vct_values.includes(claims["vct"] as string)) return undefined;
  const met = (wanted: (ClaimQuery | undefined)[]): wanted is ClaimQuery[] => wanted.every((claim) => claim !== undefined && isMetBy(claim, claims));
  const options = sets?.map((set) => set.map((id) => asked.find((claim) => claim.id === id))) ?? [asked];
  return options.find(met);
}

function isMetBy({ path, values }: ClaimQuery, claims: Members): boolean {
  const found = path.reduce<unknown[]>((at, step) => at.flatMap((one) => select(one, step)), [claims]);
  return values ? found.some((one) => values.includes(one)) : found.length > 0;
}

function select(at: unknown, step: Step): unknown[] {
  if (Array.isArray(at)) {
    if (step === null) return at;
    return typeof step === "number" && step < at.length ? [at[step]] : [];
  }
  return isMembers(at) && isText(step) && Object.hasOwn(at, step) ? [at[step]] : [];
}
