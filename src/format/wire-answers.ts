import { z } from "zod";
import { Fault, type FaultDetails } from "../base/fault.ts";
import { type FaultCode, faultTable } from "../base/fault-table.ts";
import { encodeCanonicalJson } from "./canonical-json.ts";
import type { DeltaHeader } from "./delta-header.ts";
import { clockComparisonSchema, decodeWireHeader, stageRequestSchema } from "./wire-calls.ts";
import { wireFault } from "./wire-frame.ts";
import { decodeWith } from "./wire-hello.ts";

const count = z.int().min(0);
const costSchema = z.object({
  dirtyBytes: count,
  readBytes: count,
  dataBytes: count,
  zeroBytes: count,
  storedBytes: count,
});
const sealedSchema = z.object({
  contentRoot: z.string().regex(/^[0-9a-f]{64}$/),
  sealedAtMs: z.int(),
  cost: costSchema,
  verifiedAtMs: z.int().nullable(),
  drilledAtMs: z.int().nullable(),
  currentAtMs: z.int().nullable(),
  clock: clockComparisonSchema.nullable(),
});
const pointSchema = z.object({ sealed: sealedSchema, header: z.record(z.string(), z.unknown()) });
const stagedSchema = stageRequestSchema.extend({ resumeAtBytes: count });
const generationSchema = z.object({
  number: count,
  holder: z.string().regex(/^[0-9a-f]{16}$/),
});
const standingSchema = z.object({
  head: pointSchema.nullable(),
  staged: z.array(stagedSchema).max(1024),
  generation: generationSchema.nullable(),
});
/** Of a fault as it crosses the wire; longer ones are cut. */
const messageLengthMax = 2000;
const detailsMax = 16;
const detailLengthMax = 500;
const detail = z.union([z.string().max(detailLengthMax), z.number(), z.boolean(), z.null()]);
const faultSchema = z.object({
  code: z.string().max(64),
  message: z.string().max(messageLengthMax),
  details: z.record(z.string().max(64), detail),
});

/** A point without the product's brands. */
export type WirePoint = DeltaHeader & z.infer<typeof sealedSchema>;
/** A staged disk's status without the product's brands. */
export type WireStaged = z.infer<typeof stagedSchema>;

/** How a group stands, without the product's brands. */
export interface WireStanding {
  readonly head: WirePoint | null;
  readonly staged: readonly WireStaged[];
  readonly generation: { readonly number: number; readonly holder: string } | null;
}

/** A sealed point as the answer to a seal. */
export function encodePoint(point: WirePoint): Buffer {
  return encodeCanonicalJson(pointBody(point));
}

/** Reads a point; LINK_PROTOCOL when it is none. */
export function decodePoint(body: Uint8Array): WirePoint {
  return pointOf(decodeWith(pointSchema, body, "point"));
}

/** How a group stands, as the answer to `ask`. */
export function encodeStanding({ head, staged, generation }: WireStanding): Buffer {
  const headBody = head === null ? null : pointBody(head);
  return encodeCanonicalJson({ head: headBody, staged: staged.map(stagedBody), generation });
}

/** Reads how a group stands; LINK_PROTOCOL when it does not say so. */
export function decodeStanding(body: Uint8Array): WireStanding {
  const { head, staged, generation } = decodeWith(standingSchema, body, "standing");
  return { head: head === null ? null : pointOf(head), staged, generation };
}

/** A staged disk's status as the answer to `stage`. */
export function encodeStaged(status: WireStaged): Buffer {
  return encodeCanonicalJson(stagedBody(status));
}

/** Reads a staged disk's status; LINK_PROTOCOL when it is none. */
export function decodeStaged(body: Uint8Array): WireStaged {
  return decodeWith(stagedSchema, body, "staged status");
}

/** What went wrong, for the peer; numbers that are not whole are rounded, long texts cut. */
export function encodeFault({ code, message, details }: Fault): Buffer {
  const told = Object.entries(details)
    .slice(0, detailsMax)
    .map(([key, value]) => [key.slice(0, 64), plain(value)]);
  const shortened = message.slice(0, messageLengthMax).toWellFormed();
  return encodeCanonicalJson({ code, message: shortened, details: Object.fromEntries(told) });
}

/** A fault that the peer told of. One whose code this program does not have is LINK_PROTOCOL. */
export function decodeFault(body: Uint8Array): Fault {
  const { code, message, details } = decodeWith(faultSchema, body, "fault");
  if (Object.hasOwn(faultTable, code)) return new Fault(code as FaultCode, message, details);
  return wireFault(`a fault of an unknown kind: ${code}: ${message}`, details);
}

function plain(value: FaultDetails[string]): FaultDetails[string] {
  if (typeof value === "string") return value.slice(0, detailLengthMax).toWellFormed();
  if (typeof value !== "number") return value;
  const whole = Math.round(value);
  return Number.isSafeInteger(whole) ? whole + 0 : null;
}

function pointBody(point: WirePoint): z.infer<typeof pointSchema> {
  const { contentRoot, sealedAtMs, cost, verifiedAtMs, drilledAtMs, currentAtMs, clock, ...rest } =
    point;
  const { id, group, generation, sequence, fromSequence, fromPoint } = rest;
  const { instant, consistency, disks, machines, notes } = rest;
  const { dirtyBytes, readBytes, dataBytes, zeroBytes, storedBytes } = cost;
  return {
    sealed: {
      contentRoot,
      sealedAtMs,
      cost: { dirtyBytes, readBytes, dataBytes, zeroBytes, storedBytes },
      verifiedAtMs,
      drilledAtMs,
      currentAtMs,
      clock,
    },
    header: {
      ...{ id, group, generation, sequence, fromSequence, fromPoint },
      ...{ instant, consistency, disks, machines, notes },
    },
  };
}

function pointOf({ sealed, header }: z.infer<typeof pointSchema>): WirePoint {
  return { ...decodeWireHeader(header), ...sealed };
}

function stagedBody(status: WireStaged): WireStaged {
  const { kind, disk, identity, sizeBytes, syncId, resumeAtBytes } = status;
  return { kind, disk, identity, sizeBytes, syncId, resumeAtBytes };
}
