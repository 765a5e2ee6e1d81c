import { type FileHandle, open } from "node:fs/promises";
import { basename, dirname } from "node:path";

/** A unix socket's path that always fits: through an open directory, however deep that lies. Disposing closes it. */
export interface SocketPlace extends AsyncDisposable {
  /** At most 107 characters, valid in this process until disposed. */
  readonly path: string;
}

/** Opens the directory of a socket. Rejects with the bare error of the host when it is not there. */
export async function openSocketPlace(socketPath: string): Promise<SocketPlace> {
  const directory: FileHandle = await open(dirname(socketPath), "r");
  return {
    path: `/proc/self/fd/${directory.fd}/${basename(socketPath)}`,
    [Symbol.asyncDispose]: () => directory.close(),
  };
}
