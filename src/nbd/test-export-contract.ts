import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { type Prng, seededPrng } from "../base/prng.ts";
import { KIB } from "../base/units.ts";
import type { NbdExport } from "./export.ts";

/** An export to be judged, and what it holds. */
export interface ExportUnderTest extends AsyncDisposable {
  readonly found: NbdExport;
  /** Its content now; the suite does to this copy what it does to the export. */
  readonly content: Uint8Array;
}

/**
 * What every export promises, whatever is behind it. `make` gives a fresh one of at least 1 MiB each time; what it cannot do
 * (write, zero …) is not asked of it.
 */
export function exportContract(name: string, make: () => Promise<ExportUnderTest>): void {
  const { signal } = new AbortController();

  describe(`the export contract: ${name}`, () => {
    test("reads any place and length, many at once, each into its own buffer", async () => {
      await using at = await make();
      const prng = seededPrng(11);
      const reads = Array.from({ length: 60 }, async () => {
        const { offsetBytes, lengthBytes } = place(at.found, prng);
        const into = new Uint8Array(lengthBytes).fill(0xee);
        await at.found.read(offsetBytes, into, signal);
        assert(same(into, at.content.subarray(offsetBytes, offsetBytes + lengthBytes)));
      });
      await Promise.all(reads);
    });

    test("extents follow each other without a gap, stay inside, and zero reads as zero", async () => {
      await using at = await make();
      const prng = seededPrng(12);
      for (let round = 0; round < 20; round += 1) {
        const { offsetBytes, lengthBytes } = place(at.found, prng);
        const extents = await at.found.extents?.(offsetBytes, lengthBytes, signal);
        if (extents === undefined) return;
        assert(extents.length > 0, "extents may stop short, but not at once");
        let end = offsetBytes;
        for (const extent of extents) {
          assert.equal(extent.offsetBytes, end);
          assert(extent.lengthBytes > 0);
          end += extent.lengthBytes;
          const bytes = at.content.subarray(extent.offsetBytes, end);
          if (extent.state === "zero") assert(bytes.every((byte) => byte === 0));
        }
        assert(end <= offsetBytes + lengthBytes);
      }
    });

    test("writes, zeroes and flushes are seen by every later read", async () => {
      await using at = await make();
      const { found, content } = at;
      if (found.isReadOnly || found.write === undefined) return;
      const prng = seededPrng(13);
      for (let round = 0; round < 25; round += 1) {
        const { offsetBytes, lengthBytes } = place(found, prng);
        const bytes = new Uint8Array(lengthBytes);
        prng.fill(bytes);
        await found.write(offsetBytes, bytes, signal);
        content.set(bytes, offsetBytes);
        const hole = place(found, prng);
        if (found.zero !== undefined) {
          const mayPunch = round % 2 === 0;
          await found.zero(hole.offsetBytes, hole.lengthBytes, { mayPunch, signal });
          content.fill(0, hole.offsetBytes, hole.offsetBytes + hole.lengthBytes);
        }
        await found.flush?.(signal);
        const into = new Uint8Array(found.sizeBytes);
        await found.read(0, into, signal);
        assert(same(into, content), `round ${round}`);
      }
    });

    test("writes at once beside each other all stay", async () => {
      await using at = await make();
      const { found, content } = at;
      if (found.isReadOnly || found.write === undefined) return;
      const pieceBytes = 3000;
      const writes = Array.from({ length: 80 }, async (_, index) => {
        const bytes = new Uint8Array(pieceBytes).fill(index + 1);
        content.set(bytes, index * pieceBytes);
        await found.write?.(index * pieceBytes, bytes, signal);
      });
      await Promise.all(writes);
      const into = new Uint8Array(80 * pieceBytes);
      await found.read(0, into, signal);
      assert(same(into, content.subarray(0, into.length)));
    });

    test("a trim leaves all else as it was", async () => {
      await using at = await make();
      const { found, content } = at;
      if (found.isReadOnly || found.trim === undefined) return;
      await found.trim(100 * KIB + 1, 200 * KIB, signal);
      const into = new Uint8Array(found.sizeBytes);
      await found.read(0, into, signal);
      const end = 300 * KIB + 1;
      assert(same(into.subarray(0, 100 * KIB + 1), content.subarray(0, 100 * KIB + 1)));
      assert(same(into.subarray(end), content.subarray(end)));
    });
  });
}

function place(found: NbdExport, prng: Prng) {
  const offsetBytes = prng.below(found.sizeBytes - 1);
  const lengthBytes = 1 + prng.below(Math.min(200 * KIB, found.sizeBytes - offsetBytes));
  return { offsetBytes, lengthBytes };
}

function same(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
