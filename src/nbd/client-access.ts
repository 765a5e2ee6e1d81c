import { Fault } from "../base/fault.ts";
import type { NbdRequest, Statuses } from "./client-exchange.ts";
import type { NbdBlockSizes } from "./client-negotiation.ts";
import { effectBytesMax } from "./limits.ts";
import { command, commandFlag } from "./protocol.ts";

/** Sends one request that meets the server's constraints. */
export type Submit = (request: NbdRequest) => Promise<Statuses | null>;

/** Cuts [offsetBytes, endBytes) into parts of at most `partBytesMax`. */
function* parts(offsetBytes: number, endBytes: number, partBytesMax: number) {
  for (let at = offsetBytes; at < endBytes; at += partBytesMax) {
    yield { offsetBytes: at, lengthBytes: Math.min(partBytesMax, endBytes - at) };
  }
}

/** Waits for all, also after one failed: buffers they were given are free again. Rejects with the first failure. */
export async function settleAll(work: readonly Promise<unknown>[]): Promise<void> {
  if (work.length === 1) {
    await work[0];
    return;
  }
  const outcomes = await Promise.allSettled(work);
  const failed = outcomes.find((outcome) => outcome.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

/**
 * Reads and writes of any place and length by requests that meet the server's block sizes: longer ones are cut, edges that
 * do not fill a block are read whole (and, to write them, read, changed and written back).
 */
export class AlignedAccess {
  readonly #submit: Submit;
  readonly #sizeBytes: number;
  readonly #minimumBytes: number;
  readonly #payloadBytesMax: number;
  readonly #effectBytesMax: number;
  /** Changes of single blocks come one after another: two writes may touch halves of the same block. */
  #lastEdge: Promise<void> = Promise.resolve();

  constructor(submit: Submit, options: { sizeBytes: number; blockSizes: NbdBlockSizes }) {
    this.#submit = submit;
    this.#sizeBytes = options.sizeBytes;
    const { minimumBytes, maximumBytes } = options.blockSizes;
    this.#minimumBytes = minimumBytes;
    this.#payloadBytesMax = maximumBytes - (maximumBytes % minimumBytes);
    this.#effectBytesMax = effectBytesMax;
  }

  /** Fills `into` from `offsetBytes`. */
  read(offsetBytes: number, into: Uint8Array): Promise<unknown> {
    const fits = into.length <= this.#payloadBytesMax;
    if (fits && this.#isAligned(offsetBytes, into.length)) return this.#readPart(offsetBytes, into);
    const work: Promise<unknown>[] = [];
    const inner = this.#inner(offsetBytes, offsetBytes + into.length);
    for (const edge of inner.edges) work.push(this.#readEdge(edge, offsetBytes, into));
    for (const part of parts(inner.startBytes, inner.endBytes, this.#payloadBytesMax)) {
      const at = part.offsetBytes - offsetBytes;
      work.push(this.#readPart(part.offsetBytes, into.subarray(at, at + part.lengthBytes)));
    }
    return settleAll(work);
  }

  /** Writes `from` at `offsetBytes` with these command flags. */
  write(offsetBytes: number, from: Uint8Array, flags: number): Promise<unknown> {
    const work: Promise<unknown>[] = [];
    const inner = this.#inner(offsetBytes, offsetBytes + from.length);
    for (const edge of inner.edges) {
      const at = edge.startBytes - offsetBytes;
      const piece = from.subarray(at, at + edge.endBytes - edge.startBytes);
      work.push(this.#changeEdge(edge, flags, (target) => target.set(piece)));
    }
    for (const part of parts(inner.startBytes, inner.endBytes, this.#payloadBytesMax)) {
      const at = part.offsetBytes - offsetBytes;
      const piece = from.subarray(at, at + part.lengthBytes);
      work.push(this.#writePart(part.offsetBytes, piece, flags));
    }
    return settleAll(work);
  }

  /** Makes the run read as zeroes by WRITE_ZEROES; edges by read and write. */
  zero(offsetBytes: number, lengthBytes: number, flags: number): Promise<unknown> {
    const inner = this.#inner(offsetBytes, offsetBytes + lengthBytes);
    const edgeFlags = flags & commandFlag.fua; // The others are WRITE_ZEROES' own.
    const work = inner.edges.map((edge) =>
      this.#changeEdge(edge, edgeFlags, (target) => target.fill(0)),
    );
    work.push(this.#effects(command.writeZeroes, flags, inner.startBytes, inner.endBytes));
    return settleAll(work);
  }

  /** TRIM: blocks that are not wholly inside stay. */
  trim(offsetBytes: number, lengthBytes: number, flags: number): Promise<unknown> {
    const inner = this.#inner(offsetBytes, offsetBytes + lengthBytes);
    return this.#effects(command.trim, flags, inner.startBytes, inner.endBytes);
  }

  /** CACHE: blocks that are partly inside are included. */
  cache(offsetBytes: number, lengthBytes: number): Promise<unknown> {
    const startBytes = this.#roundDown(offsetBytes);
    return this.#effects(command.cache, 0, startBytes, this.#roundUp(offsetBytes + lengthBytes));
  }

  async #effects(kind: number, flags: number, startBytes: number, endBytes: number): Promise<void> {
    for (const part of parts(startBytes, endBytes, this.#effectBytesMax)) {
      await this.#submit({ command: kind, flags, ...part, into: null, from: null });
    }
  }

  #readPart(offsetBytes: number, into: Uint8Array): Promise<unknown> {
    const lengthBytes = into.length;
    return this.#submit({
      command: command.read,
      flags: 0,
      offsetBytes,
      lengthBytes,
      into,
      from: null,
    });
  }

  #writePart(offsetBytes: number, from: Uint8Array, flags: number): Promise<unknown> {
    const lengthBytes = from.length;
    return this.#submit({
      command: command.write,
      flags,
      offsetBytes,
      lengthBytes,
      into: null,
      from,
    });
  }

  async #readEdge(edge: Edge, offsetBytes: number, into: Uint8Array): Promise<void> {
    const block = await this.#readBlock(edge);
    const from = edge.startBytes - edge.blockBytes;
    into.set(
      block.subarray(from, from + edge.endBytes - edge.startBytes),
      edge.startBytes - offsetBytes,
    );
  }

  async #changeEdge(edge: Edge, flags: number, change: (target: Uint8Array) => void) {
    const turn = this.#lastEdge.then(async () => {
      const block = await this.#readBlock(edge);
      change(block.subarray(edge.startBytes - edge.blockBytes, edge.endBytes - edge.blockBytes));
      await this.#writePart(edge.blockBytes, block, flags);
    });
    this.#lastEdge = turn.catch(() => {}); // Its own caller hears of it.
    await turn;
  }

  async #readBlock(edge: Edge): Promise<Uint8Array> {
    const endBytes = Math.min(edge.blockBytes + this.#minimumBytes, this.#sizeBytes);
    const block = Buffer.allocUnsafe(endBytes - edge.blockBytes);
    await this.#readPart(edge.blockBytes, block);
    return block;
  }

  /** The whole blocks of a run, and what sticks out on either side. */
  #inner(startBytes: number, endBytes: number): Inner {
    const innerStartBytes = this.#roundUp(startBytes);
    const innerEndBytes = endBytes === this.#sizeBytes ? endBytes : this.#roundDown(endBytes);
    const edges: Edge[] = [];
    if (startBytes < innerStartBytes) {
      const blockBytes = this.#roundDown(startBytes);
      edges.push({ blockBytes, startBytes, endBytes: Math.min(endBytes, innerStartBytes) });
    }
    if (innerEndBytes < endBytes && innerEndBytes >= innerStartBytes) {
      edges.push({ blockBytes: innerEndBytes, startBytes: innerEndBytes, endBytes });
    }
    return {
      edges,
      startBytes: innerStartBytes,
      endBytes: Math.max(innerStartBytes, innerEndBytes),
    };
  }

  #isAligned(offsetBytes: number, lengthBytes: number): boolean {
    const block = this.#minimumBytes;
    return block === 1 || (offsetBytes % block === 0 && lengthBytes % block === 0);
  }

  #roundDown(offsetBytes: number): number {
    return offsetBytes - (offsetBytes % this.#minimumBytes);
  }

  #roundUp(offsetBytes: number): number {
    return Math.min(this.#sizeBytes, this.#roundDown(offsetBytes + this.#minimumBytes - 1));
  }
}

/** Part of one block: [startBytes, endBytes) inside the block that begins at `blockBytes`. */
interface Edge {
  readonly blockBytes: number;
  readonly startBytes: number;
  readonly endBytes: number;
}

interface Inner {
  readonly edges: readonly Edge[];
  readonly startBytes: number;
  readonly endBytes: number;
}

/** The fault for using what the server did not advertise. */
export function unsupported(feature: string, exportName: string): Fault {
  const message = `the NBD server does not offer ${feature} for export "${exportName}"`;
  return new Fault("NBD_REFUSED", message, { feature, exportName });
}
