import { MIB } from "../../src/base/units.ts";
import type { MachineDefinition } from "../../src/qemu/machine-definition.ts";

/** Each write of the order test is one block of this size, by O_DIRECT. */
export const orderBlockBytes = 4096;

/** A machine whose disks "order0", "order1", … take strictly dependent writes; it boots from "root". */
export function orderDefinition(disks: number): MachineDefinition {
  const numbered = Array.from({ length: disks }, (_, index) => `order${index}`);
  return {
    machineType: "q35",
    cpuCount: 1,
    memoryBytes: 192 * MIB,
    disks: [
      { name: "root", serial: "root", bootIndex: 0 },
      ...numbered.map((name) => ({ name, serial: name, bootIndex: null })),
    ],
  };
}

/** What the disks of a point say about the order in which they were written. */
export interface OrderVerdict {
  /** Largest number that is there. */
  readonly newest: number;
  /** Why the numbers are not exactly 1 to `newest`; null when they are. */
  readonly trouble: string | null;
}

/** Looks whether the numbers on the disks are a prefix; `contents` are the disks' beginnings, in the order of the disks. */
export function judgeOrder(contents: readonly Uint8Array[]): OrderVerdict {
  const found = new Set<number>();
  for (const [disk, content] of contents.entries()) {
    for (let at = 0; at < content.length; at += orderBlockBytes) {
      const text = Buffer.from(content.subarray(at, at + orderBlockBytes)).toString("latin1");
      if (text === "\0".repeat(text.length)) continue;
      const number = Number(text);
      const expected = (at / orderBlockBytes) * contents.length + disk;
      if (number !== expected) {
        return {
          newest: Number.NaN,
          trouble: `block ${at} of disk ${disk} holds ${text.slice(-9)}`,
        };
      }
      found.add(number);
    }
  }
  const newest = Math.max(0, ...found);
  for (let number = 1; number <= newest; number += 1) {
    if (!found.has(number)) return { newest, trouble: `${newest} is there and ${number} is not` };
  }
  return { newest, trouble: null };
}
