import type { Clock } from "../base/clock.ts";
import { Fault, isFault } from "../base/fault.ts";
import type { BufferPool } from "./buffer-pool.ts";
import { errnoOf } from "./errno.ts";
import type { NbdExports } from "./export.ts";
import { payloadBytesMax } from "./limits.ts";
import { command, requestHeaderBytes } from "./protocol.ts";
import { perform, type Service } from "./server-commands.ts";
import { negotiateSession, type Session } from "./server-handshake.ts";
import type { NbdServerIncident, NbdServerLimits } from "./server-options.ts";
import { plainReply } from "./server-reply.ts";
import { decodeRequest, memoryBytesOf, refuse, type ServerRequest } from "./server-request.ts";
import { clientViolation, type ServerSocket } from "./server-socket.ts";
import type { NbdServerTls } from "./server-tls.ts";

/** What all connections of a server share. */
export interface ServerContext {
  readonly exports: NbdExports;
  readonly tls: NbdServerTls | null;
  readonly limits: NbdServerLimits;
  readonly buffers: BufferPool;
  readonly clock: Clock;
  /** Aborts when the server is being closed: no further request is read. */
  readonly closing: AbortSignal;
  readonly report: (incident: NbdServerIncident) => void;
}

/**
 * Serves one connection to its end; never rejects.
 *
 *   handshake ──▶ reading requests ──DISC, end, closing, violation──▶ draining (requests under way are answered) ──▶ ended
 *                   │  ▲ as many under way as the limits allow
 *                   ▼  │
 *                 under way ──▶ answered
 */
export async function serveConnection(socket: ServerSocket, context: ServerContext): Promise<void> {
  let exportName: string | null = null;
  const watch = new AbortController();
  try {
    const session = await withinHandshake(socket, context);
    if (session === null) return await socket.finish();
    exportName = session.exportName;
    const requests = new RequestLoop(socket, session, context);
    watchClient(socket, context, watch.signal);
    if (context.tls !== null) watchAdmission(socket, context, watch.signal);
    await requests.run();
    await socket.finish();
  } catch (error) {
    socket.destroy(error);
    // A client that just goes is no incident.
    if (!isFault(error, "NBD_CLOSED")) report(context, socket, error, exportName);
  } finally {
    watch.abort();
  }
}

function report(
  context: ServerContext,
  { address }: ServerSocket,
  error: unknown,
  exportName: string | null,
): void {
  context.report({ kind: kindOf(error), error, exportName, address });
}

function kindOf(error: unknown): NbdServerIncident["kind"] {
  if (isFault(error, "TIMEOUT")) return "client too slow";
  if (isFault(error, "PEER_REFUSED")) return "client refused";
  return isFault(error, "NBD_PROTOCOL") ? "client broke the protocol" : "request failed";
}

async function withinHandshake(
  socket: ServerSocket,
  context: ServerContext,
): Promise<Session | null> {
  const done = new AbortController();
  const { handshakeMs } = context.limits;
  const onClosing = () => socket.destroy(closed());
  context.closing.addEventListener("abort", onClosing, { once: true });
  context.clock.sleep(handshakeMs, { signal: done.signal }).then(
    () => socket.destroy(tooSlow("the handshake was not finished", handshakeMs)),
    () => {}, // It ended in time.
  );
  try {
    return await negotiateSession(socket, context.exports, context.tls);
  } finally {
    done.abort();
    context.closing.removeEventListener("abort", onClosing);
  }
}

/** Ends the connection when a request or an answer stands half-way for too long; runs until `stop` aborts. */
function watchClient(socket: ServerSocket, context: ServerContext, stop: AbortSignal): void {
  const { requestMs } = context.limits;
  const look = async () => {
    for (;;) {
      const { filledCount } = socket.inlet;
      const { sentCount } = socket;
      const wasPartial = socket.inlet.isPartial;
      const wasUnsent = socket.unsentCount > 0;
      await context.clock.sleep(requestMs, { signal: stop });
      if (wasPartial && socket.inlet.filledCount === filledCount) {
        return socket.destroy(tooSlow("a request was not sent to its end", requestMs));
      }
      if (wasUnsent && socket.sentCount === sentCount) {
        return socket.destroy(tooSlow("an answer was not taken", requestMs));
      }
    }
  };
  look().catch(() => {}); // The sleep ends with the connection.
}

