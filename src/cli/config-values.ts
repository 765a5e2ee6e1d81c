import { z } from "zod";
import { GIB, KIB, MIB, TIB } from "../base/units.ts";

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

function bounded(limits: { min: number; max: number }, unit: string) {
  return z
    .number()
    .min(limits.min, `at least ${limits.min} ${unit}`)
    .max(limits.max, `at most ${limits.max} ${unit}`);
}

function unitString(what: string, factorByUnit: Readonly<Record<string, number>>) {
  const units = Object.keys(factorByUnit);
  const pattern = new RegExp(`^(-?\\d+(?:\\.\\d+)?) ?(${units.join("|")})$`);
  return z.string().transform((text, context) => {
    const [, digits, unit] = pattern.exec(text) ?? [];
    if (digits === undefined || unit === undefined) {
      const message = `"${text}" is no ${what}; units are ${units.join(", ")}`;
      context.addIssue({ code: "custom", message });
      return z.NEVER;
    }
    return Number(digits) * factorByUnit[unit]!;
  });
}
