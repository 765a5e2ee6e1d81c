import type { Extent } from "../core/extent.ts";
import type { NbdExport } from "./export.ts";

/** An export over an array of bytes, with every method there is: the twin that tests and demonstrations use. */
export function memoryExport(
  bytes: Uint8Array,
  options: Partial<Pick<NbdExport, "isReadOnly" | "description" | "blockSizes">> = {},
): NbdExport {
  const zero = async (offsetBytes: number, lengthBytes: number) => {
    bytes.fill(0, offsetBytes, offsetBytes + lengthBytes);
  };
  return {
    sizeBytes: bytes.length,
    isReadOnly: false,
    zeroesFast: true,
    ...options,
    read: async (offsetBytes, into) => {
      into.set(bytes.subarray(offsetBytes, offsetBytes + into.length));
    },
    write: async (offsetBytes, from) => bytes.set(from, offsetBytes),
    zero,
    trim: zero,
    flush: async () => {},
    cache: async () => {},
    extents: async (offsetBytes, lengthBytes) => scan(bytes, offsetBytes, lengthBytes),
  };
}

const scanBlockBytes = 4096;
const zeroBlock = Buffer.alloc(scanBlockBytes);

function scan(bytes: Uint8Array, offsetBytes: number, lengthBytes: number): readonly Extent[] {
  const extents: { offsetBytes: number; lengthBytes: number; state: Extent["state"] }[] = [];
  const endBytes = offsetBytes + lengthBytes;
  for (let at = offsetBytes; at < endBytes; ) {
    // Cut at blocks of the disk, not of the request: every question gets the same answer for a byte.
    const cut = Math.min(endBytes, at - (at % scanBlockBytes) + scanBlockBytes);
    const isZero = zeroBlock.subarray(0, cut - at).equals(bytes.subarray(at, cut));
    const state = isZero ? "zero" : "data";
    const last = extents.at(-1);
    if (last?.state === state) last.lengthBytes += cut - at;
    else extents.push({ offsetBytes: at, lengthBytes: cut - at, state });
    at = cut;
  }
  return extents;
}
