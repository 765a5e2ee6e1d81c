import net from "node:net";
import type { TLSSocket } from "node:tls";
import { KIB, MIB } from "./units.ts";

/** Content of one TLS record (RFC 8446, 5.1); what Node decrypts at a time. */
export const recordBytesMax = 16 * KIB;
/** What is received is laid side by side in slabs of this size. */
const slabBytes = MIB;
/** A cache line. */
const alignmentBytes = 64;

/**
 * Node makes a new buffer for each record that a TLS socket receives, and that costs twice as much as decrypting it. A client's
 * socket may be told to read into buffers of ours (`onread`, documented); for one that was accepted Node's own option is
 * ignored, though the mechanism beneath is the same. So it is switched on by hand where this Node has it: two symbols and a
 * method of the handle. Where it does not, the socket's ordinary events do, only slower.
 */
interface LendingKeys {
  readonly buffer: symbol;
  readonly generator: symbol;
  readonly callback: symbol;
}

let keys: LendingKeys | null | undefined;

/** Who says where received bytes land, and takes them. */
export interface Lender {
  /** The buffer for the next read. */
  lend(): Uint8Array;
  /** A read brought so many bytes to the start of `lent`, which was lent last; returns whether to go on reading. */
  landed(lengthBytes: number, lent: Uint8Array): boolean;
}

/**
 * Has the socket read into buffers of the lender from now on; after `landed` returned false call `resume` on the socket. A few
 * more may still land, which were decrypted already. Returns false when this Node has no such thing.
 */
export function lendReads(socket: TLSSocket, lender: Lender): boolean {
  keys ??= findKeys();
  const handle: unknown = Reflect.get(socket, "_handle");
  if (keys === null || !hasUserBuffer(handle)) return false;
  let lent = lender.lend();
  const lend = () => {
    lent = lender.lend();
    return lent;
  };
  const landed = (lengthBytes: number) => lender.landed(lengthBytes, lent);
  Reflect.set(socket, keys.generator, lend);
  Reflect.set(socket, keys.callback, landed);
  Reflect.set(socket, keys.buffer, lent);
  handle.useUserBuffer(lent);
  return true;
}

/** Lends buffers that are handed away for good: slabs, cut as they fill. */
export class SlabLender {
  #slab = Buffer.allocUnsafeSlow(slabBytes);
  #at = 0;

  lend(): Uint8Array {
    if (this.#slab.length - this.#at < recordBytesMax) {
      this.#slab = Buffer.allocUnsafeSlow(slabBytes);
      this.#at = 0;
    }
    return this.#slab.subarray(this.#at, this.#at + recordBytesMax);
  }

  /** What was lent last was used up to here. */
  used(lengthBytes: number): void {
    // Views stay aligned: hashing and copying are faster for it.
    this.#at += Math.ceil(lengthBytes / alignmentBytes) * alignmentBytes;
  }
}

function hasUserBuffer(handle: unknown): handle is { useUserBuffer(buffer: Uint8Array): void } {
  return (
    typeof handle === "object" &&
    handle !== null &&
    "useUserBuffer" in handle &&
    typeof handle.useUserBuffer === "function"
  );
}

/** The symbols of a socket that was made with the documented option. */
function findKeys(): LendingKeys | null {
  const buffer = () => new Uint8Array(1);
  const callback = () => true;
  const probe = new net.Socket({ onread: { buffer, callback } });
  const symbols = Object.getOwnPropertySymbols(probe);
  const holding = (value: unknown) => symbols.find((key) => Reflect.get(probe, key) === value);
  const found = {
    buffer: symbols.find((key) => key.description === "kBuffer"),
    generator: holding(buffer),
    callback: holding(callback),
  };
  probe.destroy();
  if (found.buffer === undefined || found.generator === undefined || !found.callback) return null;
  return { buffer: found.buffer, generator: found.generator, callback: found.callback };
}
