import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import type { Clock } from "../../src/base/clock.ts";

/** A relay before a unix socket under which everything a client says arrives `delayMs` late. Disposing closes it. */
export async function slowSocket(options: {
  readonly path: string;
  readonly target: string;
  readonly delayMs: number;
  readonly clock: Clock;
}): Promise<AsyncDisposable> {
  const { clock, delayMs } = options;
  const sockets = new Set<Socket>();
  const keep = (socket: Socket, other: () => Socket) => {
    sockets.add(socket);
    socket.on("error", () => {}); // "close" follows.
    socket.on("close", () => {
      sockets.delete(socket);
      other().destroy();
    });
  };
  const server = createServer((client) => {
    const machine = connect({ path: options.target });
    keep(client, () => machine);
    keep(machine, () => client);
    machine.on("data", (bytes: Buffer) => client.write(bytes));
    client.on("data", (bytes: Buffer) => {
      // Timers of one length fire in the order they were set.
      void clock.sleep(delayMs).then(() => machine.write(bytes));
    });
  });
  server.listen(options.path);
  await once(server, "listening");
  return {
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
