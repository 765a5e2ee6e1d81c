import { blockSizeBytes } from "../core/limits.ts";
import type { QmpCommand } from "./qmp-messages.ts";

// Every QMP command that replication sends is built here, in the forms that QEMU 5.2 documents and no newer one.

/** One action of a `transaction`. */
export interface TransactionAction {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

const command = (execute: string, args: QmpCommand["arguments"] = {}): QmpCommand => ({
  execute,
  arguments: args,
});

// -- questions

/** All nodes of the block graph, without the images beneath images. */
export const queryNodes = (): QmpCommand => command("query-named-block-nodes", { flat: true });
/** The guest's drives. Not in the storage daemon. */
export const queryDrives = (): QmpCommand => command("query-block");
/** What each device of the guest has read and written. */
export const queryBlockStats = (): QmpCommand => command("query-blockstats");
export const queryExports = (): QmpCommand => command("query-block-exports");
export const queryJobs = (): QmpCommand => command("query-jobs");
export const queryStatus = (): QmpCommand => command("query-status");
export const queryMemory = (): QmpCommand => command("query-memory-size-summary");
export const queryCpus = (): QmpCommand => command("query-cpus-fast");
/** Threads of QEMU that may serve disks. Not in the storage daemon. */
export const queryIothreads = (): QmpCommand => command("query-iothreads");
/** A property of an object in QEMU's object model. */
export const getProperty = (path: string, property: string): QmpCommand =>
  command("qom-get", { path, property });

// -- nodes

/** A qcow2 overlay in a file of ours, over a node that lives. Flushing is skipped: nobody reads it after a crash. */
export const addFleece = (options: {
  readonly fleeceNode: string;
  readonly scratchNode: string;
  readonly path: string;
  readonly backing: string;
}): QmpCommand =>
  command("blockdev-add", {
    driver: "qcow2",
    "node-name": options.fleeceNode,
    cache: { "no-flush": true },
    file: {
      driver: "file",
      "node-name": options.scratchNode,
      filename: options.path,
      cache: { "no-flush": true },
    },
    backing: options.backing,
  });

/** An image file opened for writing, with what the guest trims given back. */
export const addImage = (options: {
  readonly node: string;
  readonly path: string;
  readonly format: "raw" | "qcow2";
}): QmpCommand =>
  command("blockdev-add", {
    driver: options.format,
    "node-name": options.node,
    discard: "unmap",
    file: { driver: "file", filename: options.path, discard: "unmap" },
  });

/** Closes a node and what was opened only for it. */
export const deleteNode = (node: string): QmpCommand =>
  command("blockdev-del", { "node-name": node });

/** Asks for one BLOCK_WRITE_THRESHOLD when a write goes beyond this offset of the node. */
export const setWriteThreshold = (node: string, thresholdBytes: number): QmpCommand =>
  command("block-set-write-threshold", { "node-name": node, "write-threshold": thresholdBytes });

// -- bitmaps and the instant

/** All of the actions or none. */
export const transaction = (actions: readonly TransactionAction[]): QmpCommand =>
  command("transaction", { actions });

/** Starts recording on a node. */
export const addRecordingBitmap = (
  node: string,
  name: string,
  isPersistent: boolean,
): TransactionAction => ({
  type: "block-dirty-bitmap-add",
  data: { node, name, granularity: blockSizeBytes, persistent: isPersistent },
});

/** Adds an empty bitmap that does not record; gone when QEMU ends. */
export const addFrozenBitmap = (node: string, name: string): TransactionAction => ({
  type: "block-dirty-bitmap-add",
  data: { node, name, granularity: blockSizeBytes, persistent: false, disabled: true },
});

/** Makes a bitmap clean; it goes on recording. */
export const clearBitmap = (node: string, name: string): TransactionAction => ({
  type: "block-dirty-bitmap-clear",
  data: { node, name },
});

/** Adds what one bitmap has to another. */
export const mergeBitmap = (node: string, from: string, target: string): TransactionAction => ({
  type: "block-dirty-bitmap-merge",
  data: { node, target, bitmaps: [from] },
});

/** Copies what the guest is about to overwrite into the target; copies nothing else. */
export const startCopyBeforeWrite = (options: {
  readonly job: string;
  readonly node: string;
  readonly target: string;
  readonly filterNode: string;
}): TransactionAction => ({
  type: "blockdev-backup",
  data: {
    "job-id": options.job,
    device: options.node,
    target: options.target,
    sync: "none",
    "filter-node-name": options.filterNode,
  },
});

/** Removes a bitmap, from the image as well. */
export const removeBitmap = (node: string, name: string): QmpCommand =>
  command("block-dirty-bitmap-remove", { node, name });

/** Ends a job without waiting for its end; JOB_STATUS_CHANGE tells that. */
export const cancelJob = (job: string): QmpCommand =>
  command("block-job-cancel", { device: job, force: true });

// -- exports

/** Any number of connections. */
export const startNbdServer = (path: string): QmpCommand =>
  command("nbd-server-start", {
    addr: { type: "unix", data: { path } },
    "max-connections": 0,
  });

/** On an address of QEMU's own host, for clients with a certificate of the same authority. */
export const startTlsNbdServer = (options: {
  readonly host: string;
  readonly port: number;
  readonly credentials: string;
}): QmpCommand =>
  command("nbd-server-start", {
    addr: { type: "inet", data: { host: options.host, port: String(options.port) } },
    "tls-creds": options.credentials,
    "max-connections": 0,
  });

/** Certificates in a directory of QEMU's host (`ca-cert.pem`, `server-cert.pem`, `server-key.pem`), for a server that asks for its clients'. */
export const addTlsCredentials = (id: string, directory: string): QmpCommand =>
  command("object-add", {
    "qom-type": "tls-creds-x509",
    id,
    endpoint: "server",
    dir: directory,
    "verify-peer": true,
  });
/** Removes an object that was added. */
export const deleteObject = (id: string): QmpCommand => command("object-del", { id });
/** The objects that users have made. */
export const listObjects = (): QmpCommand => command("qom-list", { path: "/objects" });

/** Ends every export with it. */
export const stopNbdServer = (): QmpCommand => command("nbd-server-stop");

/** A read-only export; plain strings find a bitmap down the backing chain. */
export const addExport = (node: string, exportId: string, bitmaps: readonly string[]): QmpCommand =>
  command("block-export-add", {
    type: "nbd",
    id: exportId,
    "node-name": node,
    name: exportId,
    writable: false,
    ...(bitmaps.length > 0 ? { bitmaps } : {}),
  });

/** Drops the export's clients too. */
export const deleteExport = (exportId: string): QmpCommand =>
  command("block-export-del", { id: exportId, mode: "hard" });

// -- the machine

/** Holds the guest still; returns when its writes are in the images. */
export const stopMachine = (): QmpCommand => command("stop");
/** Lets the guest run. */
export const continueMachine = (): QmpCommand => command("cont");
/** Ends the storage daemon in order: images are flushed, persistent bitmaps stored. */
export const quit = (): QmpCommand => command("quit");
