import type { Clock } from "../../base/clock.ts";
import { mapOrdered } from "../../base/map-ordered.ts";
import { KIB } from "../../base/units.ts";
import type { Extent, Run } from "../../core/extent.ts";
import type { NbdExtent } from "../../nbd/block-status.ts";
import { connectNbd, type NbdClient } from "../../nbd/client.ts";
import { settleAll } from "../../nbd/client-access.ts";
import {
  blockStart,
  classify,
  joinEqual,
  type Span,
  spansOf,
  wholeBlocks,
} from "./dirty-extents.ts";
import type { NbdDial } from "./serving.ts";

/** Connections that carry data: two with 8 requests each are as fast as it gets. */
const dataConnectionsMax = 2;
const requestsInFlightMax = 8;
/** Questions about allocation under way at once. */
const spansInFlightMax = 8;
const allocationContext = "base:allocation";
/** NBD_STATE_ZERO (NBD protocol, "base:allocation" metadata context). */
const zeroFlag = 2;
/** Bit 0 of a "qemu:dirty-bitmap:" context (QEMU, docs/interop/nbd.txt). */
const dirtyFlag = 1;

export interface DiskReaderOptions {
  /** Asked before each connection. */
  readonly dial: () => Promise<NbdDial>;
  readonly exportName: string;
  readonly clock: Clock;
  /** Aborting it ends every connection; what is pending rejects with its reason. */
  readonly signal: AbortSignal;
}

/** QEMU gives the memory of longer requests back to the kernel each time, which triples what reading costs its host. */
const requestBytesMax = 256 * KIB;

/** Reads one export over a few connections, each opened when first needed. */
export class DiskReader implements AsyncDisposable {
  readonly #options: DiskReaderOptions;
  readonly #data: Promise<NbdClient>[] = [];
  readonly #contexts = new Map<string, Promise<NbdClient>>();
  #isDisposed = false;

  constructor(options: DiskReaderOptions) {
    this.#options = options;
  }

  /** Fills `into` from `offsetBytes`. Any number of reads may be under way. */
  async read(offsetBytes: number, into: Uint8Array): Promise<void> {
    const parts: Promise<void>[] = [];
    for (let at = 0; at < into.length; at += requestBytesMax) {
      const part = into.subarray(at, at + requestBytesMax);
      parts.push(this.#readPart(offsetBytes + at, part));
    }
    await settleAll(parts);
  }

  async #readPart(offsetBytes: number, into: Uint8Array): Promise<void> {
    const client = await this.#dataClient();
    await client.read(offsetBytes, into);
  }

  /** What is data and what reads as zero, in order, without gaps, equal neighbours joined. */
  async *allocation(offsetBytes: number, lengthBytes: number): AsyncGenerator<Extent> {
    const client = await this.#contextClient(allocationContext);
    yield* joinEqual(statesOf(client.extents(allocationContext, offsetBytes, lengthBytes)));
  }

  /**
   * The dirty runs of a bitmap, and all beyond `countedBytes`, as extents of whole blocks. Null for a bitmap that is known to be
   * clean.
   */
  async *changed(options: {
    readonly bitmap: string | null;
    readonly countedBytes: number;
    readonly sizeBytes: number;
  }): AsyncGenerator<Extent> {
    const { sizeBytes } = options;
    // These will be needed; connecting takes as long as finding the first dirty run.
    void this.#contextClient(allocationContext);
    this.#dataClient().catch(() => {}); // Told to whoever reads.
    const spans = spansOf(wholeBlocks(this.#dirtyRuns(options), sizeBytes));
    const classified = mapOrdered(spans, spansInFlightMax, (span) => this.#classified(span));
    yield* joinEqual(flat(classified));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true;
    const opened = await Promise.allSettled([...this.#data, ...this.#contexts.values()]);
    await Promise.all(
      opened.map(async (client) => {
        if (client.status === "fulfilled") await client.value[Symbol.asyncDispose]();
      }),
    );
  }

  async #classified(span: Span): Promise<readonly Extent[]> {
    const allocation: Extent[] = [];
    for await (const extent of this.allocation(span.offsetBytes, span.lengthBytes)) {
      allocation.push(extent);
    }
    return classify(span, allocation);
  }

  async *#dirtyRuns(options: {
    readonly bitmap: string | null;
    readonly countedBytes: number;
    readonly sizeBytes: number;
  }): AsyncGenerator<Run> {
    const { bitmap, sizeBytes } = options;
    // A grown disk's last counted block may have been short: it is read again with the tail.
    const hasGrown = options.countedBytes < sizeBytes;
    const countedBytes = hasGrown ? blockStart(options.countedBytes) : sizeBytes;
    if (bitmap !== null && countedBytes > 0) {
      const context = `qemu:dirty-bitmap:${bitmap}`;
      const client = await this.#contextClient(context);
      for await (const run of client.extents(context, 0, countedBytes)) {
        if ((run.flags & dirtyFlag) !== 0) yield run;
      }
    }
    if (hasGrown) yield { offsetBytes: countedBytes, lengthBytes: sizeBytes - countedBytes };
  }

  async #dataClient(): Promise<NbdClient> {
    for (const opening of this.#data) {
      const client = await opening;
      if (client.pendingCount < requestsInFlightMax) return client;
    }
    if (this.#data.length < dataConnectionsMax) {
      const opening = this.#connect([]);
      this.#data.push(opening);
      return await opening;
    }
    const clients = await Promise.all(this.#data);
    return clients.reduce((least, client) =>
      client.pendingCount < least.pendingCount ? client : least,
    );
  }

  #contextClient(context: string): Promise<NbdClient> {
    const known = this.#contexts.get(context) ?? this.#connect([context]);
    this.#contexts.set(context, known);
    return known;
  }

  #connect(metaContexts: readonly string[]): Promise<NbdClient> {
    if (this.#isDisposed) throw new Error("a disk that was closed is read");
    const { dial, ...options } = this.#options;
    const connecting = dial().then((place) =>
      connectNbd({ ...place, ...options, metaContexts, requestsInFlightMax }),
    );
    connecting.catch(() => {}); // Told to whoever asked for it.
    return connecting;
  }
}

async function* statesOf(runs: AsyncIterable<NbdExtent>): AsyncGenerator<Extent> {
  for await (const { offsetBytes, lengthBytes, flags } of runs) {
    // Flags are bits of a 32-bit word, not offsets.
    yield { offsetBytes, lengthBytes, state: (flags & zeroFlag) === 0 ? "data" : "zero" };
  }
}

async function* flat<Item>(lists: AsyncIterable<readonly Item[]>): AsyncGenerator<Item> {
  for await (const list of lists) yield* list;
}
