import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { lineSplitter } from "./line-splitter.ts";
import type { QmpCommand } from "./qmp-messages.ts";

/** What a scripted server does with one command: bytes are sent as they are, objects as JSON lines with the command's id. */
export type ScriptedReply =
  | { readonly return: unknown }
  | { readonly error: { readonly class: string; readonly desc: string } }
  | { readonly raw: string }
  | "silence"
  | "hang-up";

/** A server that plays QEMU. */
export interface ScriptedQmp extends AsyncDisposable {
  readonly path: string;
  /** What came in so far, over all connections. */
  readonly commands: readonly QmpCommand[];
  /** Connections that are open now. */
  readonly connections: number;
  /** Sends an event on every open connection. */
  emit(event: string, data?: Readonly<Record<string, unknown>>): void;
  /** Sends bytes on every open connection. */
  send(text: string): void;
  /** Ends every open connection. */
  hangUp(): void;
}

const greeting = { QMP: { version: { qemu: { major: 5, minor: 2, micro: 0 }, package: "" } } };

/** A QMP server for tests that answers from a script; `qmp_capabilities` is answered for it. */
export async function scriptedQmp(
  path: string,
  answer: (command: QmpCommand, server: ScriptedQmp) => ScriptedReply,
  options: { readonly greeting?: string | null } = {},
): Promise<ScriptedQmp> {
  const commands: QmpCommand[] = [];
  const sockets = new Set<Socket>();
  const opening =
    options.greeting === undefined ? `${JSON.stringify(greeting)}\r\n` : options.greeting;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    if (opening !== null) socket.write(opening);
    const lines = lineSplitter(1_000_000);
    socket.on("data", (bytes: Buffer) => {
      for (const line of lines.push(bytes)) reply(socket, line);
    });
  });
  const scripted: ScriptedQmp = {
    path,
    commands,
    get connections() {
      return sockets.size;
    },
    emit: (event, data = {}) =>
      scripted.send(
        `${JSON.stringify({ event, data, timestamp: { seconds: 1, microseconds: 500_000 } })}\r\n`,
      ),
    send: (text) => {
      for (const socket of sockets) socket.write(text);
    },
    hangUp: () => {
      for (const socket of sockets) socket.destroy();
    },
    async [Symbol.asyncDispose]() {
      scripted.hangUp();
      const closed = once(server, "close");
      server.close();
      await closed;
    },
  };
  const reply = (socket: Socket, line: string): void => {
    const { id, ...rest } = JSON.parse(line) as QmpCommand & { id: number };
    const command = { execute: rest.execute, arguments: rest.arguments };
    if (command.execute !== "qmp_capabilities") commands.push(command);
    const said =
      command.execute === "qmp_capabilities" ? { return: {} } : answer(command, scripted);
    if (said === "hang-up") socket.destroy();
    else if (said === "silence") return;
    else if ("raw" in said) socket.write(said.raw);
    else socket.write(`${JSON.stringify({ ...said, id })}\r\n`);
  };
  server.listen(path);
  await once(server, "listening");
  return scripted;
}
