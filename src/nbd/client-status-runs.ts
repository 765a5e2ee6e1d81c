import type { NbdRequest, StatusRun } from "./client-exchange.ts";

/**
 * The descriptors of one context in a BLOCK_STATUS reply, neighbours with equal flags joined; or a sentence that says what
 * is wrong with them. The last may run past the request (servers know more than was asked), but not past the export.
 */
export function parseStatusRuns(
  descriptors: Buffer,
  request: Pick<NbdRequest, "offsetBytes" | "lengthBytes">,
  sizeBytes: number,
): readonly StatusRun[] | string {
  const runs: { lengthBytes: number; flags: number }[] = [];
  let coveredBytes = 0;
  for (let at = 0; at < descriptors.length; at += 8) {
    const lengthBytes = descriptors.readUInt32BE(at);
    const flags = descriptors.readUInt32BE(at + 4);
    if (lengthBytes === 0) return "an extent of no length";
    if (coveredBytes >= request.lengthBytes) return "an extent beyond the request";
    if (request.offsetBytes + coveredBytes + lengthBytes > sizeBytes) {
      return "an extent beyond the export";
    }
    coveredBytes += lengthBytes;
    const last = runs.at(-1);
    if (last?.flags === flags) last.lengthBytes += lengthBytes;
    else runs.push({ lengthBytes, flags });
  }
  return runs;
}
