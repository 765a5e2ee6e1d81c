import assert from "node:assert/strict";
import { sameBytes } from "./bytes.ts";
import { jsonDepthMax } from "./delta-limits.ts";

/**
 * One value, one text: RFC 8785 restricted to whole numbers. UTF-8, no spaces; keys sorted by UTF-16 code units; strings as
 * JSON.stringify writes them; numbers are safe integers in decimal; no undefined, no lone surrogates, no key `__proto__`,
 * at most 64 levels deep. What cannot be written so is a bug of the caller.
 */
export function encodeCanonicalJson(value: unknown): Buffer {
  return Buffer.from(textOf(value, 0), "utf8");
}

/** The value of a canonical text, or null when the bytes are no JSON, or not written canonically. */
export function decodeCanonicalJson(bytes: Uint8Array): { readonly value: unknown } | null {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    const value: unknown = JSON.parse(text);
    return sameBytes(encodeCanonicalJson(value), bytes) ? { value } : null;
  } catch {
    // Decided here: bytes that do not parse, or hold what cannot be written, are simply not canonical.
    return null;
  }
}

function textOf(value: unknown, depth: number): string {
  assert(depth <= jsonDepthMax, "canonical JSON is nested too deep");
  switch (typeof value) {
    case "boolean":
      return value ? "true" : "false";
    case "number":
      assert(Number.isSafeInteger(value) && !Object.is(value, -0), "not a safe whole number");
      return String(value);
    case "string":
      assert(value.isWellFormed(), "a string with a lone surrogate");
      return JSON.stringify(value);
    case "object":
      if (value === null) return "null";
      return Array.isArray(value) ? arrayText(value, depth) : objectText(value, depth);
    default:
      assert.fail(`canonical JSON has no ${typeof value}`);
  }
}

function arrayText(items: readonly unknown[], depth: number): string {
  return `[${items.map((item) => textOf(item, depth + 1)).join(",")}]`;
}

function objectText(object: object, depth: number): string {
  const members = Object.entries(object).sort(([left], [right]) => (left < right ? -1 : 1));
  const texts = members.map(([key, value]) => {
    assert(key !== "__proto__", "canonical JSON has no key __proto__");
    return `${textOf(key, depth)}:${textOf(value, depth + 1)}`;
  });
  return `{${texts.join(",")}}`;
}
