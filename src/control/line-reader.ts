import type { Socket } from "node:net";
import { Fault } from "../base/fault.ts";

/**
 * The lines of a socket, without their ends. A line longer than `lengthBytesMax` ends the reading with CONTROL_PROTOCOL;
 * how long to wait is the caller's business.
 */
export async function* readLines(
  socket: Socket,
  lengthBytesMax: number,
): AsyncGenerator<string, void, undefined> {
  let parts: Buffer[] = [];
  let heldBytes = 0;
  // Leaving early must not close a socket that still has to carry the answer.
  const chunks = socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  for await (const chunk of chunks) {
    let rest = chunk;
    for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
      refuseLong(heldBytes + end, lengthBytesMax);
      yield Buffer.concat([...parts, rest.subarray(0, end)]).toString();
      parts = [];
      heldBytes = 0;
      rest = rest.subarray(end + 1);
    }
    heldBytes += rest.length;
    refuseLong(heldBytes, lengthBytesMax);
    if (rest.length > 0) parts.push(rest);
  }
}

function refuseLong(lengthBytes: number, lengthBytesMax: number): void {
  if (lengthBytes <= lengthBytesMax) return;
  throw new Fault("CONTROL_PROTOCOL", `a line of more than ${lengthBytesMax} bytes`, {
    lengthBytesMax,
  });
}
