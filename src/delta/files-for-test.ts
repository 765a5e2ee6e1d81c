import type { FileSystem } from "../base/file-system.ts";
import type { PointHeader } from "../core/point.ts";
import type { Codec } from "../format/codec.ts";
import { createDelta, type FinishedDelta } from "./writer.ts";

/** What a delta of a test holds. */
export interface ContentForTest {
  readonly disk: number;
  readonly offsetBytes: number;
  /** Null: a run of zeroes of `lengthBytes`. */
  readonly data: Uint8Array | null;
  readonly lengthBytes: number;
}

/** Writes and finishes a delta. */
export async function deltaForTest(
  files: FileSystem,
  path: string,
  options: { header: PointHeader; codec: Codec; content: readonly ContentForTest[] },
): Promise<FinishedDelta> {
  const { header, codec } = options;
  const { signal } = new AbortController();
  await using writer = await createDelta({ files, path, header, codec, signal });
  for (const { disk, offsetBytes, data, lengthBytes } of options.content) {
    if (data === null) await writer.zero(disk, offsetBytes, lengthBytes);
    else await writer.write(disk, offsetBytes, data);
  }
  return await writer.finish();
}

/** All bytes of a file. */
export async function bytesOf(files: FileSystem, path: string): Promise<Buffer> {
  await using file = await files.open(path, "read");
  const bytes = Buffer.alloc(await file.sizeBytes());
  await file.read(bytes, 0);
  return bytes;
}

/** Makes or replaces a file. */
export async function putBytes(files: FileSystem, path: string, bytes: Uint8Array): Promise<void> {
  await files.remove(path);
  await using file = await files.open(path, "create");
  await file.write(bytes, 0);
}
