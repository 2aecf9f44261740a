// These come without types; what is used of them is said here.
declare module "@digitalbazaar/ecdsa-multikey" {
  export interface KeyPair {
    id: string;
    controller: string;
    export(options: { publicKey: true }): Promise<{ publicKeyMultibase: string }>;
    signer(): object;
  }
  export function generate(options: { curve: "P-256" }): Promise<KeyPair>;
}
declare module "@digitalbazaar/ed25519-multikey" {
  import type { KeyPair } from "@digitalbazaar/ecdsa-multikey";
  export function generate(): Promise<KeyPair>;
}
declare module "@digitalbazaar/data-integrity" {
  export class DataIntegrityProof {
    constructor(options: { signer?: object; cryptosuite: object });
  }
}
declare module "@digitalbazaar/ecdsa-rdfc-2019-cryptosuite" {
  export const cryptosuite: object;
}
declare module "@digitalbazaar/eddsa-rdfc-2022-cryptosuite" {
  export const cryptosuite: object;
}
declare module "@digitalbazaar/vc" {
  type Loader = (url: string) => Promise<object>;
  export const defaultDocumentLoader: Loader;
  export function issue(options: { credential: object; suite: object; documentLoader: Loader }): Promise<Record<string, unknown>>;
  export function verifyCredential(options: { credential: object; suite: object; documentLoader: Loader }): Promise<{ verified: boolean; error?: unknown }>;
  export function createPresentation(options: { verifiableCredential: object[]; holder: string; version: 2 }): object;
  export function signPresentation(options: { presentation: object; suite: object; challenge: string; domain: string; documentLoader: Loader }): Promise<Record<string, unknown>>;
}

declare module "@digitalbazaar/vc-bitstring-status-list" {
  interface List {
    setStatus(index: number, status: boolean): void;
  }
  export function createList(options: { length: number }): Promise<List>;
  export function createCredential(options: { id: string; list: List; statusPurpose: string }): Promise<object>;
}
