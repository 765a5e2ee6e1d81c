import { connect, type Socket } from "node:net";
import { Fault } from "../base/fault.ts";
import { controlConnectTimeoutMs, controlReplyLengthMax } from "./limits.ts";
import { readLines } from "./line-reader.ts";
import { type ControlRequest, controlReplySchema } from "./requests.ts";
import type { ReportProgress } from "./server.ts";
import { openSocketPlace } from "./socket-place.ts";

/** What a running writer answered. */
export interface WriterAnswer {
  readonly result: unknown;
}

/**
 * Asks the process that writes to a vault to do something. Null when no process listens at `path`: then the caller may
 * take the writer lock itself. Rejects with the writer's own fault, CONTROL_PROTOCOL, CONTROL_FAILED or ABORTED.
 */
export async function askWriter(options: {
  readonly path: string;
  readonly request: ControlRequest;
  readonly signal: AbortSignal;
  readonly onProgress?: ReportProgress;
}): Promise<WriterAnswer | null> {
  const { path, request, signal } = options;
  signal.throwIfAborted();
  const socket = await connectTo(path);
  if (socket === null) return null;
  const onAbort = () => void socket.destroy();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    socket.write(`${JSON.stringify(request)}\n`);
    for await (const line of readLines(socket, controlReplyLengthMax)) {
      const reply = parseReply(line);
      if ("result" in reply) return { result: reply.result };
      if ("error" in reply) {
        throw new Fault(reply.error.code, reply.error.message, reply.error.details);
      }
      options.onProgress?.(reply.progress.done, reply.progress.total);
    }
    throw new Fault("CONTROL_FAILED", "the writer ended before it answered", { path });
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof Fault) throw error;
    throw new Fault("CONTROL_FAILED", "the writer's socket broke", { path }, { cause: error });
  } finally {
    signal.removeEventListener("abort", onAbort);
    socket.destroy();
  }
}

async function connectTo(path: string): Promise<Socket | null> {
  const place = await openSocketPlace(path).catch(nobodyThere);
  if (place === null) return null;
  await using _place = place;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect({ path: place.path, timeout: controlConnectTimeoutMs }, resolve);
  socket.on("error", reject); // Later errors end the reading; this listener keeps them from being thrown.
  socket.once("timeout", () => socket.destroy(new Error("no connection in time")));
  try {
    await promise;
    socket.setTimeout(0);
    return socket;
  } catch (error) {
    return nobodyThere(error);
  }
}

/** Null for "no such socket" and "nobody listens"; everything else is a fault. */
function nobodyThere(error: unknown): null {
  const code = error instanceof Error && "code" in error ? error.code : null;
  if (code === "ENOENT" || code === "ECONNREFUSED" || code === "ENOTDIR") return null;
  if (code === "EACCES" || code === "EPERM") {
    throw new Fault(
      "STORAGE_DENIED",
      "the writer's socket belongs to another user",
      {},
      { cause: error },
    );
  }
  throw new Fault("CONTROL_FAILED", "the writer's socket cannot be reached", {}, { cause: error });
}

function parseReply(line: string) {
  try {
    return controlReplySchema.parse(JSON.parse(line));
  } catch (error) {
    throw new Fault(
      "CONTROL_PROTOCOL",
      "the writer's answer is not understood",
      {},
      { cause: error },
    );
  }
}
