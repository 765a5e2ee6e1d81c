import { z } from "zod";

// What a running process measures and tells others. Everything that is not measured is null, never a guess.

const seconds = z.number();
const bytes = z.int().nonnegative();

/** Something a person or a machine should act on. */
export const alarmSchema = z.strictObject({
  /** A code of the fault table. */
  code: z.string(),
  /** `alarm`: the promise is broken or about to be. `warning`: it holds for now. */
  severity: z.enum(["alarm", "warning"]),
  /** Null: it is about the whole process. */
  group: z.string().nullable(),
  cause: z.string(),
  nextStep: z.string(),
  sinceMs: z.int(),
});

/** An alarm. */
export type Alarm = z.output<typeof alarmSchema>;

/** The link as the replicator has it. */
export const linkStateSchema = z.strictObject({
  /** Host and port of the vault. */
  address: z.string(),
  isUp: z.boolean(),
  /** How long it has been up, or down. */
  sinceSeconds: seconds,
  roundTripMs: z.number().nullable(),
  /** What was acknowledged a second of late, while there was more to send. */
  bytesPerSecond: z.number().nullable(),
  /** The cap that holds now. */
  bytesPerSecondMax: z.number().nullable(),
  clock: z.strictObject({ offsetMs: z.number(), errorMs: z.number() }).nullable(),
  sentBytes: bytes,
  receivedBytes: bytes,
  resentBytes: bytes,
});

/** State of a link. */
export type LinkState = z.output<typeof linkStateSchema>;

/** What is measured of one group. */
export const groupTelemetrySchema = z.strictObject({
  /** What a loss of the source would cost now, counted from what is at the vault; null before the first point. */
  rpoSeconds: seconds.nullable(),
  targetRpoSeconds: seconds.nullable(),
  /** How the RPO was over the window, seen each second. */
  rpoQuantiles: z
    .strictObject({ p50: seconds, p95: seconds, p99: seconds, windowSeconds: seconds })
    .nullable(),
  /** How old the newest point at the vault was when the vault had it. */
  lagSeconds: seconds.nullable(),
  /** The newest point at the vault, as last heard. */
  newest: z
    .strictObject({
      id: z.string(),
      sequence: z.int(),
      takenAtMs: z.int(),
      currentAtMs: z.int().nullable(),
    })
    .nullable(),
  /** Cut and not yet at the vault. */
  backlog: z.strictObject({ points: z.int(), bytes }),
  /** When the backlog will be at the vault at the rate of late, or the sync be read; null when there is none or that is not known. */
  etaSeconds: seconds.nullable(),
  interval: z.strictObject({ seconds, reason: z.string() }),
  /** How the newest point went; null before the first. */
  way: z.enum(["direct", "spool"]).nullable(),
  /** A disk that is read whole. */
  sync: z
    .strictObject({ disk: z.string(), kind: z.string(), doneBytes: bytes, sizeBytes: bytes })
    .nullable(),
  /** Since the process started. */
  totals: z.strictObject({
    points: z.int(),
    dirtyBytes: bytes,
    readBytes: bytes,
    dataBytes: bytes,
    zeroBytes: bytes,
    storedBytes: bytes,
    missedIntervals: z.int(),
  }),
});

/** What is measured of one group. */
export type GroupTelemetry = z.output<typeof groupTelemetrySchema>;
