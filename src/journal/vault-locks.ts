/**
 * Mutual exclusion between processes on one vault. A lock ends when it is disposed or when its process dies, whichever is
 * first; nothing that a dead process left can keep a vault closed.
 */
export interface VaultLocks {
  /**
   * Takes the lock that the file at `path` stands for; null when somebody holds it, in this process or another.
   * The file must be there (STORAGE_MISSING), and nothing but this may open it: its content belongs to the lock.
   */
  take(path: string): Promise<HeldLock | null>;
}

/** A lock that is held. Disposing releases it; the file stays. */
export interface HeldLock extends AsyncDisposable {
  readonly path: string;
}
