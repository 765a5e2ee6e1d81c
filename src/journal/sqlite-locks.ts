import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { Fault } from "../base/fault.ts";
import type { HeldLock, VaultLocks } from "./vault-locks.ts";

/** Primary result codes of SQLite (sqlite.org/rescode.html). */
const sqliteBusy = 5;
const sqliteCannotOpen = 14;

/**
 * Locks as exclusive SQLite transactions: byte-range locks of the kernel, so a killed process holds nothing, and SQLite
 * itself keeps two connections of one process apart, which bare POSIX locks would not.
 */
export function sqliteLocks(): VaultLocks {
  return { take: async (path) => takeExclusive(path) };
}

function takeExclusive(path: string): HeldLock | null {
  const database = openDatabase(path);
  try {
    database.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    if (resultCode(error) === sqliteBusy) return null;
    throw new Fault("STORAGE_FAILED", `${path}: cannot be locked`, { path }, { cause: error });
  }
  return { path, [Symbol.asyncDispose]: async () => database.close() };
}

function openDatabase(path: string): DatabaseSync {
  const url = pathToFileURL(path);
  url.searchParams.set("mode", "rw"); // Never made here: a pin that its owner removed must stay removed.
  try {
    return new DatabaseSync(url, { timeout: 0 });
  } catch (error) {
    const isMissing = resultCode(error) === sqliteCannotOpen;
    const code = isMissing ? "STORAGE_MISSING" : "STORAGE_FAILED";
    throw new Fault(code, `${path}: cannot be opened as a lock`, { path }, { cause: error });
  }
}

function resultCode(error: unknown): number | null {
  if (!(error instanceof Error) || !("errcode" in error)) return null;
  return typeof error.errcode === "number" ? error.errcode % 256 : null;
}
