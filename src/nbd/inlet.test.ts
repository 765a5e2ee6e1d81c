import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import { Fault } from "../base/fault.ts";
import { Inlet } from "./inlet.ts";

/** Reads parts of these lengths; gives what arrived. */
function reader(inlet: Inlet, lengths: readonly number[]) {
  const parts: Uint8Array[] = [];
  const next = () => {
    const lengthBytes = lengths[parts.length];
    if (lengthBytes === undefined) return;
    const target = new Uint8Array(lengthBytes);
    inlet.expect(target, () => {
      parts.push(target);
      next();
    });
  };
  next();
  return parts;
}

const lengths = fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 12 });

describe("an inlet", () => {
  test("keeps what landed before anybody asked for it, though more lands in the same place", () => {
    const inlet = new Inlet(() => {});
    for (const byte of [1, 2, 3]) {
      const lent = inlet.lend();
      lent[0] = byte;
      inlet.landed(1, lent);
    }
    const parts = reader(inlet, [2, 1]);
    assert.deepEqual(parts.map(String), ["1,2", "3"]);
  });

  test("gives the same parts however the bytes arrive", () => {
    fc.assert(
      fc.property(lengths, fc.array(fc.nat(30)), fc.boolean(), (wanted, cuts, isLent) => {
        const total = wanted.reduce((sum, length) => sum + length, 0);
        const stream = Uint8Array.from({ length: total }, (_, index) => index % 251);
        const inlet = new Inlet(() => {});
        const parts = reader(inlet, wanted);
        let at = 0;
        for (let turn = 0; at < total; turn += 1) {
          const wish = 1 + (cuts[turn % Math.max(1, cuts.length)] ?? 0);
          if (isLent) {
            const buffer = inlet.lend();
            const lengthBytes = Math.min(wish, buffer.length, total - at);
            buffer.set(stream.subarray(at, at + lengthBytes));
            inlet.landed(lengthBytes, buffer);
            at += lengthBytes;
          } else {
            inlet.push(stream.subarray(at, at + wish));
            at += wish;
          }
        }
        assert.deepEqual(Buffer.concat(parts), Buffer.from(stream));
        assert.equal(parts.length, wanted.length);
      }),
    );
  });

  test("lends the reader's own buffer, so that nothing is copied", () => {
    const inlet = new Inlet(() => {});
    const target = new Uint8Array(8);
    let isFilled = false;
    inlet.expect(target, () => {
      isFilled = true;
    });
    assert.equal(inlet.lend(), target);
    inlet.landed(3, target);
    const rest = inlet.lend();
    assert.equal(rest.buffer, target.buffer);
    assert.deepEqual([rest.byteOffset, rest.length], [3, 5]);
    inlet.landed(5, rest);
    assert(isFilled);
  });

  test("keeps what nobody asked for, and asks for no more before it is used up", async () => {
    let asked = 0;
    const inlet = new Inlet(() => {
      asked += 1;
    });
    inlet.push(Uint8Array.of(1, 2, 3));
    assert.equal(inlet.isHungry, false);
    const two = new Uint8Array(2);
    await inlet.fill(two);
    assert.deepEqual([...two], [1, 2]);
    assert.equal(asked, 0);
    const more = new Uint8Array(2);
    const filling = inlet.fill(more);
    assert.equal(asked, 1);
    assert(inlet.isPartial);
    inlet.push(Uint8Array.of(4));
    await filling;
    assert.deepEqual([...more], [3, 4]);
  });

  test("rejects what is expected, now and later, with the first failure", async () => {
    const inlet = new Inlet(() => {});
    const filling = inlet.fill(new Uint8Array(1));
    const first = new Fault("NBD_CLOSED", "gone");
    inlet.fail(first);
    inlet.fail(new Fault("NBD_PROTOCOL", "later"));
    await assert.rejects(filling, first);
    await assert.rejects(inlet.fill(new Uint8Array(1)), first);
  });

  test("swallows what comes after it was discarded, also into a buffer lent before", () => {
    const inlet = new Inlet(() => {});
    const target = new Uint8Array(4);
    inlet.expect(target, () => assert.fail("nobody waits any more"));
    const lent = inlet.lend();
    inlet.discard(new Fault("NBD_CLOSED", "over"));
    inlet.landed(4, lent);
    inlet.push(Uint8Array.of(1));
    assert(inlet.isHungry);
    assert.notEqual(inlet.lend(), target);
  });
});
