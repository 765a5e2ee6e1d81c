/**
 * Calls `onReload` at each SIGHUP until disposed. While somebody reloads, SIGHUP does not interrupt the process (interrupts.ts).
 */
export function reloadAtHangup(onReload: () => void): Disposable {
  process.on("SIGHUP", onReload);
  return { [Symbol.dispose]: () => void process.off("SIGHUP", onReload) };
}

/** Whether SIGHUP means to read the configuration again. */
export function isReloading(): boolean {
  // One listener is the interruption's own.
  return process.listenerCount("SIGHUP") > 1;
}
