import { z } from "zod";

// What a serving vault says of its groups and of who may write to them. What is not known is null.

const bytes = z.int().nonnegative();

/** A replicator that is, or was, enrolled. */
export const enrolledPeerSchema = z.strictObject({
  name: z.string(),
  /** 16 hex digits: the holder of generations. */
  id: z.string(),
  state: z.enum(["enrolled", "expired", "revoked"]),
  enrolledAtMs: z.int().nullable(),
  /** When its newest certificate ends. */
  notAfterMs: z.int().nullable(),
  /** Connections just now; null when no server runs. */
  channels: z.int().nullable(),
  /** Groups whose current generation it holds. */
  groups: z.array(z.string()),
});

/** A replicator that is, or was, enrolled. */
export type EnrolledPeer = z.output<typeof enrolledPeerSchema>;

/** A group as the vault keeps it. */
export const custodySchema = z.strictObject({
  /** Who may write; `holder` is its name where it is enrolled. */
  generation: z
    .strictObject({ number: z.int(), holderId: z.string(), holder: z.string().nullable() })
    .nullable(),
  /** Who has a connection open for this group. */
  peer: z.strictObject({ name: z.string(), id: z.string(), address: z.string() }).nullable(),
  /** When a point, a confirmation or a part of a sync came last, on the vault's clock; null when none ever did. */
  lastHeardAtMs: z.int().nullable(),
  /** What a loss of the source would cost now, on the vault's clock, its difference from the source's taken out. */
  rpoSeconds: z.number().nullable(),
  /** How far `rpoSeconds` may be off; null while the clocks were not compared. */
  rpoErrorSeconds: z.number().nullable(),
  /** How it was over the window, seen each second. */
  rpoQuantiles: z
    .strictObject({ p50: z.number(), p95: z.number(), p99: z.number(), windowSeconds: z.number() })
    .nullable(),
  /** The two sites' clocks when the newest point was taken: vault's minus source's. */
  clock: z.strictObject({ offsetMs: z.int(), errorMs: z.int() }).nullable(),
  bytes: z.strictObject({
    /** Of points and syncs, as they came since the server started; other traffic of the connection is not in it. */
    wire: bytes,
    /** On the vault's file system, of the deltas above the base, as stored. */
    journal: bytes,
    /** On the vault's file system, of the base; never compressed. */
    base: bytes,
  }),
  /** Since when nothing came, when that is too long; null while the source speaks. */
  silentSinceMs: z.int().nullable(),
  points: z.int(),
});

/** A group as the vault keeps it. */
export type Custody = z.output<typeof custodySchema>;

/** A serving vault. */
export const vaultStateSchema = z.strictObject({
  /** Host and port where it listens. */
  listen: z.string(),
  peers: z.array(enrolledPeerSchema),
});
