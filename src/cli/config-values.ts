import { z } from "zod";
import { isFault } from "../base/fault.ts";
import { GIB, KIB, MIB, TIB } from "../base/units.ts";

/** Slower, and the link's own words would not get through in time. */
export const scheduledRateMin = 16 * KIB;
const secondsByUnit = { ms: 0.001, s: 1, min: 60, h: 3600, d: 86_400 } as const;
const bytesByUnit = { B: 1, KiB: KIB, MiB: MIB, GiB: GIB, TiB: TIB } as const;

/** Seconds: a number, or a string with a unit of its own ("500ms", "2s", "5min", "12h", "7d"). Yields seconds. */
export function durationSeconds(limits: { min: number; max: number }) {
  return z
    .union([z.number(), unitString("duration", secondsByUnit)], {
      error: 'a number of seconds, or a string such as "500ms", "2s", "5min", "12h", "7d"',
    })
    .pipe(bounded(limits, "seconds"));
}

/** Bytes: a whole number, or a string with a unit of its own ("512MiB", "4GiB"). Yields whole bytes. */
export function sizeBytes(limits: { min: number; max: number }) {
  return z
    .union([z.number(), unitString("size", bytesByUnit)], {
      error: 'a number of bytes, or a string such as "512MiB", "4GiB"',
    })
    .pipe(bounded(limits, "bytes").int("a whole number of bytes"));
}

/** A host and a port to listen on. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

const portMax = 65_535;

/** "127.0.0.1:9641" or "[::1]:9641": an address that other hosts cannot reach. */
export const loopbackAddress = z.string().transform((text, context): ListenAddress => {
  const [, name, six, digits] =
    /^(?:(localhost|127(?:\.\d{1,3}){3})|\[(::1)\]):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  const host = six ?? (name === "localhost" ? "127.0.0.1" : name);
  if (host !== undefined && port <= portMax) return { host, port };
  const message = `"${text}" is no address of this host alone, such as "127.0.0.1:9641"; there is no encryption or password yet, so others are not served`;
  context.addIssue({ code: "custom", message });
  return z.NEVER;
});

/** "10.0.0.7:10809", "[fd00::7]:10809" or "kvm7.example:10809": a port of some host. */
export const hostAddress = z.string().transform((text, context): ListenAddress => {
  const [, name, six, digits] =
    /^(?:([a-z0-9](?:[a-z0-9.-]{0,252}))|\[([0-9a-f:.]{2,45})\]):(\d{1,5})$/i.exec(text) ?? [];
  const host = six ?? name;
  const port = Number(digits);
  if (host !== undefined && port >= 1 && port <= portMax) return { host, port };
  context.addIssue({
    code: "custom",
    message: `"${text}" is no address such as "10.0.0.7:10809" or "[fd00::7]:10809"`,
  });
  return z.NEVER;
});

/** A rate in a schedule: bytes a second, or no cap. */
export function parseScheduledRate(word: string): number | "unlimited" | null {
  if (word === "unlimited") return word;
  const rate = parseSize(word);
  return rate !== null && Number.isSafeInteger(rate) && rate >= scheduledRateMin ? rate : null;
}

/** A line of a schedule, as `check` reads it; its own complaint becomes ours. */
export function scheduleLine(check: (text: string) => unknown) {
  return z
    .string()
    .max(200)
    .superRefine((text, context) => {
      try {
        check(text);
      } catch (error) {
        if (!isFault(error)) throw error;
        context.addIssue({ code: "custom", message: error.message });
      }
    });
}

/** Seconds of "500ms", "2s", "5min", "12h", "7d"; null when it is none. */
export function parseDuration(text: string): number | null {
  return parseUnits(text, secondsByUnit);
}

/** Bytes of "1048576", "512MiB", "4GiB"; null when it is none. */
export function parseSize(text: string): number | null {
  return /^\d+$/.test(text) ? Number(text) : parseUnits(text, bytesByUnit);
}

function bounded(limits: { min: number; max: number }, unit: string) {
  return z
    .number()
    .min(limits.min, `at least ${limits.min} ${unit}`)
    .max(limits.max, `at most ${limits.max} ${unit}`);
}

function unitString(what: string, factorByUnit: Readonly<Record<string, number>>) {
  return z.string().transform((text, context) => {
    const value = parseUnits(text, factorByUnit);
    if (value !== null) return value;
    const units = Object.keys(factorByUnit).join(", ");
    context.addIssue({ code: "custom", message: `"${text}" is no ${what}; units are ${units}` });
    return z.NEVER;
  });
}

function parseUnits(text: string, factorByUnit: Readonly<Record<string, number>>): number | null {
  const [, digits, unit = ""] = /^(-?\d+(?:\.\d+)?) ?([a-z]+)$/i.exec(text) ?? [];
  const factor = Object.hasOwn(factorByUnit, unit) ? factorByUnit[unit] : undefined;
  return digits === undefined || factor === undefined ? null : Number(digits) * factor;
}
