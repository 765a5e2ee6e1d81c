import { z } from "zod";
import { GIB, KIB, MIB, TIB } from "../base/units.ts";
import { parseWeeklyEntry, parseWeeklyHours } from "../core/weekly-hours.ts";
import { pathSchema } from "./config-machine.ts";
import {
  durationSeconds,
  loopbackAddress,
  parseScheduledRate,
  scheduledRateMin,
  scheduleLine,
  sizeBytes,
} from "./config-values.ts";

/** Slower reading would not come to its end. */
const readRateMin = 64 * KIB;
const rateMax = 64 * GIB;
const scheduleLinesMax = 64;

const scheduleSchema = z
  .array(scheduleLine((text) => parseWeeklyEntry(text, parseScheduledRate)))
  .max(scheduleLinesMax)
  .default([])
  .describe(
    'Caps for hours of the week, local time of the host, the first that fits counts: "mon-fri 08:00-18:00 10MiB", "sat,sun unlimited". Outside all of them `bytesPerSecondMax` holds.',
  );

const linkRate = sizeBytes({ min: scheduledRateMin, max: rateMax }).nullable().default(null);

/** Caps of one group on the link. */
export const groupLinkSchema = z
  .strictObject({
    bytesPerSecondMax: linkRate.describe("What this group may send a second. Null: no cap."),
    schedule: scheduleSchema,
  })
  .describe("This group's share of the link. Two sites only.");

/** The link between the two sites. */
export const linkSchema = z
  .strictObject({
    connections: z
      .int()
      .min(1)
      .max(16)
      .default(4)
      .describe("TCP connections to the vault, all opened from here."),
    bytesPerSecondMax: linkRate.describe(
      "What all groups together may send a second. Null: no cap.",
    ),
    schedule: scheduleSchema,
    clockOffsetMaxSeconds: durationSeconds({ min: 0.1, max: 86_400 })
      .default(5)
      .describe(
        "How far the two sites' clocks may differ. Beyond it protection does not start (CLOCK_SKEW), and one that runs alarms.",
      ),
  })
  .describe("The connection to the vault. Two sites only.");

/** Where points wait. */
export const spoolSchema = z
  .strictObject({
    directory: pathSchema
      .optional()
      .describe("Where points wait while the link is away or slow. Default: `spool` in `state`."),
    capBytes: sizeBytes({ min: 64 * MIB, max: 1024 * TIB })
      .default(64 * GIB)
      .describe(
        "Most that waits. When it is reached no points are cut; changes go on being recorded and nothing is lost.",
      ),
    reserveBytes: sizeBytes({ min: 0, max: 1024 * TIB })
      .default(5 * GIB)
      .describe("Free space on that file system that the spool leaves to others."),
  })
  .describe("Points that were cut and are not yet at the vault. Two sites only.");

/** What reading may cost the guests. */
export const productionSchema = z
  .strictObject({
    readBytesPerSecondMax: sizeBytes({ min: readRateMin, max: rateMax })
      .nullable()
      .default(null)
      .describe("Cap on reading the source, all groups apart. Null: no cap."),
    readOperationsPerSecondMax: z
      .int()
      .min(10)
      .max(10_000_000)
      .nullable()
      .default(null)
      .describe("Cap on read operations at the source. Null: no cap."),
    guestWriteLatencyMaxSeconds: durationSeconds({ min: 0.0001, max: 60 })
      .nullable()
      .default(null)
      .describe(
        "When the guests' writes take longer than this on average, reading slows down. Null: it slows when they take much longer than without us.",
      ),
  })
  .describe("How production is spared while disks are read.");

/** When and how fast disks are read whole. */
export const syncSchema = z
  .strictObject({
    bytesPerSecondMax: sizeBytes({ min: readRateMin, max: rateMax })
      .nullable()
      .default(null)
      .describe("Cap on reading in initial sync and resync, for each group. Null: no cap."),
    windows: z
      .array(scheduleLine(parseWeeklyHours))
      .max(scheduleLinesMax)
      .default([])
      .describe(
        'Hours of the week in which disks may be read whole, local time of the host: "mon-fri 22:00-06:00". None given: at any time.',
      ),
  })
  .describe("Initial sync and resync.");

/** Where Prometheus asks. */
export const metricsSchema = loopbackAddress.describe(
  'Where `/metrics` is served, for example "127.0.0.1:9641". Only this host may ask.',
);
