import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { runTool } from "../src/qemu/run-tool.ts";
import type { BareCommand, BareQmp } from "./bare-qmp.ts";

const granularity = 65_536;

/** The QMP commands of an empty cycle, as a script would send them: no reading, no file, no checks. */
export class BareCycle {
  readonly #qmp: BareQmp;
  readonly #directory: string;
  readonly #nodes: readonly string[];
  readonly #diskBytes: number;
  #head = "peer-0";
  #count = 0;

  constructor(options: {
    qmp: BareQmp;
    directory: string;
    nodes: readonly string[];
    diskBytes: number;
  }) {
    this.#qmp = options.qmp;
    this.#directory = options.directory;
    this.#nodes = options.nodes;
    this.#diskBytes = options.diskBytes;
  }

  /** Starts recording and prepares an empty overlay. */
  async prepare(): Promise<void> {
    const emptyPath = join(this.#directory, "peer-empty.qcow2");
    await runTool("qemu-img", [
      ...["create", "-q", "-f", "qcow2", emptyPath],
      String(this.#diskBytes),
    ]);
    await this.#qmp.burst([this.#transaction((node) => [this.#addBitmap(node, this.#head, true)])]);
  }

  /** One cycle; milliseconds from the first command to the last answer. */
  async run(): Promise<number> {
    for (const node of this.#nodes) {
      await copyFile(join(this.#directory, "peer-empty.qcow2"), this.#overlayPath(node));
    }
    this.#count += 1;
    const next = `peer-${this.#count}`;
    const frozen = `${next}-frozen`;
    const startedAtMs = performance.now();
    await this.#open(next, frozen);
    await this.#close(frozen);
    const removals = this.#each((node) => ({
      execute: "block-dirty-bitmap-remove",
      arguments: { node, name: this.#head },
    }));
    await this.#qmp.burst([...removals, queryNodes]);
    this.#head = next;
    return performance.now() - startedAtMs;
  }

  async #open(next: string, frozen: string): Promise<void> {
    const overlays = this.#nodes.flatMap((node) => [
      {
        execute: "blockdev-add",
        arguments: {
          driver: "qcow2",
          "node-name": `peer-f-${node}`,
          cache: { "no-flush": true },
          file: {
            driver: "file",
            "node-name": `peer-s-${node}`,
            filename: this.#overlayPath(node),
            cache: { "no-flush": true },
          },
          backing: node,
        },
      },
      {
        execute: "block-set-write-threshold",
        arguments: { "node-name": `peer-s-${node}`, "write-threshold": 2 ** 28 },
      },
    ]);
    const transaction = this.#transaction((node) => [
      this.#addBitmap(node, next, true),
      this.#addBitmap(node, frozen, false),
      {
        type: "block-dirty-bitmap-merge",
        data: { node, target: frozen, bitmaps: [this.#head] },
      },
      {
        type: "blockdev-backup",
        data: {
          "job-id": `peer-j-${node}`,
          device: node,
          target: `peer-f-${node}`,
          sync: "none",
          "filter-node-name": `peer-w-${node}`,
        },
      },
    ]);
    const exports = this.#each((node) => ({
      execute: "block-export-add",
      arguments: {
        type: "nbd",
        id: `peer-x-${node}`,
        "node-name": `peer-f-${node}`,
        name: `peer-x-${node}`,
        writable: false,
        bitmaps: [frozen],
      },
    }));
    await this.#qmp.burst([...overlays, transaction, ...exports, queryNodes]);
  }

  async #close(frozen: string): Promise<void> {
    const count = this.#nodes.length;
    const deleted = this.#qmp.events("BLOCK_EXPORT_DELETED", count);
    await this.#qmp.burst(
      this.#each((node) => ({
        execute: "block-export-del",
        arguments: { id: `peer-x-${node}`, mode: "hard" },
      })),
    );
    await deleted;
    const cancelled = this.#qmp.events("BLOCK_JOB_CANCELLED", count);
    await this.#qmp.burst(
      this.#each((node) => ({
        execute: "block-job-cancel",
        arguments: { device: `peer-j-${node}`, force: true },
      })),
    );
    await cancelled;
    await this.#qmp.burst([
      ...this.#each((node) => ({
        execute: "blockdev-del",
        arguments: { "node-name": `peer-f-${node}` },
      })),
      ...this.#each((node) => ({
        execute: "block-dirty-bitmap-remove",
        arguments: { node, name: frozen },
      })),
    ]);
  }

  #addBitmap(node: string, name: string, isRecording: boolean) {
    const kept = isRecording ? { persistent: true } : { persistent: false, disabled: true };
    return { type: "block-dirty-bitmap-add", data: { node, name, granularity, ...kept } };
  }

  #transaction(actionsOf: (node: string) => readonly unknown[]): BareCommand {
    return {
      execute: "transaction",
      arguments: { actions: this.#nodes.flatMap((node) => actionsOf(node)) },
    };
  }

  #each(commandOf: (node: string) => BareCommand): readonly BareCommand[] {
    return this.#nodes.map(commandOf);
  }

  #overlayPath(node: string): string {
    return join(this.#directory, `peer-${node}.qcow2`);
  }
}

const queryNodes: BareCommand = {
  execute: "query-named-block-nodes",
  arguments: { flat: true },
};
