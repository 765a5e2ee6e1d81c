import { z } from "zod";

/** One QMP command as it goes over the wire, without its id. */
export interface QmpCommand {
  readonly execute: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

/** An event as QEMU told it; `atMs` is the host's wall clock (QMP specification, "Asynchronous events"). */
export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly atMs: number;
}

/** What the server said when the connection opened. */
export interface QmpGreeting {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
  readonly package: string;
}

/** Any line a QMP server may send. */
export type QmpMessage =
  | { readonly kind: "greeting"; readonly greeting: QmpGreeting }
  | { readonly kind: "event"; readonly event: QmpEvent }
  | { readonly kind: "return"; readonly id: number | null; readonly value: unknown }
  | {
      readonly kind: "error";
      readonly id: number | null;
      readonly class: string;
      readonly desc: string;
    };

const wholeNumber = z.number().int().nonnegative();
const greetingSchema = z.object({
  QMP: z.object({
    version: z.object({
      qemu: z.object({ major: wholeNumber, minor: wholeNumber, micro: wholeNumber }),
      package: z.string(),
    }),
  }),
});
const eventSchema = z.object({
  event: z.string(),
  data: z.record(z.string(), z.unknown()).optional(),
  timestamp: z.object({ seconds: z.number(), microseconds: z.number() }),
});
const returnSchema = z.object({ return: z.unknown(), id: z.number().optional() });
const errorSchema = z.object({
  error: z.object({ class: z.string(), desc: z.string() }),
  id: z.number().optional(),
});

/** Reads one line of a QMP server; null when it is not a message that QMP has. Unknown members are ignored, as QMP demands. */
export function parseQmpMessage(line: string): QmpMessage | null {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    return null;
  }
  if (typeof json !== "object" || json === null) return null;
  if ("return" in json) {
    const answer = returnSchema.safeParse(json).data;
    return answer ? { kind: "return", id: answer.id ?? null, value: answer.return } : null;
  }
  if ("event" in json) {
    const found = eventSchema.safeParse(json).data;
    if (!found) return null;
    const { seconds, microseconds } = found.timestamp;
    const atMs = seconds * 1000 + microseconds / 1000;
    return { kind: "event", event: { event: found.event, data: found.data ?? {}, atMs } };
  }
  if ("error" in json) {
    const refused = errorSchema.safeParse(json).data;
    return refused ? { kind: "error", id: refused.id ?? null, ...refused.error } : null;
  }
  const greeting = greetingSchema.safeParse(json).data;
  if (!greeting) return null;
  const { qemu, package: packageText } = greeting.QMP.version;
  return { kind: "greeting", greeting: { ...qemu, package: packageText } };
}
