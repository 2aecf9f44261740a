/**
 * `@baton/sdk`: Baton for browsers and Node.
 *
 * What is here: the root (made, wrapped, recovered, opened), approving an enrolment, and reading a device log. Everything crosses the wire in
 * the forms of docs/protocol.md; `fixtures/` hold vectors that this and the Rust SDK both read and write.
 */

export { approve, shownHash } from "./enrolment.js";
export type { Approval, DeviceClaims, Lane, Offer, Shown, Tier, Visible } from "./enrolment.js";
export { readDeviceLog } from "./deviceLog.js";
export type { DeviceLog, Member } from "./deviceLog.js";
export { PublicKey, SoftKey, didUrl, hash } from "./key.js";
export type { Jwk } from "./key.js";
export { systemRandom } from "./random.js";
export type { Random } from "./random.js";
export { RecoveryCode } from "./recovery.js";
export { Refused } from "./refused.js";
export { PRF_SALT, Root } from "./root.js";
export type { Opener, WrappedRoot } from "./wrap.js";
