import type { Socket } from "node:net";
import { type Duplex, duplexPair } from "node:stream";
import type { TLSSocket } from "node:tls";
import { channelContract } from "../../sim/channel-contract.ts";
import type { Channel } from "../core/channel.ts";
import { tlsChannel } from "./channel.ts";

/** A channel over a stream that takes no buffers of ours: what another Node may have instead. */
function channelOver(stream: Duplex): Channel {
  let writtenBytes = 0;
  let readBytes = 0;
  const write = stream.write.bind(stream) as (bytes: Uint8Array, done: () => void) => boolean;
  stream.write = ((bytes: Uint8Array, done: () => void) => {
    writtenBytes += bytes.length;
    return write(bytes, done);
  }) as typeof stream.write;
  stream.on("data", (bytes: Uint8Array) => (readBytes += bytes.length));
  stream.pause();
  const raw = {
    get bytesWritten() {
      return writtenBytes;
    },
    get bytesRead() {
      return readBytes;
    },
    destroy: () => {},
  };
  const peer = { name: "site-a", role: "replicator", id: "aaaaaaaaaaaaaaaa", address: "" } as const;
  return tlsChannel({
    socket: stream as unknown as TLSSocket,
    raw: raw as unknown as Socket,
    peer,
  });
}

channelContract("a channel whose socket takes no buffers of ours", async () => {
  const [one, other] = duplexPair();
  const near = channelOver(one);
  const far = channelOver(other);
  return {
    near,
    far,
    settle: (promise) => promise,
    [Symbol.asyncDispose]: async () => {
      await near[Symbol.asyncDispose]();
      await far[Symbol.asyncDispose]();
    },
  };
});
