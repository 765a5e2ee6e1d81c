import { connect, type Socket } from "node:net";
import { lineSplitter } from "./line-splitter.ts";

/** Longest line relayed, either way: as long as QMP answers get. */
const lineLengthBytesMax = 16 * 1024 * 1024;
/** What is kept for a client that does not read, before it is given up. */
const unreadBytesMax = 64 * 1024 * 1024;
const ownIdPrefix = "afterimage-guard-";

/** One client of the relay and its own connection to QEMU. Lines pass verbatim, except for the guard's own commands. */
export interface GuardSession {
  readonly machine: string;
  /** Whether commands can be sent: the client has negotiated. */
  readonly isOpen: boolean;
  /** Whether a remembered `stop` passed to a machine that ran, and no RESUME was seen since. */
  readonly isStopped: boolean;
  /** Asks the machine whether it runs: one that does not is never resumed by the guard. */
  askWhetherRunning(): Promise<void>;
  /** Sends `cont` when the machine is stopped by us. Resolves when it was answered or QEMU is gone. */
  resume(): Promise<void>;
  /** Lets nothing of the client through any more. */
  cutClient(): void;
  /** Ends the connection to QEMU, and so the session. */
  close(): void;
}

/** What the guard decides about a session. */
export interface GuardPolicy {
  /** Asked before a `stop` is relayed: it passes, or passes and is remembered, or is refused with a sentence. */
  onStop(machine: string): "pass" | "remember" | { readonly refusal: string };
  /** The machine was resumed though neither the client nor the guard asked for it. */
  onForeignResume(machine: string): void;
  /** The client's side ended (QEMU's may be open still). */
  onClientGone(session: GuardSession): void;
  /** QEMU's side ended. */
  onClosed(session: GuardSession): void;
}

interface Line {
  readonly execute?: unknown;
  readonly event?: unknown;
  readonly id?: unknown;
  readonly return?: unknown;
}

/** Opens a connection to QEMU for a client that just connected and relays between them. */
export function openGuardSession(options: {
  readonly machine: string;
  readonly qmpPath: string;
  readonly client: Socket;
  readonly policy: GuardPolicy;
}): GuardSession {
  const { machine, client, policy } = options;
  const upstream = connect({ path: options.qmpPath });
  const answers = new Map<string, (line: Line | null) => void>();
  let nextId = 1;
  let isNegotiating = false;
  let isOpen = false;
  let wasRunning = false;
  let isStopped = false;
  let contsUnderWay = 0;
  let isClosed = false;

  const inject = (execute: string): Promise<Line | null> => {
    const { promise, resolve } = Promise.withResolvers<Line | null>();
    if (isClosed || !isOpen) return Promise.resolve(null);
    const id = `${ownIdPrefix}${nextId++}`;
    answers.set(id, resolve);
    upstream.write(`${JSON.stringify({ execute, id })}\n`);
    return promise;
  };

  const fromClient = (line: string): void => {
    const { execute, id } = parse(line);
    if (execute === "qmp_capabilities") isNegotiating = true;
    if (execute === "cont") contsUnderWay += 1;
    if (execute === "stop") {
      const verdict = policy.onStop(machine);
      if (typeof verdict === "object") {
        const error = { class: "GenericError", desc: verdict.refusal };
        client.write(`${JSON.stringify({ error, id })}\n`);
        return;
      }
      isStopped = wasRunning && verdict === "remember";
    }
    upstream.write(`${line}\n`);
  };

  const fromUpstream = (line: string): void => {
    const isOwn = line.includes(`"${ownIdPrefix}`);
    if (isOwn || line.includes('"RESUME"') || (isNegotiating && !isOpen)) {
      const { event, id, return: value } = parse(line);
      if (isOwn && typeof id === "string" && answers.has(id)) {
        answers.get(id)?.(parse(line));
        answers.delete(id);
        return;
      }
      if (event === "RESUME") {
        if (isStopped && contsUnderWay === 0) policy.onForeignResume(machine);
        isStopped = false;
        contsUnderWay = 0;
      }
      if (isNegotiating && value !== undefined) isOpen = true;
    }
    client.write(`${line}\n`);
    if (client.writableLength > unreadBytesMax) client.destroy();
  };

  const session: GuardSession = {
    machine,
    get isOpen() {
      return isOpen && !isClosed;
    },
    get isStopped() {
      return isStopped;
    },
    async askWhetherRunning() {
      const line = await inject("query-status");
      const status = line?.return;
      wasRunning =
        typeof status === "object" &&
        status !== null &&
        "running" in status &&
        status.running === true;
    },
    async resume() {
      if (!isStopped) return;
      contsUnderWay += 1;
      await inject("cont");
      isStopped = false;
    },
    cutClient: () => client.destroy(),
    close: () => upstream.destroy(),
  };
  relayLines(client, fromClient, () => policy.onClientGone(session));
  relayLines(upstream, fromUpstream, () => {
    isClosed = true;
    for (const settle of answers.values()) settle(null);
    client.destroy();
    policy.onClosed(session);
  });
  return session;
}

function relayLines(socket: Socket, onLine: (line: string) => void, onClose: () => void): void {
  const lines = lineSplitter(lineLengthBytesMax);
  socket.on("data", (bytes: Buffer) => {
    try {
      for (const line of lines.push(bytes)) if (!socket.destroyed) onLine(line);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      socket.destroy();
    }
  });
  socket.on("error", () => {}); // "close" follows.
  socket.on("close", onClose);
}

/** The line as an object; an empty one when it is none: QEMU will say what it thinks of it. */
function parse(line: string): Line {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}
