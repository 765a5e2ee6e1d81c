import { z } from "zod";
import { encodeCanonicalJson } from "./canonical-json.ts";
import { type DeltaHeader, decodeHeader } from "./delta-header.ts";
import { diskSizeBytesMax, sectorSizeBytes } from "./delta-limits.ts";
import { wireFault } from "./wire-frame.ts";
import { decodeWith } from "./wire-hello.ts";
import { hashesBlocksMax } from "./wire-limits.ts";

const name = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/i);
const diskName = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}\/[a-z0-9][a-z0-9._-]{0,62}$/i);
const id = z.string().regex(/^[0-9a-f]{16}$/);
const hash = z.string().regex(/^[0-9a-f]{64}$/);
const count = z.int().min(0);
const offset = count.max(diskSizeBytesMax).multipleOf(sectorSizeBytes);
const length = offset.min(sectorSizeBytes);

/** A clock comparison inside other JSON. */
export const clockComparisonSchema = z.object({ offsetMs: z.int(), errorMs: z.int().min(1) });
/** Which disk is to be staged, inside other JSON. */
export const stageRequestSchema = z.object({
  kind: z.enum(["base", "parts"]),
  disk: diskName,
  identity: id,
  sizeBytes: length,
  syncId: id,
});

const callSchema = z.discriminatedUnion("call", [
  z.object({ call: z.literal("ask"), group: name }),
  z.object({ call: z.literal("begin"), header: z.record(z.string(), z.unknown()) }),
  z.object({ call: z.literal("stage"), group: name, request: stageRequestSchema }),
  z.object({ call: z.literal("confirm"), group: name, point: id, atMs: z.int() }),
  z.object({ call: z.literal("zero"), disk: id, offsetBytes: offset, lengthBytes: length }),
  z.object({ call: z.literal("adopt"), staged: z.int().min(1) }),
  z.object({
    call: z.literal("seal"),
    dirtyBytes: count,
    readBytes: count,
    contentRoot: hash.nullable(),
    clock: clockComparisonSchema.nullable(),
  }),
  z.object({
    call: z.literal("hashes"),
    offsetBytes: offset,
    blocks: z.int().min(1).max(hashesBlocksMax),
  }),
  z.object({ call: z.literal("checkpoint"), resumeAtBytes: count.max(diskSizeBytesMax) }),
  z.object({ call: z.literal("discard") }),
  z.object({ call: z.literal("close") }),
]);

type ParsedCall = z.infer<typeof callSchema>;
/** A request without a payload. `begin` carries a delta's header, checked as a delta file's is. */
export type WireCall =
  | Exclude<ParsedCall, { call: "begin" }>
  | { readonly call: "begin"; readonly header: DeltaHeader };

/** A call's body. A header that no reader would take is the caller's to find first. */
export function encodeCall(call: WireCall): Buffer {
  return encodeCanonicalJson(call);
}

/** Reads a call's body. LINK_PROTOCOL when it is none that this version has. */
export function decodeCall(body: Uint8Array): WireCall {
  const call = decodeWith(callSchema, body, "call");
  if (call.call !== "begin") return call;
  return { call: "begin", header: decodeWireHeader(call.header) };
}

/** A delta's header inside other JSON. LINK_PROTOCOL when it is none. */
export function decodeWireHeader(value: Readonly<Record<string, unknown>>): DeltaHeader {
  try {
    return decodeHeader(encodeCanonicalJson(value));
  } catch (error) {
    throw wireFault(`a delta's header is none: ${error instanceof Error ? error.message : ""}`);
  }
}