/** Ends the connection when the client would not be let in any more: expired or revoked. Runs until `stop` aborts. */
function watchAdmission(socket: ServerSocket, context: ServerContext, stop: AbortSignal): void {
  const look = async () => {
    for (;;) {
      await context.clock.sleep(context.limits.readmitMs, { signal: stop });
      await socket.admit();
    }
  };
  look().catch((error: unknown) => {
    if (!stop.aborted) socket.destroy(error);
  });
}

function tooSlow(what: string, boundMs: number): Fault {
  return new Fault("TIMEOUT", `NBD client: ${what} within ${boundMs} ms`, { boundMs });
}

function closed(): Fault {
  return new Fault("NBD_CLOSED", "the NBD server was closed");
}

class RequestLoop {
  readonly #context: ServerContext;
  readonly #service: Service;
  readonly #socket: ServerSocket;
  #inFlight = 0;
  #bytesInFlight = 0;
  /** Wakes the loop, which waits for room or for the end of all that is under way. */
  #wake: (() => void) | null = null;

  constructor(socket: ServerSocket, session: Session, context: ServerContext) {
    this.#context = context;
    this.#socket = socket;
    this.#service = { socket, session, buffers: context.buffers };
  }

  async run(): Promise<void> {
    const { closing } = this.#context;
    const onClosing = () => this.#socket.inlet.fail(closed());
    closing.addEventListener("abort", onClosing, { once: true });
    try {
      if (closing.aborted) return;
      await this.#readRequests();
    } catch (error) {
      if (!isFault(error, "NBD_CLOSED")) throw error;
    } finally {
      closing.removeEventListener("abort", onClosing);
      await this.#until(() => this.#inFlight === 0);
    }
  }

  async #readRequests(): Promise<void> {
    const header = Buffer.alloc(requestHeaderBytes);
    const { limits } = this.#context;
    for (;;) {
      await this.#until(() => this.#inFlight < limits.requestsInFlightMax);
      await this.#socket.inlet.fill(header);
      const request = decodeRequest(header);
      if (request === null) throw clientViolation("bad request magic");
      if (request.command === command.disconnect) return;
      const memoryBytes = memoryBytesOf(request);
      const room = limits.bytesInFlightMax - memoryBytes;
      await this.#until(() => this.#inFlight === 0 || this.#bytesInFlight <= room);
      const payload = await this.#readPayload(request);
      this.#inFlight += 1;
      this.#bytesInFlight += memoryBytes;
      void this.#serve(request, payload, memoryBytes);
    }
  }

  /** The payload of a WRITE must be read even if the request is refused, or the next could not be found. */
  async #readPayload(request: ServerRequest): Promise<Buffer | null> {
    if (request.command !== command.write) return null;
    if (request.lengthBytes > payloadBytesMax) {
      throw clientViolation(`a write of ${request.lengthBytes} bytes`);
    }
    const payload = this.#service.buffers.take(request.lengthBytes);
    await this.#socket.inlet.fill(payload);
    return payload;
  }

  /** Never rejects. */
  async #serve(request: ServerRequest, payload: Buffer | null, memoryBytes: number): Promise<void> {
    const { session } = this.#service;
    try {
      const error = refuse(request, session);
      if (error === null) await perform(this.#service, request, payload);
      else await this.#sendError(request, error);
    } catch (error) {
      const { exportName } = session;
      if (!this.#socket.ended.aborted) {
        const { address } = this.#socket;
        this.#context.report({ kind: "request failed", error, exportName, address });
      }
      await this.#sendError(request, errnoOf(error));
    } finally {
      if (payload !== null) this.#service.buffers.give(payload);
      this.#inFlight -= 1;
      this.#bytesInFlight -= memoryBytes;
      this.#wake?.();
    }
  }

  async #sendError(request: ServerRequest, error: number): Promise<void> {
    const { hasStructuredReplies } = this.#service.session;
    await this.#socket.send(plainReply(request, error, hasStructuredReplies));
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
    this.#wake = null;
  }
}
