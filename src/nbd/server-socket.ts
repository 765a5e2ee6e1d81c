import type { Socket } from "node:net";
import { Fault } from "../base/fault.ts";
import { Inlet } from "./inlet.ts";

/** An accepted connection: bytes are read only as far as they are asked for, answers are counted until the kernel has them. */
export class ServerSocket {
  readonly inlet: Inlet;
  /** Aborts when the connection has ended, for whatever reason. */
  readonly ended: AbortSignal;
  readonly #socket: Socket;
  readonly #ending = new AbortController();
  #isGathering = false;
  #isFinishing = false;
  #unsentCount = 0;
  #sentCount = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.ended = this.#ending.signal;
    this.inlet = new Inlet(() => void socket.resume());
    socket.setNoDelay(true);
    socket.on("data", (chunk: Uint8Array) => {
      this.inlet.push(chunk);
      if (!this.inlet.isHungry) socket.pause();
    });
    socket.on("error", (error) => this.destroy(lost(error)));
    // Before it said goodbye, a client that ends its half is gone: nobody waits for the answers.
    socket.on("end", () => this.#isFinishing || this.destroy(lost(null)));
    socket.on("close", () => this.destroy(lost(null)));
    socket.pause();
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

/** The client said something the protocol does not allow. */
export function clientViolation(message: string): Fault {
  return new Fault("NBD_PROTOCOL", `NBD client: ${message}`);
}
