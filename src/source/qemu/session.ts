import { Fault, isFault } from "../../base/fault.ts";
import type { DiskName, GroupName } from "../../core/ids.ts";
import {
  type BlockGraphNode,
  type GuestDrive,
  parseDrives,
  parseIds,
  parseNodes,
  parseTopNodes,
} from "../../qemu/block-graph.ts";
import * as commands from "../../qemu/commands.ts";
import { ownPrefix } from "../../qemu/own-names.ts";
import type { Qmp } from "../../qemu/qmp.ts";
import type { QmpCommand } from "../../qemu/qmp-messages.ts";
import { isShown, type PlacedDisk, placeDisks } from "./disk-place.ts";
import { refuseIothreads } from "./iothread.ts";
import { placeOf, type Serving } from "./serving.ts";
import type { QemuMachineSettings } from "./settings.ts";

/** What a QEMU holds: asked once, and again after anything changed it. */
export interface Graph {
  readonly nodes: readonly BlockGraphNode[];
  readonly disks: readonly PlacedDisk[];
}

/**
 * One machine's QEMU while we are connected to it: the machine's own, or a storage daemon that holds a stopped machine's
 * images. Both take the same commands.
 */
export class Session {
  readonly machine: QemuMachineSettings;
  readonly isLive: boolean;
  readonly qmp: Qmp;
  /** How this QEMU serves our exports once `serve` resolved. */
  readonly serving: Serving;
  readonly #group: GroupName;
  #graph: Graph | null = null;
  #isServing = false;
  #hasServed = false;

  constructor(options: {
    readonly group: GroupName;
    readonly machine: QemuMachineSettings;
    readonly isLive: boolean;
    readonly qmp: Qmp;
    readonly serving: Serving;
  }) {
    this.machine = options.machine;
    this.isLive = options.isLive;
    this.qmp = options.qmp;
    this.#group = options.group;
    this.serving = options.serving;
  }

  /** Runs one command. */
  async run(command: QmpCommand, signal?: AbortSignal): Promise<unknown> {
    const options = signal ? { signal } : {};
    return await this.qmp.execute(command.execute, command.arguments, options);
  }

  /** The same, but null for a command that a storage daemon in the machine's place (as tests have it) does not know. */
  async runIfKnown(command: QmpCommand, signal: AbortSignal): Promise<unknown> {
    try {
      return await this.run(command, signal);
    } catch (error) {
      if (isFault(error, "QMP_REFUSED") && error.details.class === "CommandNotFound") return null;
      throw error;
    }
  }

  /** The graph as it was when it was last asked for. */
  async graph(signal: AbortSignal): Promise<Graph> {
    return this.#graph ?? (await this.inspect(signal));
  }

  /** Asks for the graph. No point in time of ours may be open: its filter stands where the disk was. */
  async inspect(signal: AbortSignal): Promise<Graph> {
    const nodes = parseNodes(await this.run(commands.queryNodes(), signal));
    const drives = this.isLive ? await this.#drives(signal) : [];
    const disks = placeDisks(this.#group, this.machine, { nodes, drives });
    if (this.isLive) await refuseIothreads(disks, (command) => this.run(command, signal));
    this.#graph = { nodes, disks };
    return this.#graph;
  }

  /**
   * The disks as far as guests write to them, bitmaps counted anew; a disk that nobody writes to here is left out. One question,
   * which QEMU answers without touching an image; a second one while a filter stands on a disk.
   */
  async count(signal: AbortSignal): Promise<readonly PlacedDisk[]> {
    const { disks } = await this.graph(signal);
    const answer = await this.runIfKnown(commands.queryDrives(), signal);
    const drives = answer === null ? [] : parseDrives(answer);
    const tops = answer === null ? [] : parseTopNodes(answer);
    const isAtTop = disks.every(({ node }) => tops.some(({ name }) => name === node));
    const nodes = isAtTop ? tops : parseNodes(await this.run(commands.queryNodes(), signal));
    return disks.flatMap((disk) => {
      const node = nodes.find(({ name }) => name === disk.node);
      if (!node || node.isReadOnly || !isShown(node, { nodes, drives })) return [];
      return [{ ...disk, sizeBytes: node.sizeBytes, bitmaps: node.bitmaps }];
    });
  }

  /** Takes over what a `query-named-block-nodes` said that went with other commands. */
  learn(nodes: readonly BlockGraphNode[]): void {
    const before = this.#graph;
    if (before === null) return;
    const disks = before.disks.map((disk) => {
      const node = nodes.find(({ name }) => name === disk.node);
      return node ? { ...disk, sizeBytes: node.sizeBytes, bitmaps: node.bitmaps } : disk;
    });
    this.#graph = { nodes, disks };
  }

  /** Lets the next call ask again for what we believe to know: somebody else may have changed it. */
  doubt(): void {
    this.#graph = null;
    this.#isServing = false;
  }

  /** The disk as it was last seen. DISK_MISSING. */
  async disk(name: DiskName, signal: AbortSignal): Promise<PlacedDisk> {
    const { disks } = await this.graph(signal);
    const found = disks.find((disk) => disk.name === name);
    if (found) return found;
    throw new Fault("DISK_MISSING", `the group has no disk ${name}`, { disk: name });
  }

  /**
   * Makes this QEMU's NBD server listen for us; one that an earlier life of ours started is used again. QMP_REFUSED when
   * the server is another tool's: QEMU has only one.
   */
  async serve(signal: AbortSignal): Promise<void> {
    if (this.#isServing) return;
    const isOurs = await this.serving.start((command) => this.run(command, signal), signal);
    if (!isOurs) {
      const message = `the NBD server of ${this.machine.name} is another tool's (QEMU has only one): end it there`;
      const details = { machine: this.machine.name, address: placeOf(this.serving) };
      throw new Fault("QMP_REFUSED", message, details);
    }
    this.#isServing = true;
    this.#hasServed = true;
  }

  /**
   * Stops the NBD server that `serve` started, unless another tool has come to use it: stopping it would
   * end every export on it.
   */
  async stopServing(): Promise<void> {
    if (!this.#hasServed || this.qmp.closed.aborted) return;
    try {
      const exports = parseIds(await this.run(commands.queryExports()));
      if (!exports.every((id) => id.startsWith(ownPrefix(this.#group)))) return;
      await this.serving.stop((command) => this.run(command));
      this.doubt();
      this.#hasServed = false;
    } catch (error) {
      if (!isFault(error, "QMP_CLOSED", "QMP_REFUSED")) throw error;
    }
  }

  async #drives(signal: AbortSignal): Promise<readonly GuestDrive[]> {
    const answer = await this.runIfKnown(commands.queryDrives(), signal);
    return answer === null ? [] : parseDrives(answer);
  }
}
