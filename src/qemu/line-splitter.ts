/**
 * Cuts a byte stream into lines. Holds at most one unfinished line; a line longer than `lengthBytesMax` throws a RangeError
 * before it is held. An empty line is passed on; a carriage return before the line feed is not part of the line.
 */
export function lineSplitter(lengthBytesMax: number): {
  push(bytes: Buffer): readonly string[];
} {
  let parts: Buffer[] = [];
  let heldBytes = 0;
  const finish = (last: Buffer): string => {
    const text = Buffer.concat([...parts, last]).toString("utf8");
    parts = [];
    heldBytes = 0;
    return text.endsWith("\r") ? text.slice(0, -1) : text;
  };
  const refuseAbove = (lengthBytes: number): void => {
    if (lengthBytes > lengthBytesMax) {
      throw new RangeError(`a line has more than ${lengthBytesMax} bytes`);
    }
  };
  return {
    push(bytes) {
      const lines: string[] = [];
      let start = 0;
      for (;;) {
        const end = bytes.indexOf(0x0a, start);
        if (end < 0) break;
        refuseAbove(heldBytes + end - start);
        lines.push(finish(bytes.subarray(start, end)));
        start = end + 1;
      }
      if (start < bytes.length) {
        refuseAbove(heldBytes + bytes.length - start);
        // A copy: the socket may reuse its buffer.
        parts.push(Buffer.from(bytes.subarray(start)));
        heldBytes += bytes.length - start;
      }
      return lines;
    },
  };
}
