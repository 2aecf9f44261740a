/** Why a handoff came to nothing, as docs/lifecycle.md says it. */

import type { HandoffState, Reason } from "@baton/sdk";
import { language } from "./words.js";

type Why = Reason | Exclude<HandoffState, "requested" | "offered" | "accepted" | "sealed" | "completed">;

const en: Record<Why, string> = {
  unwanted: "not now",
  busy: "something else runs there",
  unable: "that device lacks what this film needs",
  unanswered: "the other device did not answer",
  elsewhere: "it went to another device",
  nobody_came: "nobody came",
  not_sealed: "the other device went silent",
  not_taken: "the other device did not take it",
  revoked: "a device was revoked",
  claimed: "it went on elsewhere",
  ended: "it was put away",
  not_synced: "that device's sync was switched off",
  declined: "not now",
  cancelled: "withdrawn",
  expired: "nobody came",
  reclaimed: "it was taken back",
  void: "it went on without it",
};

const de: typeof en = {
  unwanted: "jetzt nicht",
  busy: "dort läuft etwas anderes",
  unable: "jenem Gerät fehlt, was dieser Film braucht",
  unanswered: "das andere Gerät hat nicht geantwortet",
  elsewhere: "er ging an ein anderes Gerät",
  nobody_came: "niemand kam",
  not_sealed: "das andere Gerät verstummte",
  not_taken: "das andere Gerät hat ihn nicht genommen",
  revoked: "ein Gerät wurde widerrufen",
  claimed: "er ging anderswo weiter",
  ended: "er wurde weggelegt",
  not_synced: "der Abgleich jenes Geräts wurde abgeschaltet",
  declined: "jetzt nicht",
  cancelled: "zurückgezogen",
  expired: "niemand kam",
  reclaimed: "er wurde zurückgeholt",
  void: "er ging ohne das weiter",
};

const fr: typeof en = {
  unwanted: "pas maintenant",
  busy: "autre chose y est en cours",
  unable: "il manque à cet appareil ce que ce film demande",
  unanswered: "l’autre appareil n’a pas répondu",
  elsewhere: "il est allé à un autre appareil",
  nobody_came: "personne n’est venu",
  not_sealed: "l’autre appareil s’est tu",
  not_taken: "l’autre appareil ne l’a pas pris",
  revoked: "un appareil a été révoqué",
  claimed: "il a continué ailleurs",
  ended: "il a été rangé",
  not_synced: "la synchronisation de cet appareil a été coupée",
  declined: "pas maintenant",
  cancelled: "retiré",
  expired: "personne n’est venu",
  reclaimed: "il a été repris",
  void: "il a continué sans cela",
};

const languages: Record<string, Record<string, string>> = { en, de, fr };

/** A code that is newer than this player is said as it is. */
export function why({ state, reason }: { state: HandoffState; reason: Reason | null }): string {
  const code = reason ?? state;
  return languages[language]?.[code] ?? code;
}
