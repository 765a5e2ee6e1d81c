import { z } from "zod";
import { Fault } from "../base/fault.ts";
import { decodeCanonicalJson, encodeCanonicalJson } from "./canonical-json.ts";
import { wireFault } from "./wire-frame.ts";
import type { WireVersions } from "./wire-limits.ts";

const hexId = z.string().regex(/^[0-9a-f]{32}$/);
const bytes = z.int().min(1);

const helloSchema = z.object({
  versions: z.object({ min: z.int().min(1), max: z.int().min(1) }),
  session: hexId,
  life: hexId.nullable(),
  channel: z
    .int()
    .min(0)
    .max(2 ** 32 - 1),
});
const grantSchema = z.object({ sessionBytes: bytes, streamBytes: bytes });
const welcomeSchema = z.object({
  version: z.int().min(1),
  life: hexId,
  isNew: z.boolean(),
  channelsMax: z.int().min(1).max(64),
  grant: grantSchema,
});
const goodbyeSchema = z.object({ code: z.string().max(64), message: z.string().max(1024) });

/** The replicator's first frame on a channel. */
export interface Hello {
  readonly versions: WireVersions;
  /** 32 hex digits, drawn by the replicator. */
  readonly session: string;
  /** The vault's life in which the session began; null when it begins now. */
  readonly life: string | null;
  /** Counts the session's channels; never used twice. */
  readonly channel: number;
}

/** How many bytes of chunks may be unanswered. */
export interface Grant {
  readonly sessionBytes: number;
  readonly streamBytes: number;
}

/** The vault's answer to a hello. */
export interface Welcome {
  readonly version: number;
  /** 32 hex digits, drawn when the vault's process began. */
  readonly life: string;
  /** The vault knew nothing of the session until now. */
  readonly isNew: boolean;
  readonly channelsMax: number;
  readonly grant: Grant;
}

/** Last words before a channel is ended on purpose. */
export interface Goodbye {
  readonly code: string;
  readonly message: string;
}

/** The body of a hello. */
export const encodeHello = (hello: Hello): Buffer => encodeCanonicalJson(hello);
/** Reads a hello; LINK_PROTOCOL when it is none. */
export const decodeHello = (body: Uint8Array): Hello => decodeWith(helloSchema, body, "hello");
/** The body of a welcome. */
export const encodeWelcome = (welcome: Welcome): Buffer => encodeCanonicalJson(welcome);
/** Reads a welcome; LINK_PROTOCOL when it is none. */
export const decodeWelcome = (body: Uint8Array): Welcome =>
  decodeWith(welcomeSchema, body, "welcome");
/** The body of a grant. */
export const encodeGrant = (grant: Grant): Buffer => encodeCanonicalJson(grant);
/** Reads a grant; LINK_PROTOCOL when it is none. */
export const decodeGrant = (body: Uint8Array): Grant => decodeWith(grantSchema, body, "grant");
/** The body of a goodbye. */
export const encodeGoodbye = (goodbye: Goodbye): Buffer => encodeCanonicalJson(goodbye);
/** Reads a goodbye; LINK_PROTOCOL when it is none. */
export const decodeGoodbye = (body: Uint8Array): Goodbye =>
  decodeWith(goodbyeSchema, body, "goodbye");

/** The newest version that both speak. LINK_VERSION when there is none. */
export function commonVersion(ours: WireVersions, theirs: WireVersions): number {
  const version = Math.min(ours.max, theirs.max);
  if (version >= Math.max(ours.min, theirs.min)) return version;
  const message = `versions ${ours.min} to ${ours.max} here, ${theirs.min} to ${theirs.max} there`;
  throw new Fault("LINK_VERSION", `link: ${message}`, {
    oursMax: ours.max,
    theirsMax: theirs.max,
  });
}

/** The value of a body of canonical JSON. Members that the schema does not know are left out. */
export function decodeWith<Value>(schema: z.ZodType<Value>, body: Uint8Array, what: string): Value {
  const decoded = decodeCanonicalJson(body);
  if (decoded === null) throw wireFault(`a ${what} is no canonical JSON`);
  const result = schema.safeParse(decoded.value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw wireFault(`a ${what} says what none can: ${issue?.path.join(".")}: ${issue?.message}`);
}
