import { z } from "zod";
import { type FaultCode, faultTable } from "../base/fault-table.ts";
import { KIB } from "../base/units.ts";
import { parseGroupName, parsePointId } from "../core/ids.ts";

const group = z.string().transform((text, context) => {
  const name = parseGroupName(text);
  if (name !== null) return name;
  context.addIssue({ code: "custom", message: "no group's name" });
  return z.NEVER;
});
const point = z.string().transform((text, context) => {
  const id = parsePointId(text);
  if (id !== null) return id;
  context.addIssue({ code: "custom", message: "no point's id" });
  return z.NEVER;
});

/** Slower would never come to its end: bytes a second. */
export const scrubRateMin = 64 * KIB;
/** Points that one request may name. */
const pointsMax = 100_000;
/** Addresses that an invitation may name. */
export const addressesMax = 8;
/** An invitation that nobody used goes stale: at most a month. */
export const invitationSecondsMax = 31 * 86_400;

const holderId = z.string().regex(/^[0-9a-f]{16}$/);
const peerName = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/i);
const address = z.string().min(1).max(300);
const sentence = z.string().min(1).max(1024);

/** What a running writer does for others, because only one process writes to a vault. */
export const controlRequestSchema = z.discriminatedUnion("verb", [
  /** Retires these points, all but the newest of the group, and merges their deltas. Those sealed meanwhile stay. */
  z.strictObject({ verb: z.literal("thin"), group, retire: z.array(point).max(pointsMax) }),
  /** Moves the base up to `point`, which becomes the oldest that can be opened; older ones are retired. */
  z.strictObject({ verb: z.literal("move-base"), group, point }),
  /** Enters in the ledger that the points were hashed and found good. */
  z.strictObject({
    verb: z.literal("record-verified"),
    group,
    points: z.array(point).max(pointsMax),
  }),
  /** Hashes what open points read, at most so fast, and enters which are good. Goes on where an earlier one stopped. */
  z.strictObject({
    verb: z.literal("scrub"),
    group,
    rateBytesPerSecond: z.int().min(scrubRateMin).max(Number.MAX_SAFE_INTEGER),
  }),
  /** Hands the group to another writer; whoever wrote before is refused from then on. */
  z.strictObject({ verb: z.literal("raise"), group, holder: holderId, reason: sentence }),
  /** What the writer is doing. */
  z.strictObject({ verb: z.literal("state") }),
  /** Makes an invitation for a replicator of that name; the answer is secret. */
  z.strictObject({
    verb: z.literal("invite"),
    name: peerName,
    addresses: z.array(address).max(addressesMax),
    expiresSeconds: z.int().min(1).max(invitationSecondsMax),
    /** Whether another replicator may take the name. */
    replaces: z.boolean(),
  }),
  /** Believes no certificate of that replicator any more, and ends its connections. */
  z.strictObject({ verb: z.literal("revoke"), name: peerName }),
  /** Who is enrolled. */
  z.strictObject({ verb: z.literal("peers") }),
]);

/** A request, checked. */
export type ControlRequest = z.output<typeof controlRequestSchema>;
/** A request about one group. */
export type GroupRequest = Extract<ControlRequest, { readonly group: unknown }>;
/** A request about who may connect. */
export type PeerRequest = Extract<ControlRequest, { readonly verb: "invite" | "revoke" | "peers" }>;

const faultCodes = Object.keys(faultTable) as [FaultCode, ...FaultCode[]];
const plainValue = z.union([z.string(), z.number(), z.boolean(), z.null()]);

/** A line of an answer: how far it is, or how it ended. */
export const controlReplySchema = z.union([
  z.strictObject({ progress: z.strictObject({ done: z.number(), total: z.number().nullable() }) }),
  z.strictObject({ result: z.json() }),
  z.strictObject({
    error: z.strictObject({
      code: z.enum(faultCodes),
      message: z.string(),
      details: z.record(z.string(), plainValue),
    }),
  }),
]);

/** A line of an answer, checked. */
export type ControlReply = z.output<typeof controlReplySchema>;
