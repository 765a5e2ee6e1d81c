import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import type { TLSSocket } from "node:tls";
import { Fault } from "../base/fault.ts";
import { lendReads } from "../base/lent-reads.ts";
import { addressProblem, formatNbdAddress } from "./address.ts";
import type { Dial } from "./client-options.ts";
import { secureClient } from "./client-tls.ts";
import { Inlet } from "./inlet.ts";

/** How long a polite end may take before the socket is torn down. */
const goodbyeMs = 1000;

/** A connected socket whose bytes land where the inlet says. */
export interface Wire extends AsyncDisposable {
  readonly inlet: Inlet;
  /** Queues bytes; they must stay as they are until the peer has answered them. */
  send(bytes: Uint8Array): void;
  /** Changes hands to TLS, between two messages. PEER_REFUSED when the server cannot prove who it is, or does not believe us. */
  startTls(): Promise<void>;
  /** Sends what is queued during one turn of the event loop with one system call. */
  gather(): void;
  /** Ends the connection at once; the inlet fails with `error`. Idempotent, the first error stays. */
  destroy(error: unknown): void;
  /** Why the connection ended, or null while it stands. */
  readonly failure: { readonly error: unknown } | null;
  /** Called once when it ends, for whatever reason. */
  onEnd(listener: (error: unknown) => void): void;
}

class SocketWire implements Wire {
  readonly inlet: Inlet;
  failure: { readonly error: unknown } | null = null;
  readonly #dial: Dial;
  /** The connection, or what has taken it over. */
  #socket: net.Socket | TLSSocket;
  readonly #listeners: ((error: unknown) => void)[] = [];
  readonly #onAbort: () => void;
  #isConnected = false;
  #isGathering = false;

  constructor(dial: Dial) {
    this.#dial = dial;
    this.inlet = new Inlet(() => void this.#socket?.resume());
    this.#socket = net.connect({
      ...dial.address,
      onread: {
        buffer: () => this.inlet.lend(),
        callback: (lengthBytes: number, buffer: Uint8Array) => this.#landed(lengthBytes, buffer),
      },
    });
    this.#onAbort = () => this.destroy(dial.signal?.reason);
    dial.signal?.addEventListener("abort", this.#onAbort, { once: true });
    this.#socket.setNoDelay(true);
    this.#socket.on("error", (error) => this.destroy(this.#faultOf(error)));
    this.#socket.on("close", () => this.destroy(this.#closedByPeer()));
  }

