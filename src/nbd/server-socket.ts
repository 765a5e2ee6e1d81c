import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { Fault } from "../base/fault.ts";
import { Inlet } from "./inlet.ts";
import { type NbdServerTls, secureServer } from "./server-tls.ts";

/** An accepted connection: bytes are read only as far as they are asked for, answers are counted until the kernel has them. */
export class ServerSocket {
  readonly inlet: Inlet;
  /** Aborts when the connection has ended, for whatever reason. */
  readonly ended: AbortSignal;
  /** Host and port of the client, for the log; empty on a unix socket. */
  readonly address: string;
  /** The connection, or what has taken it over. */
  #socket: Socket | TLSSocket;
  readonly #onData: (chunk: Uint8Array) => void;
  readonly #ending = new AbortController();
  #decide: () => Promise<string | null> = async () => null;
  #isGathering = false;
  #isFinishing = false;
  #unsentCount = 0;
  #sentCount = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.ended = this.#ending.signal;
    this.inlet = new Inlet(() => void this.#socket.resume());
    this.address = socket.remoteAddress ? `${socket.remoteAddress}:${socket.remotePort}` : "";
    this.#onData = (chunk) => {
      this.inlet.push(chunk);
      if (!this.inlet.isHungry) this.#socket.pause();
    };
    socket.setNoDelay(true);
    this.#listen(socket);
    socket.on("data", this.#onData);
    socket.pause();
  }

  /** Changes hands to TLS, between two messages. Rejects with PEER_REFUSED when the client is not let in, which it is not told. */
  async startTls(options: NbdServerTls): Promise<void> {
    // Nothing that came in the clear may be taken for something that came under TLS.
    if (this.inlet.hasLeftover) throw clientViolation("bytes between STARTTLS and TLS");
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.ended.addEventListener("abort", () => reject(this.ended.reason), { once: true });
    this.#socket.off("data", this.#onData);
    const socket = secureServer(this.#socket, options);
    const onError = (error: Error) => this.destroy(handshakeFailed(this.address, error));
    socket.once("error", onError);
    socket.once("secure", () => {
      socket.off("error", onError);
      resolve();
    });
    this.#listen(socket);
    await promise;
    const certificate = socket.getPeerX509Certificate();
    this.#decide = async () => await options.refusalOf(certificate);
    await this.admit();
    this.ended.throwIfAborted();
    this.#socket = socket;
    socket.on("data", this.#onData);
    if (!this.inlet.isHungry) socket.pause();
  }

  /** Answers that the client has not taken yet. */
  get unsentCount(): number {
    return this.#unsentCount;
  }

  /** Answers taken so far; a watchdog looks whether it moves. */
  get sentCount(): number {
    return this.#sentCount;
  }

  /** Sends the parts in one piece; resolves when they are with the kernel or the connection has ended. Never rejects. */
  send(...parts: readonly Uint8Array[]): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.ended.aborted) {
      resolve();
      return promise;
    }
    this.#gather();
    this.#unsentCount += 1;
    const last = parts.length - 1;
    for (const [index, part] of parts.entries()) {
      if (index < last) this.#socket.write(part);
      else {
        this.#socket.write(part, () => {
          this.#unsentCount -= 1;
          this.#sentCount += 1;
          resolve();
        });
      }
    }
    return promise;
  }

  /** Decides again whether the client is let in, which may have changed. Rejects with PEER_REFUSED; without TLS everybody is. */
  async admit(): Promise<void> {
    const refusal = await this.#decide();
    if (refusal === null) return;
    const { address } = this;
    const message = `NBD client ${address} showed ${refusal}`;
    throw new Fault("PEER_REFUSED", message, { address, reason: refusal });
  }

  /** Ends it after what was sent; resolves when it has ended. */
  async finish(): Promise<void> {
    if (this.ended.aborted) return;
    this.#isFinishing = true;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended.addEventListener("abort", () => resolve(), { once: true });
    this.inlet.discard(lost(null));
    this.#socket.end(() => this.destroy(lost(null)));
    await promise;
  }

  /** Ends it now. Idempotent. */
  destroy(error: unknown): void {
    if (this.ended.aborted) return;
    this.#ending.abort(error);
    this.inlet.fail(error);
    this.#socket.destroy();
  }

  #listen(socket: Socket | TLSSocket): void {
    socket.on("error", (error) => this.destroy(lost(error)));
    // Before it said goodbye, a client that ends its half is gone: nobody waits for the answers.
    socket.on("end", () => this.#isFinishing || this.destroy(lost(null)));
    socket.on("close", () => this.destroy(lost(null)));
  }

  /** All answers of one turn of the event loop go with one system call. */
  #gather(): void {
    if (this.#isGathering) return;
    this.#isGathering = true;
    this.#socket.cork();
    process.nextTick(() => {
      this.#isGathering = false;
      this.#socket.uncork();
    });
  }
}

function lost(cause: Error | null): Fault {
  const message = "the NBD client closed the connection";
  return new Fault("NBD_CLOSED", message, {}, cause === null ? {} : { cause });
}

function handshakeFailed(address: string, cause: NodeJS.ErrnoException): Fault {
  const reason = cause.code ?? cause.name;
  const message = `NBD client ${address} failed at TLS: ${reason}`;
  return new Fault("PEER_REFUSED", message, { address, reason }, { cause });
}

/** The client said something the protocol does not allow. */
export function clientViolation(message: string): Fault {
  return new Fault("NBD_PROTOCOL", `NBD client: ${message}`);
}
