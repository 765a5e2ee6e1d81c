import type { MakeSeams } from "./seams.ts";
import * as sites from "./sites/mutants.ts";
import type { MakeSitesSeams } from "./sites/seams.ts";
import * as source from "./source-mutants.ts";
import * as vault from "./vault-mutants.ts";

/** One thing the product must not do, built in on purpose, and what the oracle has to say about it. */
export type Mutant = {
  readonly name: string;
  /** At least one of its findings must be of this kind: a mutant that is only ever refused is none. */
  readonly finding: RegExp;
} & (
  | { readonly kind?: "one-process"; readonly seams: MakeSeams }
  | { readonly kind: "two-sites"; readonly seams: MakeSitesSeams }
);

const wrong = /wrong bytes/;
const lost =
  /acknowledged and is gone|delta is not there|delta .*: the file is too short|not have its hash|wrong bytes/;

const moved = /delta is not there|does not have the hash|wrong bytes/;

/** The simulator is as good as what it catches: each of these within 200 worlds. */
export const mutants: readonly Mutant[] = [
  { name: "H removed before the ack", seams: source.headRemovedBeforeAck, finding: /for nothing/ },
  { name: "ack before fsync", seams: vault.ackBeforeSync, finding: lost },
  { name: "bitmap of another point trusted", seams: source.anyBitmapTrusted, finding: wrong },
  { name: "unallocated skipped in resync", seams: vault.unallocatedSkipped, finding: wrong },
  { name: "ledger record before rename", seams: vault.recordBeforeRename, finding: lost },
  { name: "rename not made durable", seams: vault.renameNotSynced, finding: lost },
  { name: "disks of different instants", seams: source.disksAtDifferentInstants, finding: wrong },
  { name: "base moved under a pin", seams: vault.pinsIgnored, finding: moved },
  { name: "base moved before it is durable", seams: vault.baseNotSynced, finding: moved },
  { name: "recording starts late", seams: source.recordingStartsLate, finding: wrong },
  { name: "copy before write skipped", seams: source.copyBeforeWriteSkipped, finding: wrong },
  { name: "lost bitmap replaced", seams: source.lostBitmapReplaced, finding: wrong },
  ...twoSites(sites.mutants),
];

function twoSites(
  some: readonly { name: string; seams: MakeSitesSeams; finding: RegExp }[],
): readonly Mutant[] {
  return some.map((mutant) => ({ kind: "two-sites", ...mutant }));
}
