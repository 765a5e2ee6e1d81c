import { expect, it } from "vitest";
import { formatBytes, formatSeconds } from "./units.ts";

it.each([
  [0, "0 B"],
  [1023, "1023 B"],
  [1536, "1.50 KiB"],
  [10 * 1024 * 1024, "10.0 MiB"],
  [700 * 1024 ** 3, "700 GiB"],
])("%i bytes read %s", (bytes, text) => expect(formatBytes(bytes)).toBe(text));

it.each([
  [0.25, "250 ms"],
  [2.44, "2.4 s"],
  [200, "3 min 20 s"],
  [7500, "2 h 5 min"],
  [90_000, "1 d 1 h"],
  [-3, "-3.0 s"],
])("%d seconds read %s", (seconds, text) => expect(formatSeconds(seconds)).toBe(text));
