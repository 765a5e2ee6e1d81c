import { chmod, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import type { Clock } from "../base/clock.ts";
import { Fault, faultWithin } from "../base/fault.ts";
import {
  controlConnectionsMax,
  controlRequestLengthMax,
  controlRequestTimeoutMs,
} from "./limits.ts";
import { readLines } from "./line-reader.ts";
import { type ControlReply, type ControlRequest, controlRequestSchema } from "./requests.ts";
import { openSocketPlace } from "./socket-place.ts";

// A connection carries one request and its answer, a JSON object a line each:
//
//   connected ──line──▶ working ──{progress}*──▶ {result} or {error} ──▶ closed
//       │ no line in time, too long, no request     │ client gone: the work is aborted
//       └──────────────▶ closed ◀──────────────────┘

/** How far a piece of work is. */
export type ReportProgress = (done: number, total: number | null) => void;

/** Does what a request asks; what it resolves with is plain JSON. */
export type ControlHandler = (
  request: ControlRequest,
  options: { readonly signal: AbortSignal; readonly onProgress: ReportProgress },
) => Promise<unknown>;

/** Listens for changing verbs. Only the owner of the socket's file may connect. */
export interface ControlServer extends AsyncDisposable {
  readonly path: string;
}

/**
 * Starts listening at `path`. The caller holds the vault's writer lock, so a socket that lies there is a dead one's and is
 * replaced. Disposing aborts the work under way and waits for it.
 */
export async function serveControl(options: {
  readonly path: string;
  readonly clock: Clock;
  readonly handle: ControlHandler;
}): Promise<ControlServer> {
  const { path } = options;
  await using opening = new AsyncDisposableStack();
  const place = opening.use(await openSocketPlace(path));
  await rm(path, { force: true });
  const stopping = new AbortController();
  const underWay = new Set<Promise<void>>();
  const server = createServer((socket) => {
    const serving = serveOne(socket, options, stopping.signal).finally(() =>
      underWay.delete(serving),
    );
    underWay.add(serving);
  });
  server.maxConnections = controlConnectionsMax;
  try {
    await listen(server, place.path);
  } catch (error) {
    // Not every file system takes sockets.
    const message = `${path}: cannot listen there`;
    throw new Fault("CONTROL_FAILED", message, { path }, { cause: error });
  }
  await chmod(path, 0o600);
  const held = opening.move();
  return {
    path,
    [Symbol.asyncDispose]: async () => {
      stopping.abort(new Fault("ABORTED", "the writer is stopping"));
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      await Promise.allSettled(underWay);
      await closed.promise;
      await rm(path, { force: true });
      await held.disposeAsync();
    },
  };
}

/** Binds with a mask that lets nobody else in between bind and chmod; binding a unix socket is synchronous in Node. */
async function listen(server: Server, path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  const mask = process.umask(0o177);
  try {
    server.listen(path, resolve);
  } finally {
    process.umask(mask);
  }
  await promise;
}

async function serveOne(
  socket: Socket,
  { handle, clock }: { handle: ControlHandler; clock: Clock },
  stopping: AbortSignal,
): Promise<void> {
  const gone = new AbortController();
  socket.on("error", () => {}); // "close" follows and tells.
  socket.on("close", () => gone.abort(new Fault("ABORTED", "the client went away")));
  const say = (reply: ControlReply) => {
    if (socket.writable) socket.write(`${JSON.stringify(reply)}\n`);
  };
  try {
    const request = await readRequest(socket, clock);
    const signal = AbortSignal.any([gone.signal, stopping]);
    const onProgress = (done: number, total: number | null) => say({ progress: { done, total } });
    const result = await handle(request, { signal, onProgress });
    say({ result: JSON.parse(JSON.stringify(result ?? null)) });
  } catch (error) {
    say({ error: errorOf(error) });
  } finally {
    socket.end();
    socket.destroySoon();
  }
}

async function readRequest(socket: Socket, clock: Clock): Promise<ControlRequest> {
  const inTime = new AbortController();
  clock.sleep(controlRequestTimeoutMs, { signal: inTime.signal }).then(
    () => socket.destroy(),
    () => {}, // The request came.
  );
  try {
    const lines = readLines(socket, controlRequestLengthMax);
    const first = await lines.next();
    await lines.return();
    socket.resume(); // Nothing more is expected; reading on is how a client that goes away is noticed.
    if (first.done === true) throw new Fault("CONTROL_PROTOCOL", "no request came");
    return parseRequest(first.value);
  } finally {
    inTime.abort();
  }
}

function parseRequest(line: string): ControlRequest {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new Fault("CONTROL_PROTOCOL", "the request is no JSON", {}, { cause: error });
  }
  const parsed = controlRequestSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const message = `the request is not understood: ${issue?.path.join(".")}: ${issue?.message}`;
  throw new Fault("CONTROL_PROTOCOL", message);
}

function errorOf(error: unknown) {
  const fault = faultWithin(error);
  if (fault !== null) return { code: fault.code, message: fault.message, details: fault.details };
  const message = error instanceof Error ? error.message : String(error);
  return { code: "CONTROL_FAILED" as const, message, details: {} };
}
