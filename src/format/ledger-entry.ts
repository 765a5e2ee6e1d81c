import { z } from "zod";
import { pointFactsSchema } from "./delta-header.ts";
import { diskSizeBytesMax, disksMax, sentenceLengthMax } from "./delta-limits.ts";

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const id = z.string().regex(/^[0-9a-f]{16}$/);
const name = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/i);
const diskName = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}\/[a-z0-9][a-z0-9._-]{0,62}$/i);
/** A file's name in the group's directory of deltas: no path, so that a ledger never points outside. */
const fileName = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,254}$/i);
const count = z.int().min(0);
const sequence = z.int().min(1);
const sentence = z.string().max(sentenceLengthMax);
const diskSize = count.max(diskSizeBytesMax);

/** Points or deltas that one record can name. */
const namedMax = 65_536;
const namedPoint = z.strictObject({ id, sequence, contentRoot: hash });

/** A delta file as a record speaks of it: enough to list its point without opening the file. */
const delta = {
  point: pointFactsSchema,
  /** SHA-256 of the canonical JSON of the header's machines. */
  machinesHash: hash,
  contentRoot: hash,
  file: fileName,
  cost: z.strictObject({
    dirtyBytes: count,
    readBytes: count,
    dataBytes: count,
    zeroBytes: count,
    storedBytes: count,
  }),
};

/** The body of each kind of record. Adding a kind is compatible in one direction only: older programs refuse the ledger. */
const ledgerBodies = {
  /** The first record, and the first only. `vault` tells vaults apart. */
  "group-created": z.strictObject({ group: name, vault: id }),
  /** A delta was renamed into place: its point exists. */
  "point-sealed": z.strictObject({
    ...delta,
    /** The two sites' clocks when it was taken; absent where one host did both. */
    clock: z.strictObject({ offsetMs: z.int(), errorMs: z.int().min(1) }).exactOptional(),
  }),
  /** `sources`, oldest first, were merged into one delta with a header, root and file of its own. */
  "deltas-merged": z.strictObject({
    ...delta,
    sources: z.array(z.strictObject({ contentRoot: hash, file: fileName })).max(namedMax),
  }),
  /** The base now stands at `sequence`; the deltas with `contentRoots` are in it. */
  "base-moved": z.strictObject({ sequence: count, contentRoots: z.array(hash).max(namedMax) }),
  /** These points cannot be opened any more; their deltas may go. */
  "points-retired": z.strictObject({ points: z.array(namedPoint).max(namedMax), reason: sentence }),
  /** Every byte of the point's deltas had its hash. */
  "point-verified": z.strictObject({ point: namedPoint }),
  /** The point's machines were started. */
  "point-drilled": z.strictObject({ point: namedPoint, hasPassed: z.boolean(), finding: sentence }),
  /** The point cannot be retired before `lockedUntilMs`. */
  "retention-lock-set": z.strictObject({ point: namedPoint, lockedUntilMs: count }),
  "generation-raised": z.strictObject({
    generation: z.strictObject({ number: count, holder: id }),
    reason: sentence,
  }),
  /** A finished sync became the disk's base. `hashesHash`: SHA-256 of the list of its blocks' hashes at that moment. */
  "base-adopted": z.strictObject({
    disk: diskName,
    identity: id,
    sizeBytes: diskSize,
    hashesHash: hash.nullable(),
  }),
  /** The bases of disks that no remaining point has were removed. */
  "bases-dropped": z.strictObject({ identities: z.array(id).max(disksMax), reason: sentence }),
  /** Nothing had changed since the point at `atMs`, on its taker's wall clock. */
  "point-current": z.strictObject({ point: namedPoint, atMs: count }),
} as const;

/** A kind of event. */
export type LedgerKind = keyof typeof ledgerBodies;

/** What a record says: its kind and the body of that kind. */
export type LedgerEntry = {
  [Kind in LedgerKind]: {
    readonly kind: Kind;
    readonly body: z.infer<(typeof ledgerBodies)[Kind]>;
  };
}[LedgerKind];

/** Kinds by their number in the file, from 1; never reordered. */
const kindsInOrder: readonly LedgerKind[] = [
  "group-created",
  "point-sealed",
  "deltas-merged",
  "base-moved",
  "points-retired",
  "point-verified",
  "point-drilled",
  "retention-lock-set",
  "generation-raised",
  "base-adopted",
  "bases-dropped",
  "point-current",
];
/** Kinds that version 1 of the record has. */
const kindsInVersion1 = 11;

/** The kind's number in the file. */
export function ledgerKindNumber(kind: LedgerKind): number {
  return kindsInOrder.indexOf(kind) + 1;
}

/** The version of the record that an entry needs: programs that know only an older one are told so, not that it is damaged. */
export function ledgerVersionOf(entry: LedgerEntry): number {
  const isNewer = ledgerKindNumber(entry.kind) > kindsInVersion1;
  return isNewer || (entry.kind === "point-sealed" && entry.body.clock !== undefined) ? 2 : 1;
}

/** The kind of a number, or null for one that this program does not know. */
export function ledgerKindOf(number: number): LedgerKind | null {
  return kindsInOrder[number - 1] ?? null;
}

/** The entry, or what is wrong with it as a sentence. */
export function parseLedgerEntry(kind: LedgerKind, body: unknown): LedgerEntry | string {
  const result = ledgerBodies[kind].safeParse(body);
  if (result.success) return { kind, body: result.data } as LedgerEntry;
  const issue = result.error.issues[0];
  return `${kind}: ${issue?.path.join(".")}: ${issue?.message}`;
}
