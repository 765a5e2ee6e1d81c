import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

/** The link between two sites on one host: a relay that can be cut. Disposing closes it. */
export interface LinkRelay extends AsyncDisposable {
  /** Where the protected site dials. */
  readonly port: number;
  /** Every connection ends and none can be made. */
  cut(): void;
  restore(): Promise<void>;
}

/** Relays from a port of the loopback to `targetPort`. */
export async function linkRelay(targetPort: number): Promise<LinkRelay> {
  const sockets = new Set<Socket>();
  const join = (outer: Socket) => {
    const inner = connect(targetPort, "127.0.0.1");
    for (const socket of [outer, inner]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => {}); // "close" follows.
      socket.on("close", () => {
        sockets.delete(socket);
        outer.destroy();
        inner.destroy();
      });
    }
    outer.pipe(inner);
    inner.pipe(outer);
  };
  const listen = async (port: number): Promise<Server> => {
    const server = createServer(join).listen(port, "127.0.0.1");
    await once(server, "listening");
    return server;
  };
  let server = await listen(0);
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the relay has no port");
  const { port } = address;
  const cut = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return {
    port,
    cut,
    restore: async () => {
      server = await listen(port);
    },
    [Symbol.asyncDispose]: async () => cut(),
  };
}
