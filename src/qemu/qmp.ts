import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Fault } from "../base/fault.ts";
import type { FaultCode } from "../base/fault-table.ts";
import { abortFault } from "./abort-fault.ts";
import { QmpConnection } from "./qmp-connection.ts";
import type { QmpCommand, QmpEvent, QmpGreeting } from "./qmp-messages.ts";

/** How long a server that accepted the connection may take to greet: one that holds another client never does. */
export const qmpGreetingTimeoutMs = 2000;
/** How long one command may take: QEMU's own bound for a drained disk is far below. */
export const qmpCommandTimeoutMs = 30_000;

/** What a command's answer was, when several were sent at once. */
export type QmpAnswer =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly fault: Fault };

export interface QmpCallOptions {
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

/** An open QMP connection in command mode. */
export interface Qmp extends AsyncDisposable {
  readonly path: string;
  readonly greeting: QmpGreeting;
  /** Aborts, with the Fault as reason, when the connection ends for whatever cause. */
  readonly closed: AbortSignal;
  /** Resolves to what the command returned. QMP_REFUSED (details: command, class, desc), QMP_CLOSED, TIMEOUT, ABORTED. */
  execute(
    command: string,
    args?: Readonly<Record<string, unknown>>,
    options?: QmpCallOptions,
  ): Promise<unknown>;
  /** Sends all commands in one write; the answers are in order. Rejects only when an answer can not be had at all. */
  executeAll(
    commands: readonly QmpCommand[],
    options?: QmpCallOptions,
  ): Promise<readonly QmpAnswer[]>;
  /** Calls `listener` for every event from now on, in order; ends when the returned handle is disposed. */
  onEvent(listener: (event: QmpEvent) => void): Disposable;
  /**
   * Resolves to the first event from now on that fulfils `predicate`. It listens from the moment of the call: call it before
   * sending what causes the event, and none is lost. QMP_CLOSED, TIMEOUT, ABORTED.
   */
  waitForEvent(
    predicate: (event: QmpEvent) => boolean,
    options?: QmpCallOptions,
  ): Promise<QmpEvent>;
}

export interface QmpOptions {
  /** A unix socket that speaks QMP. */
  readonly path: string;
  readonly signal?: AbortSignal;
  readonly greetingTimeoutMs?: number;
  readonly commandTimeoutMs?: number;
  /** Sees every command before it is sent. */
  readonly onCommand?: ((command: QmpCommand) => void) | undefined;
}

/** Connects and negotiates. QMP_MISSING, QMP_DENIED, QMP_BUSY, QMP_CLOSED, QMP_PROTOCOL, ABORTED. */
export async function connectQmp(options: QmpOptions): Promise<Qmp> {
  const { path, signal } = options;
  const greetingTimeoutMs = options.greetingTimeoutMs ?? qmpGreetingTimeoutMs;
  const timeout = AbortSignal.timeout(greetingTimeoutMs);
  const bound = AbortSignal.any(signal ? [signal, timeout] : [timeout]);
  const socket = await openSocket(path, bound, signal);
  const connection = new QmpConnection(socket, {
    path,
    commandTimeoutMs: options.commandTimeoutMs ?? qmpCommandTimeoutMs,
    onCommand: options.onCommand,
  });
  try {
    await connection.negotiate(bound);
    return connection;
  } catch (error) {
    await connection[Symbol.asyncDispose]();
    if (bound.aborted) throw boundFault(path, signal);
    throw error;
  }
}

async function openSocket(
  path: string,
  bound: AbortSignal,
  signal: AbortSignal | undefined,
): Promise<Socket> {
  if (bound.aborted) throw boundFault(path, signal);
  const socket = connect({ path });
  try {
    await once(socket, "connect", { signal: bound });
    return socket;
  } catch (error) {
    socket.on("error", () => {}); // What comes after the verdict below is of no interest.
    socket.destroy();
    if (bound.aborted) throw boundFault(path, signal);
    throw connectFault(path, error);
  }
}

function boundFault(path: string, signal: AbortSignal | undefined): Fault {
  if (signal?.aborted) return abortFault(signal, `connecting to ${path}`);
  return new Fault("QMP_BUSY", `${path} gives no greeting: another client holds it`, { path });
}

const faultOfErrno: Readonly<Record<string, FaultCode>> = {
  EACCES: "QMP_DENIED",
  EPERM: "QMP_DENIED",
  // The queue of a listening unix socket is full: somebody else is waiting already.
  EAGAIN: "QMP_BUSY",
};

function connectFault(path: string, error: unknown): Fault {
  const errno = error instanceof Error && "code" in error ? String(error.code) : "unknown";
  const code = faultOfErrno[errno] ?? "QMP_MISSING";
  return new Fault(code, `${path}: ${errno}`, { path, reason: errno }, { cause: error });
}