  async connected(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#socket.once("connect", () => {
      this.#isConnected = true;
      resolve();
    });
    this.onEnd(reject);
    await promise;
  }

  async startTls(): Promise<void> {
    const { tls } = this.#dial;
    assert(tls !== null, "STARTTLS is asked for only with a TLS option");
    const ended = Promise.withResolvers<never>();
    ended.promise.catch(() => {}); // Whoever waits below hears of it.
    this.onEnd(ended.reject);
    const socket = secureClient(this.#socket, tls, this.#dial.address);
    socket.on("error", (error) => this.destroy(this.#faultOf(error)));
    socket.on("close", () => this.destroy(this.#closedByPeer()));
    const established = Promise.withResolvers<void>();
    socket.once("secureConnect", () => established.resolve());
    await Promise.race([established.promise, ended.promise]);
    if (!socket.authorized) throw notBelieved(this.#name, socket);
    this.#socket = socket;
    const lender = {
      lend: () => this.inlet.lend(),
      landed: (lengthBytes: number, lent: Uint8Array) => this.#landed(lengthBytes, lent),
    };
    if (lendReads(socket, lender)) return;
    socket.on("data", (chunk: Uint8Array) => {
      this.inlet.push(chunk);
      if (!this.inlet.isHungry) socket.pause();
    });
    socket.pause();
  }

  send(bytes: Uint8Array): void {
    if (this.failure === null) this.#socket.write(bytes);
  }

  gather(): void {
    if (this.#isGathering || this.failure !== null) return;
    this.#isGathering = true;
    this.#socket.cork();
    process.nextTick(() => {
      this.#isGathering = false;
      this.#socket.uncork();
    });
  }

  destroy(error: unknown): void {
    if (this.failure !== null) return;
    this.failure = { error };
    this.#dial.signal?.removeEventListener("abort", this.#onAbort);
    this.#socket.destroy();
    this.inlet.fail(error);
    for (const listener of this.#listeners) listener(error);
  }

  onEnd(listener: (error: unknown) => void): void {
    if (this.failure !== null) listener(this.failure.error);
    else this.#listeners.push(listener);
  }

  /** Lets what was sent reach the peer, but does not wait for it without bound. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.failure === null) {
      this.inlet.discard(this.#closedByUs());
      const bound = new AbortController();
      const closed = once(this.#socket, "close", { signal: bound.signal });
      this.#socket.end();
      const late = this.#dial.clock.sleep(goodbyeMs, { signal: bound.signal });
      await Promise.race([closed, late]).catch(() => {}); // Either way it is over below.
      bound.abort();
      await Promise.allSettled([closed, late]);
    }
    this.destroy(this.#closedByUs());
  }

  get #name(): string {
    return formatNbdAddress(this.#dial.address);
  }

  #landed(lengthBytes: number, buffer: Uint8Array): boolean {
    try {
      this.inlet.landed(lengthBytes, buffer);
    } catch (error) {
      this.destroy(error); // A bug of ours ends this connection, and every caller sees it.
    }
    return this.inlet.isHungry;
  }

  #closedByUs(): Fault {
    return new Fault("NBD_CLOSED", `${this.#name} was closed by us`, { address: this.#name });
  }

  #closedByPeer(): Fault {
    const details = { address: this.#name };
    return new Fault("NBD_CLOSED", `${this.#name} closed the connection`, details);
  }

  #faultOf(error: NodeJS.ErrnoException): Fault {
    const reason = error.code ?? error.message;
    const details = { address: this.#name, reason };
    if (/^ERR_SSL_.*ALERT/.test(reason)) {
      const message = `${this.#name} does not believe our certificate: ${reason}`;
      return new Fault("PEER_REFUSED", message, details, { cause: error });
    }
    return this.#isConnected
      ? new Fault("NBD_CLOSED", `${this.#name} was lost: ${reason}`, details, { cause: error })
      : new Fault("NBD_UNREACHABLE", `${this.#name}: ${reason}`, details, { cause: error });
  }
}

/**
 * Connects and runs `handshake` on the wire, both within the bound. Rejects with NBD_UNREACHABLE, TIMEOUT, the signal's reason
 * or what `handshake` rejects with; the wire is gone then.
 */
export async function withHandshake<Result>(
  dial: Dial,
  handshake: (wire: Wire) => Promise<Result>,
): Promise<Result> {
  dial.signal?.throwIfAborted();
  const problem = addressProblem(dial.address);
  if (problem !== null) {
    const address = formatNbdAddress(dial.address);
    throw new Fault("NBD_UNREACHABLE", `${address}: ${problem}`, { address });
  }
  const wire = new SocketWire(dial);
  const done = new AbortController();
  dial.clock.sleep(dial.timeouts.handshakeMs, { signal: done.signal }).then(
    () => wire.destroy(handshakeTimeout(dial)),
    () => {}, // It ended in time.
  );
  try {
    await wire.connected();
    return await handshake(wire);
  } catch (error) {
    wire.destroy(error);
    throw error;
  } finally {
    done.abort();
  }
}

function notBelieved(address: string, { authorizationError }: TLSSocket): Fault {
  const reason = String(authorizationError);
  const message = `${address} showed a certificate that is not to be believed: ${reason}`;
  return new Fault("PEER_REFUSED", message, { address, reason });
}

function handshakeTimeout(dial: Dial): Fault {
  const address = formatNbdAddress(dial.address);
  const { handshakeMs } = dial.timeouts;
  const message = `${address} did not finish the NBD handshake within ${handshakeMs} ms`;
  return new Fault("TIMEOUT", message, { address, handshakeMs });
}
