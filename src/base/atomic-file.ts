import { dirname } from "node:path";
import { isFault } from "./fault.ts";
import type { FileSystem } from "./file-system.ts";

/** Replaces the file at `path` with `content`, whole or not at all, durable when it resolves. */
export async function writeFileAtomically(
  files: FileSystem,
  path: string,
  content: Uint8Array,
  options: { readonly isPrivate?: boolean } = {},
): Promise<void> {
  const partPath = `${path}.part`;
  await files.remove(partPath);
  {
    await using file = await files.open(partPath, "create", options);
    await file.write(content, 0);
    await file.sync();
  }
  await files.rename(partPath, path);
  await files.syncDirectory(dirname(path));
}

/** The content of a small file, or null when it is not there. More than `lengthBytesMax` is not read: null is not returned, it throws. */
export async function readSmallFile(
  files: FileSystem,
  path: string,
  lengthBytesMax: number,
): Promise<Uint8Array | null> {
  try {
    await using file = await files.open(path, "read");
    const sizeBytes = await file.sizeBytes();
    if (sizeBytes > lengthBytesMax) {
      throw new RangeError(`${path} has ${sizeBytes} bytes, more than ${lengthBytesMax}`);
    }
    const content = new Uint8Array(sizeBytes);
    return content.subarray(0, await file.read(content, 0));
  } catch (error) {
    if (isFault(error, "STORAGE_MISSING")) return null;
    throw error;
  }
}
