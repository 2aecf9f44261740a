/**
 * `@baton/sdk`: Baton for browsers and Node.
 *
 * What is here: the root (made, wrapped, recovered, opened) and approving an enrolment, for pages; enrolling by both lanes, presenting, tokens,
 * the device log, sessions that move and their events, for apps. Everything crosses the wire in the forms of docs/protocol.md; `fixtures/` hold vectors
 * that this and the Rust SDK both read and write.
 */

export { Device } from "./device.js";
export type { BrokerRequest, Label, Members, ReplaceRoot, Unasked } from "./device.js";
export { IndexedDbStore, MemoryStore } from "./store.js";
export type { Kept, Pin, Store } from "./store.js";
export { Session } from "./session/session.js";
export type { Branch } from "./session/branches.js";
export type { Listed, Opening, Written } from "./session/session.js";
export { fit } from "./session/needs.js";
export type { Fit, Needs, Taker } from "./session/needs.js";
export { Offered, Waiting } from "./session/handoff.js";
export { Asked, Requested } from "./session/pull.js";
export type { Declining, HandoffState, Reason, Target } from "./session/shown.js";
export type { Head } from "./session/update.js";
export { listen } from "./events.js";
export type { Frame, Gap, Listening, Open, PresenceFrame, RefusedFrame, SessionEvent, VolatileFrame } from "./events.js";
export { Outbox } from "./outbox.js";
export { keepPresent, presentDevices, sayPresent } from "./presence.js";
export type { Presence, Present, Showing, Status, Surface } from "./presence.js";
export type { SealedView } from "./session/view.js";
export { PresentationRequest } from "./presenting.js";
export type { Occasion } from "./credential.js";
export { generateDeviceKeys, signerOf } from "./deviceKeys.js";
export type { DeviceKeys, Signer } from "./deviceKeys.js";
export { enrolElsewhere, enrolHere, redeemHere } from "./enrol.js";
export type { Asking, Elsewhere, Here, PendingHere } from "./enrol.js";
export { readVerificationUri } from "./qr.js";
export type { Scanned } from "./qr.js";
export { approve, keysHash, shownHash, signAnew, signedName } from "./enrolment.js";
export type { Approval, Approving, DeviceClaims, DeviceKind, Known, Lane, Offer, Shown, Tier, Visible } from "./enrolment.js";
export { handOver, leadsTo, replacedBy, requestFor } from "./rootChange.js";
export type { Anew, AppChange, AppSigned } from "./rootChange.js";
export { issuerFingerprint, readDeviceLog } from "./deviceLog.js";
export type { DeviceLog, LogHead, Member } from "./deviceLog.js";
export { Http, serversAt, surroundings } from "./http.js";
export type { Request, Servers, Socket, Surroundings } from "./http.js";
export { PublicKey, SoftKey, didUrl, hash } from "./key.js";
export type { Jwk } from "./key.js";
export { systemRandom } from "./random.js";
export type { Random } from "./random.js";
export { RecoveryCode } from "./recovery.js";
export { Refused } from "./refused.js";
export type { Code } from "./refused.js";
export { PRF_SALT, Root } from "./root.js";
export type { Opener, WrappedRoot } from "./wrap.js";
