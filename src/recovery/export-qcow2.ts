import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FileSystem } from "../base/file-system.ts";
import type { View } from "../core/journal.ts";
import type { PointDisk } from "../core/point.ts";
import { fixedExports, type NbdExport } from "../nbd/export.ts";
import { serveNbd } from "../nbd/server.ts";
import { runTool } from "../qemu/run-tool.ts";
import { makeWhole, type OnBytes } from "./export-raw.ts";
import { viewExport } from "./view-export.ts";

/** One disk has one client here, so its name need not tell anything. */
const exportName = "disk";

/**
 * Writes a disk of a point to a new qcow2 image at `path`: qemu-img reads it from our own NBD server. The file has its name only
 * when it is whole and durable; aborted or failed, nothing is left. TOOL_MISSING, TOOL_FAILED, ABORTED, STORAGE_*.
 */
export async function exportQcow2(options: {
  readonly view: View;
  readonly disk: PointDisk;
  readonly files: FileSystem;
  readonly path: string;
  readonly signal: AbortSignal;
  readonly onBytes?: OnBytes;
}): Promise<void> {
  const { view, disk, files, path, signal, onBytes } = options;
  // A socket's path is short; the directory that is exported to may not be.
  const directory = await mkdtemp(join(tmpdir(), "afterimage-export-"));
  try {
    const exported = counted(viewExport(view, disk), onBytes);
    await using server = await serveNbd({
      listen: { path: join(directory, "nbd") },
      exports: fixedExports(new Map([[exportName, exported]])),
      signal,
    });
    await makeWhole(files, path, async (partPath) => {
      const image = ["convert", "-f", "raw", "-O", "qcow2", server.uri(exportName), partPath];
      await runTool("qemu-img", image, { signal });
      await using file = await files.open(partPath, "write");
      await file.sync();
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function counted(inner: NbdExport, onBytes: OnBytes | undefined): NbdExport {
  return {
    ...inner,
    read: async (offsetBytes, into, signal) => {
      await inner.read(offsetBytes, into, signal);
      onBytes?.(into.length);
    },
  };
}
