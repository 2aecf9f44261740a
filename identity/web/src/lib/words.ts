/** What to say about a refusal: what happened, and what the person can do. */

import { Refused } from "@baton/sdk";

const SAID: Record<string, string> = {
  transport: "Baton cannot be reached. Check your connection and try again.",
  "webauthn.cancelled": "No passkey was used. Try again when you are ready.",
  "wrap.prf": "This passkey cannot keep your root, because it lacks the PRF extension. Use one of your phone, a recent security key, or a password manager that has it.",
  "wrap.invalid": "What the server sent does not belong to you, or the code has a typing mistake. Nothing was signed.",
  "enrol.code": "No device is waiting under this code. Check the letters; codes are good for ten minutes.",
  "enrol.proximity": "That is not the check code the device shows.",
  "enrol.changed": "The request is not the one you were shown. Nothing was signed. Start again on the device.",
  "enrol.expired": "The request is too old. Start again on the device.",
  "enrol.not_approved": "Somebody has decided about this request already. Start again on the device.",
  "enrol.reauth": "Too much time has passed. Use your passkey again.",
  "enrol.recovery": "Confirm that you keep your recovery code before you add a device.",
  "limit.rate": "Too many tries. Wait ten minutes.",
  "limit.devices": "You have as many devices as an account may have. Revoke one first.",
  invalid_token: "You have been signed out.",
};

/** A sentence or two. */
export function say(error: unknown): string {
  if (error instanceof Refused) return SAID[error.code] ?? `Baton refused this (${error.code}).`;
  return "Something went wrong on this page. Reload it and try again.";
}
