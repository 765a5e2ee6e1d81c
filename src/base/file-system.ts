/**
 * The files beneath vault and scratch, as a port: the simulator tears writes, loses what was not synced and runs out of
 * room here. Every method rejects with a STORAGE_* fault that names the path, never with a bare error of the host.
 */
export interface FileSystem {
  /**
   * Whether calls are done by threads of the host, in an order that nobody promises. Then hashing and compressing may use such
   * threads too; otherwise everything happens on this thread and can be replayed.
   */
  readonly usesThreads?: boolean;
  /**
   * `read`: must exist, read only. `create`: must not exist (STORAGE_FAILED with `reason: "exists"`), read and write.
   * `write`: must exist, read and write. What is created `isPrivate` may be read by this user alone, where the host knows users.
   */
  open(
    path: string,
    mode: "read" | "create" | "write",
    options?: { readonly isPrivate?: boolean },
  ): Promise<StoredFile>;
  /** Atomic replacement within one file system; durable only after `syncDirectory` of the target's directory. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file; one that is not there is not an error. Durable only after `syncDirectory`. */
  remove(path: string): Promise<void>;
  /** Removes a directory and all in it; one that is not there is not an error. */
  removeDirectory(path: string): Promise<void>;
  /** Names in a directory, sorted; a directory that is not there has none. */
  list(directory: string): Promise<readonly string[]>;
  /** Makes a directory and its parents, private ones for this user alone; one that is there already stays as it is. */
  makeDirectory(path: string, options?: { readonly isPrivate?: boolean }): Promise<void>;
  /** Makes creations, renames and removals in `directory` durable. */
  syncDirectory(directory: string): Promise<void>;
  /** What is at `path`, or null. */
  stat(path: string): Promise<StoredFileStatus | null>;
  /** Bytes that this process could still write beneath `path` (a directory that exists). */
  freeBytes(path: string): Promise<number>;
}

/** What is known of a file without opening it. */
export interface StoredFileStatus {
  readonly kind: "file" | "directory" | "other";
  readonly sizeBytes: number;
  /** Bytes that the file occupies on the medium; less than `sizeBytes` when sparse. */
  readonly allocatedBytes: number;
  readonly modifiedAtMs: number;
}

/** An open file. Positions are explicit: any number of reads and writes may be in flight. */
export interface StoredFile extends AsyncDisposable {
  readonly path: string;
  /** Fills `into` from `positionBytes`; returns the bytes read, fewer than asked only at the end of the file. */
  read(into: Uint8Array, positionBytes: number): Promise<number>;
  /** Writes all of `from` at `positionBytes`, growing the file as needed. The caller keeps the buffer unchanged till then. */
  write(from: Uint8Array, positionBytes: number): Promise<void>;
  /** Sets the size; what is added reads as zeroes and takes no room. */
  truncate(sizeBytes: number): Promise<void>;
  /** Makes a run read as zeroes and gives its room back where the medium can; otherwise writes zeroes. */
  punch(positionBytes: number, lengthBytes: number): Promise<void>;
  /** fdatasync: what was written before is durable when this resolves. */
  sync(): Promise<void>;
  sizeBytes(): Promise<number>;
}
