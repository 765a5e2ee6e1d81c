import assert from "node:assert/strict";
import { type Fault, isFault } from "../base/fault.ts";
import type { FaultCode } from "../base/fault-table.ts";
import { connectNbd, type NbdClient } from "./client.ts";
import type { NbdClientOptions } from "./client-options.ts";
import { type ScriptedPeer, scriptedServer, uint64 } from "./test-hostile-server.ts";
import { uint32 } from "./wire.ts";

export type Script = (peer: ScriptedPeer) => Promise<void>;

/** The Fault that `work` rejects with; anything else fails the test. */
export async function faultOf(work: Promise<unknown>): Promise<Fault> {
  try {
    await work;
  } catch (error) {
    assert(isFault(error), `expected a Fault, got ${String(error)}`);
    return error;
  }
  throw new assert.AssertionError({ message: "expected a Fault, but it went well" });
}

/** Size of the export that `admitted` clients see. */
export const sizeBytes = 1024 * 1024;

type Wishes = Pick<NbdClientOptions, "metaContexts" | "replies" | "timeouts">;

/** Connects to a server that admits everybody and then plays `script`; runs `use` on the client. */
export async function admitted(
  options: Wishes,
  script: Script,
  use: (client: NbdClient) => Promise<void>,
) {
  await using server = await scriptedServer(async (peer) => {
    await peer.admit({ sizeBytes, contexts: options.metaContexts ?? [] });
    await script(peer);
  });
  await using client = await connectNbd({ address: server.address, ...options });
  await use(client);
}

/** A read of 4 KiB at 4 KiB meets `script` and rejects with this fault. */
export async function expectReadFault(
  options: Wishes,
  script: Script,
  code: FaultCode,
  words: RegExp,
) {
  await admitted(options, script, async (client) => {
    const fault = await faultOf(client.read(4096, new Uint8Array(4096)));
    assert.equal(fault.code, code);
    assert.match(fault.message, words);
    // The connection is gone for good, and says the same to whoever comes later.
    if (code === "NBD_PROTOCOL") {
      assert.equal((await faultOf(client.read(0, new Uint8Array(1)))).code, code);
    }
  });
}

/** Payload of a data chunk. */
export function data(offsetBytes: number, lengthBytes: number): Buffer {
  return Buffer.concat([uint64(offsetBytes), Buffer.alloc(lengthBytes, 7)]);
}

/** Payload of a hole chunk. */
export function hole(offsetBytes: number, lengthBytes: number): Buffer {
  return Buffer.concat([uint64(offsetBytes), uint32(lengthBytes)]);
}
