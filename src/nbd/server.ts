import net from "node:net";
import { type Clock, systemClock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import { MIB } from "../base/units.ts";
import {
  addressProblem,
  formatNbdAddress,
  isLoopback,
  type NbdAddress,
  nbdUri,
} from "./address.ts";
import { BufferPool } from "./buffer-pool.ts";
import type { NbdExports } from "./export.ts";
import { type ServerContext, serveConnection } from "./server-connection.ts";
import {
  defaultServerLimits,
  type NbdServerIncident,
  type NbdServerLimits,
} from "./server-options.ts";
import { ServerSocket } from "./server-socket.ts";
import type { NbdServerTls } from "./server-tls.ts";

/** Payload buffers kept for the next request, of the whole server. */
const heldBufferBytesMax = 32 * MIB;

/** What a server takes. */
export interface NbdServerOptions {
  /** A unix socket's path (must not exist), or a host and a port (0: any free one); beyond loopback only with `tls`. */
  readonly listen: NbdAddress;
  readonly exports: NbdExports;
  /** Every client has to come by TLS and to be let in. */
  readonly tls?: NbdServerTls;
  readonly limits?: Partial<NbdServerLimits>;
  /** Aborting it closes the server, without waiting for requests under way. */
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
  /** Hears of what went wrong; clients only see error numbers. */
  readonly report?: (incident: NbdServerIncident) => void;
}

/** A listening server. Disposing stops accepting, answers what is under way within a bound, and closes everything. */
export interface NbdServer extends AsyncDisposable {
  /** Where it listens, with the port that was found free. */
  readonly address: NbdAddress;
  readonly connectionCount: number;
  uri(exportName: string): string;
}

/**
 * Serves exports over NBD: to this host alone, or with TLS to those who are let in. Rejects with USAGE (an address beyond loopback, a path that is
 * taken or too long, a port in use) or STORAGE_DENIED.
 */
export async function serveNbd(options: NbdServerOptions): Promise<NbdServer> {
  options.signal?.throwIfAborted();
  if (options.tls === undefined && !isLoopback(options.listen)) {
    const listen = formatNbdAddress(options.listen);
    const message = `${listen} is not on the loopback interface: other hosts are served over TLS alone`;
    throw new Fault("USAGE", message, { listen });
  }
  const problem = addressProblem(options.listen);
  if (problem !== null) {
    const listen = formatNbdAddress(options.listen);
    throw new Fault("USAGE", `cannot listen on ${listen}: ${problem}`, { listen });
  }
  const server = new ListeningServer(options);
  await server.listen();
  return server;
}

class ListeningServer implements NbdServer {
  readonly #options: NbdServerOptions;
  readonly #server: net.Server;
  readonly #context: ServerContext;
  readonly #closing = new AbortController();
  readonly #connections = new Map<ServerSocket, Promise<void>>();
  readonly #onAbort = () => this.#destroy();
  #address: NbdAddress;

  constructor(options: NbdServerOptions) {
    this.#options = options;
    this.#address = options.listen;
    this.#context = {
      exports: options.exports,
      tls: options.tls ?? null,
      limits: { ...defaultServerLimits, ...options.limits },
      buffers: new BufferPool(heldBufferBytesMax),
      clock: options.clock ?? systemClock(),
      closing: this.#closing.signal,
      report: options.report ?? (() => {}),
    };
    this.#server = net.createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  get address(): NbdAddress {
    return this.#address;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  uri(exportName: string): string {
    return nbdUri(this.#address, exportName, { hasTls: this.#options.tls !== undefined });
  }

  async listen(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const listen = formatNbdAddress(this.#options.listen);
    this.#server.once("error", (error) => reject(listenFault(error, listen)));
    this.#server.listen({ ...this.#options.listen }, resolve);
    await promise;
    const bound = this.#server.address();
    if (typeof bound === "object" && bound !== null) {
      this.#address = { host: bound.address, port: bound.port };
    }
    this.#options.signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    const stopped = Promise.withResolvers<void>();
    this.#server.close(() => stopped.resolve());
    this.#closing.abort();
    const done = new AbortController();
    const drained = Promise.allSettled(this.#connections.values());
    const late = this.#context.clock
      .sleep(this.#context.limits.shutdownMs, { signal: done.signal })
      .catch(() => {}); // Drained in time.
    await Promise.race([drained, late]);
    done.abort();
    this.#destroy();
    await drained;
    await stopped.promise;
  }

  #accept(socket: net.Socket): void {
    const isFull = this.#connections.size >= this.#context.limits.connectionsMax;
    if (isFull || this.#closing.signal.aborted) {
      socket.destroy();
      return;
    }
    const accepted = new ServerSocket(socket);
    const served = serveConnection(accepted, this.#context).finally(() =>
      this.#connections.delete(accepted),
    );
    this.#connections.set(accepted, served);
  }

  #destroy(): void {
    this.#server.close();
    const reason = new Fault("NBD_CLOSED", "the NBD server was closed");
    for (const socket of this.#connections.keys()) socket.destroy(reason);
  }
}

function listenFault(error: NodeJS.ErrnoException, listen: string): Fault {
  const reason = error.code ?? error.message;
  const code = reason === "EACCES" || reason === "EPERM" ? "STORAGE_DENIED" : "USAGE";
  return new Fault(
    code,
    `cannot listen on ${listen}: ${reason}`,
    { listen, reason },
    { cause: error },
  );
}
