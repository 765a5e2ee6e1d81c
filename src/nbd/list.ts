import { unsupported } from "./client-access.ts";
import {
  type Greeting,
  greet,
  haggle,
  refusal,
  sendAbort,
  upgrade,
  violation,
} from "./client-handshake.ts";
import { encodeQueries, readContext } from "./client-negotiation.ts";
import { completeDial, type NbdDialOptions } from "./client-options.ts";
import { type Wire, withHandshake } from "./client-socket.ts";
import { stringBytesMax } from "./limits.ts";
import { option, optionReply } from "./protocol.ts";
import { readText } from "./wire.ts";

/** An export as a server lists it. */
export interface ListedExport {
  readonly name: string;
  /** For people; empty when the server says nothing. */
  readonly description: string;
}

/** The exports a server tells of; some serve exports they do not list. Rejects like `connectNbd`. */
export async function listNbdExports(options: NbdDialOptions): Promise<readonly ListedExport[]> {
  return await askServer(options, async (wire) => {
    const outcome = await haggle(wire, option.list, new Uint8Array(0));
    if (!outcome.isAccepted) throw refusal("listing exports", outcome);
    return outcome.answers.map(({ type, data }) => {
      const nameBytes = type === optionReply.server && data.length >= 4 ? data.readUInt32BE(0) : -1;
      const isSane = nameBytes >= 0 && nameBytes <= Math.min(stringBytesMax, data.length - 4);
      const name = isSane ? readText(data.subarray(4, 4 + nameBytes)) : null;
      const description = isSane ? readText(data.subarray(4 + nameBytes)) : null;
      if (name === null || description === null) throw violation("a malformed export in the list");
      return { name, description };
    });
  });
}

/** The metadata contexts of an export that match one of `queries` (all of them when there are none). */
export async function listNbdMetaContexts(
  options: NbdDialOptions & { exportName: string; queries?: readonly string[] },
): Promise<readonly string[]> {
  return await askServer(options, async (wire) => {
    const structured = await haggle(wire, option.structuredReply, new Uint8Array(0));
    if (!structured.isAccepted) throw refusal("structured replies", structured);
    const wish = { exportName: options.exportName, metaContexts: options.queries ?? [] };
    const outcome = await haggle(wire, option.listMetaContext, encodeQueries(wish));
    const details = { exportName: options.exportName };
    if (!outcome.isAccepted) throw refusal("listing metadata contexts", outcome, details);
    return outcome.answers.map((answer) => readContext(answer).name);
  });
}

async function askServer<Result>(
  options: NbdDialOptions,
  ask: (wire: Wire) => Promise<Result>,
): Promise<Result> {
  const dial = completeDial(options);
  return await withHandshake(dial, async (wire) => {
    const greeting: Greeting = await greet(wire);
    if (dial.tls !== null) await upgrade(wire, greeting);
    if (!greeting.isFixed) throw unsupported("fixed newstyle negotiation", "");
    const result = await ask(wire);
    sendAbort(wire);
    await wire[Symbol.asyncDispose]();
    return result;
  });
}
