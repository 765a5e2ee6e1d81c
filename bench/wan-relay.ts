import { once } from "node:events";
import net from "node:net";
import { type Prng, seededPrng } from "../src/base/prng.ts";
import { MIB } from "../src/base/units.ts";

/** How the long way is. */
export interface WanOptions {
  /** Where the relay connects to, on this host. */
  readonly port: number;
  readonly roundTripMs: number;
  /** Over all connections, each direction for itself. */
  readonly bitsPerSecond: number;
  /** Each connection is reset after a time drawn between these; never when null. */
  readonly cutAfterMs: { readonly min: number; readonly max: number; readonly seed: number } | null;
}

/** A relay that delays, caps and cuts, in this process. */
export interface WanRelay extends AsyncDisposable {
  readonly port: number;
  readonly cuts: () => number;
}

/** What waits for the wire, as in a router with that much memory: beyond it nothing is read. */
const queuedBytesMax = 2 * MIB;

/** One direction of the wire: a byte leaves when those before it have left, and arrives half a round trip later. */
class Wire {
  readonly #bytesPerMs: number;
  readonly #delayMs: number;
  #freeAtMs = 0;

  constructor(options: WanOptions) {
    this.#bytesPerMs = options.bitsPerSecond / 8 / 1000;
    this.#delayMs = options.roundTripMs / 2;
  }

  /** When the bytes have left, and when they arrive, in milliseconds from now. */
  send(bytes: number): { readonly leftInMs: number; readonly arrivesInMs: number } {
    const nowMs = performance.now();
    this.#freeAtMs = Math.max(nowMs, this.#freeAtMs) + bytes / this.#bytesPerMs;
    const leftInMs = this.#freeAtMs - nowMs;
    return { leftInMs, arrivesInMs: leftInMs + this.#delayMs };
  }
}

export async function startRelay(options: WanOptions): Promise<WanRelay> {
  const wires = { there: new Wire(options), back: new Wire(options) };
  const { cutAfterMs } = options;
  const prng: Prng = seededPrng(cutAfterMs?.seed ?? 0);
  const sockets = new Set<net.Socket>();
  let cuts = 0;
  const server = net.createServer({ noDelay: true }, (near) => {
    const far = net.connect({ port: options.port, host: "127.0.0.1", noDelay: true });
    const end = () => {
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", end);
      socket.on("close", () => {
        sockets.delete(socket);
        end();
      });
    }
    carry(near, far, wires.there);
    carry(far, near, wires.back);
    if (cutAfterMs === null) return;
    const afterMs = cutAfterMs.min + prng.below(cutAfterMs.max - cutAfterMs.min);
    const timer = setTimeout(() => {
      cuts += 1;
      near.resetAndDestroy();
      far.resetAndDestroy();
    }, afterMs);
    near.on("close", () => clearTimeout(timer));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as net.AddressInfo).port,
    cuts: () => cuts,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** Carries what one socket reads to the other, in order, as the wire allows. */
function carry(from: net.Socket, to: net.Socket, wire: Wire): void {
  let queuedBytes = 0;
  const arriving: { readonly atMs: number; readonly bytes: Uint8Array }[] = [];
  let isTimed = false;
  const arrive = () => {
    isTimed = false;
    const nowMs = performance.now();
    for (let first = arriving[0]; first !== undefined; first = arriving[0]) {
      if (first.atMs > nowMs) break;
      arriving.shift();
      if (!to.destroyed) to.write(first.bytes);
    }
    const next = arriving[0];
    if (next !== undefined) arriveIn(next.atMs - nowMs);
  };
  const arriveIn = (delayMs: number) => {
    isTimed = true;
    setTimeout(arrive, Math.max(1, delayMs));
  };
  from.on("data", (bytes: Uint8Array) => {
    const { leftInMs, arrivesInMs } = wire.send(bytes.length);
    queuedBytes += bytes.length;
    setTimeout(() => {
      queuedBytes -= bytes.length;
      if (queuedBytes < queuedBytesMax / 2) from.resume();
    }, leftInMs);
    if (queuedBytes >= queuedBytesMax) from.pause();
    arriving.push({ atMs: performance.now() + arrivesInMs, bytes });
    if (!isTimed) arriveIn(arrivesInMs);
  });
}
