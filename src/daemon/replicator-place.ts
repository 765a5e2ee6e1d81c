import { join } from "node:path";
import { Fault, isFault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import type { Config } from "../cli/config-schema.ts";
import type { HeldLock, VaultLocks } from "../journal/vault-locks.ts";

/** The file whose lock the one replicator of a state directory holds. */
function lockFile(state: string): string {
  return join(state, "replicator.lock");
}

/** Where points wait. */
export function spoolDirectory(config: Config, state: string): string {
  return config.spool.directory ?? join(state, "spool");
}

/** Takes the state directory for this process. STATE_BUSY when another has it. */
export async function takeState(
  files: FileSystem,
  locks: VaultLocks,
  state: string,
): Promise<HeldLock> {
  const path = lockFile(state);
  try {
    await using _made = await files.open(path, "create", { isPrivate: true });
  } catch (error) {
    if (!isFault(error, "STORAGE_FAILED") || error.details.reason !== "exists") throw error;
  }
  const lock = await locks.take(path);
  if (lock !== null) return lock;
  throw new Fault("STATE_BUSY", `${state}: another replicator runs from it`, { path: state });
}
