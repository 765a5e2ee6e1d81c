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
  /** What the writer is doing. */
  z.strictObject({ verb: z.literal("state") }),
]);

/** A request, checked. */
export type ControlRequest = z.output<typeof controlRequestSchema>;

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
