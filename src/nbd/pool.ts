import assert from "node:assert/strict";
import { KIB } from "../base/units.ts";
import { connectNbd, type NbdClient } from "./client.ts";
import { settleAll } from "./client-access.ts";
import type { NbdClientOptions } from "./client-options.ts";

/** What a pool takes besides what each of its connections takes. */
export interface NbdPoolOptions extends NbdClientOptions {
  /** Default 2; one when the server does not promise that several show one state. */
  readonly connections?: number;
  /** Longest single request; longer reads are cut and spread. Default 256 KiB. */
  readonly requestBytesMax?: number;
}

/**
 * Measured best on local sockets: two connections, eight requests each. QEMU takes memory anew for each request, and of 512 KiB and
 * more gives it back to the kernel each time: reading costs it three times as much processor then.
 */
const connectionsDefault = 2;
const requestsInFlightDefault = 8;
const requestBytesDefault = 256 * KIB;

/** One export, read over several connections. */
export interface NbdPool extends AsyncDisposable {
  readonly sizeBytes: number;
  readonly clients: readonly NbdClient[];
  /** Reads worth having under way at once, each of at most `requestBytesMax`. */
  readonly readsInFlightMax: number;
  readonly requestBytesMax: number;
  /** Fills `into` from `offsetBytes`; it belongs to the pool until this settles. Rejects like a client's `read`. */
  read(offsetBytes: number, into: Uint8Array): Promise<void>;
}

/** Opens the connections; all or none. */
export async function openNbdPool(options: NbdPoolOptions): Promise<NbdPool> {
  const wanted = options.connections ?? connectionsDefault;
  const requestsInFlightMax = options.requestsInFlightMax ?? requestsInFlightDefault;
  assert(Number.isInteger(wanted) && wanted >= 1);
  await using opened = new AsyncDisposableStack();
  const open = async () => opened.use(await connectNbd({ ...options, requestsInFlightMax }));
  const first = await open();
  const clients = [first];
  while (first.features.canMultiConnect && clients.length < wanted) clients.push(await open());
  for (const client of clients) assert(client.sizeBytes === first.sizeBytes);
  const { maximumBytes } = first.blockSizes;
  const requestBytesMax = Math.min(options.requestBytesMax ?? requestBytesDefault, maximumBytes);
  const held = opened.move();
  return {
    sizeBytes: first.sizeBytes,
    clients,
    readsInFlightMax: clients.length * requestsInFlightMax,
    requestBytesMax,
    read: (offsetBytes, into) => spread(clients, requestBytesMax, offsetBytes, into),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

function spread(
  clients: readonly NbdClient[],
  requestBytesMax: number,
  offsetBytes: number,
  into: Uint8Array,
): Promise<void> {
  if (into.length <= requestBytesMax) return leastBusy(clients).read(offsetBytes, into);
  const work: Promise<void>[] = [];
  for (let at = 0; at < into.length; at += requestBytesMax) {
    const part = into.subarray(at, at + requestBytesMax);
    work.push(leastBusy(clients).read(offsetBytes + at, part));
  }
  return settleAll(work);
}

function leastBusy(clients: readonly NbdClient[]): NbdClient {
  return clients.reduce((best, client) =>
    client.pendingCount < best.pendingCount ? client : best,
  );
}
