import { Fault } from "../base/fault.ts";
import type { FileSystem, StoredFile } from "../base/file-system.ts";
import type { Extent } from "../core/extent.ts";
import { blockSizeBytes } from "../core/limits.ts";
import type { NbdExport } from "../nbd/export.ts";
import { BlockStates } from "./block-states.ts";

/** A disk that can be written without the point beneath ever changing. Disposing throws away what was written. */
export interface WriteLayer extends AsyncDisposable {
  readonly export: NbdExport;
}

/**
 * Puts a layer over a read-only export: what is written goes to a sparse file at `path`, which must not exist, at most
 * `capBytes` of it. A block is copied up from beneath when a part of it is written first.
 */
export async function writeLayer(options: {
  readonly beneath: NbdExport;
  readonly files: FileSystem;
  readonly path: string;
  readonly capBytes: number;
}): Promise<WriteLayer> {
  const { beneath, files, path, capBytes } = options;
  const file = await files.open(path, "create");
  const layer = new Layer(beneath, file, capBytes);
  return {
    export: {
      ...beneath,
      isReadOnly: false,
      description: `${beneath.description ?? "disk"}, with a throw-away layer`,
      canMultiConnect: true,
      zeroesFast: false,
      read: (offsetBytes, into, signal) => layer.read(offsetBytes, into, signal),
      write: (offsetBytes, from, signal) => layer.write(offsetBytes, from, signal),
      zero: (offsetBytes, lengthBytes, { signal }) => layer.zero(offsetBytes, lengthBytes, signal),
      trim: (offsetBytes, lengthBytes, signal) => layer.zero(offsetBytes, lengthBytes, signal),
      flush: async () => {}, // Nothing here is meant to survive.
      extents: (offsetBytes, lengthBytes, signal) =>
        layer.extents(offsetBytes, lengthBytes, signal),
    },
    [Symbol.asyncDispose]: async () => {
      await file[Symbol.asyncDispose]();
      await files.remove(path);
    },
  };
}

/** The part of a request that lies in one block. */
interface Part {
  readonly block: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

class Layer {
  readonly #beneath: NbdExport;
  readonly #file: StoredFile;
  readonly #blocksMax: number;
  readonly #states = new BlockStates();
  /** The last change of each block under way: changes of one block wait for each other. */
  readonly #changing = new Map<number, Promise<void>>();
  #blocksUsed = 0;

  constructor(beneath: NbdExport, file: StoredFile, capBytes: number) {
    this.#beneath = beneath;
    this.#file = file;
    this.#blocksMax = Math.floor(capBytes / blockSizeBytes);
  }

  async read(offsetBytes: number, into: Uint8Array, signal: AbortSignal): Promise<void> {
    for (const run of this.#runs(offsetBytes, into.length)) {
      const start = run.offsetBytes - offsetBytes;
      const target = into.subarray(start, start + run.lengthBytes);
      if (run.state === "zero") target.fill(0);
      else if (run.state === "data") await this.#readFile(run.offsetBytes, target);
      else await this.#beneath.read(run.offsetBytes, target, signal);
    }
  }

  async write(offsetBytes: number, from: Uint8Array, signal: AbortSignal): Promise<void> {
    for (const part of partsOf(offsetBytes, from.length)) {
      const start = part.offsetBytes - offsetBytes;
      const bytes = from.subarray(start, start + part.lengthBytes);
      await this.#change(part.block, () => this.#writePart(part, bytes, signal));
    }
  }

  async zero(offsetBytes: number, lengthBytes: number, signal: AbortSignal): Promise<void> {
    for (const part of partsOf(offsetBytes, lengthBytes)) {
      await this.#change(part.block, async () => {
        if (part.lengthBytes === this.#blockLength(part.block)) this.#zeroBlock(part.block);
        else await this.#writePart(part, new Uint8Array(part.lengthBytes), signal);
      });
    }
  }

  async extents(
    offsetBytes: number,
    lengthBytes: number,
    signal: AbortSignal,
  ): Promise<readonly Extent[]> {
    const [first] = this.#runs(offsetBytes, lengthBytes);
    if (first === undefined) return [];
    const { state, ...run } = first;
    if (state !== "beneath") return [{ ...run, state }];
    const asked = this.#beneath.extents?.(run.offsetBytes, run.lengthBytes, signal);
    return (await asked) ?? [{ ...run, state: "data" }];
  }

  async #writePart(part: Part, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    const state = this.#states.get(part.block);
    if (state !== "data") this.#takeRoom();
    const blockStart = part.block * blockSizeBytes;
    const blockLength = this.#blockLength(part.block);
    try {
      if (state === "data" || part.lengthBytes === blockLength) {
        await this.#file.write(bytes, part.offsetBytes);
      } else {
        const whole = new Uint8Array(blockLength);
        if (state === "beneath") await this.#beneath.read(blockStart, whole, signal);
        whole.set(bytes, part.offsetBytes - blockStart);
        await this.#file.write(whole, blockStart);
      }
    } catch (error) {
      if (state !== "data") this.#blocksUsed -= 1;
      throw error;
    }
    this.#states.set(part.block, "data");
  }

  #zeroBlock(block: number): void {
    if (this.#states.get(block) === "data") this.#blocksUsed -= 1;
    this.#states.set(block, "zero");
  }

  #takeRoom(): void {
    if (this.#blocksUsed >= this.#blocksMax) {
      const capBytes = this.#blocksMax * blockSizeBytes;
      throw new Fault("SCRATCH_FULL", "the throw-away layer is full", { capBytes });
    }
    this.#blocksUsed += 1;
  }

  async #readFile(offsetBytes: number, into: Uint8Array): Promise<void> {
    const filled = await this.#file.read(into, offsetBytes);
    into.fill(0, filled); // The file ends where nothing was written yet.
  }

  async #change(block: number, work: () => Promise<void>): Promise<void> {
    const before = this.#changing.get(block);
    const done = before === undefined ? work() : before.then(work, work);
    this.#changing.set(block, done);
    try {
      await done;
    } finally {
      if (this.#changing.get(block) === done) this.#changing.delete(block);
    }
  }

  #blockLength(block: number): number {
    return Math.min(blockSizeBytes, this.#beneath.sizeBytes - block * blockSizeBytes);
  }

  /** Neighbouring blocks of one state as one run. */
  *#runs(offsetBytes: number, lengthBytes: number) {
    let run: {
      offsetBytes: number;
      lengthBytes: number;
      state: "beneath" | "data" | "zero";
    } | null = null;
    for (const part of partsOf(offsetBytes, lengthBytes)) {
      const state = this.#states.get(part.block);
      if (run !== null && run.state === state) run.lengthBytes += part.lengthBytes;
      else {
        if (run !== null) yield run;
        run = { offsetBytes: part.offsetBytes, lengthBytes: part.lengthBytes, state };
      }
    }
    if (run !== null) yield run;
  }
}

function* partsOf(offsetBytes: number, lengthBytes: number): Generator<Part> {
  const endBytes = offsetBytes + lengthBytes;
  let at = offsetBytes;
  while (at < endBytes) {
    const block = Math.floor(at / blockSizeBytes);
    const partEnd = Math.min(endBytes, (block + 1) * blockSizeBytes);
    yield { block, offsetBytes: at, lengthBytes: partEnd - at };
    at = partEnd;
  }
}
