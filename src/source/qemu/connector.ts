import { isFault } from "../../base/fault.ts";
import { type Guard, startGuard } from "../../qemu/guard.ts";
import { connectQmp, type Qmp, type QmpOptions } from "../../qemu/qmp.ts";
import type { QemuMachineSettings, QemuSourceOptions } from "./settings.ts";

/** Longest time that the machines of a group are held still, unless configured. */
export const barrierMsDefault = 1000;

/**
 * Connects to the group's machines: directly when there is one, through a guard process when there are several, so that
 * somebody resumes them should we die while they are stopped.
 */
export class Connector implements AsyncDisposable {
  readonly #options: QemuSourceOptions;
  #guard: Promise<Guard> | null = null;

  constructor(options: QemuSourceOptions) {
    this.#options = options;
  }

  /** The machine's QMP. Faults are those of its own socket, or BARRIER_FAILED when no guard can be started. */
  async connect(
    machine: QemuMachineSettings & { readonly qmpPath: string },
    signal: AbortSignal,
  ): Promise<Qmp> {
    const options: Omit<QmpOptions, "path"> = { signal, onCommand: this.#options.onCommand };
    if (this.#options.machines.length === 1) {
      return await connectQmp({ ...options, path: machine.qmpPath });
    }
    try {
      return await (await this.guard(signal)).connect(machine.name, options);
    } catch (error) {
      if (!isFault(error) || !(await this.#isGuardsOwn(error.details.path, machine))) throw error;
      // The machine answers and the guard does not: it was killed. What went through it has to connect anew as well.
      await this[Symbol.asyncDispose]();
      return await (await this.guard(signal)).connect(machine.name, options);
    }
  }

  /** The guard that stands before the machines. BARRIER_FAILED. */
  async guard(signal: AbortSignal): Promise<Guard> {
    this.#guard ??= this.#start();
    try {
      const guard = await this.#guard;
      signal.throwIfAborted();
      return guard;
    } catch (error) {
      this.#guard = null;
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const starting = this.#guard;
    this.#guard = null;
    const guard = await starting?.catch(() => null);
    await guard?.[Symbol.asyncDispose]();
  }

  async #start(): Promise<Guard> {
    const { machines, barrierMs } = this.#options;
    const sockets = new Map(
      machines.flatMap(({ name, qmpPath }) => (qmpPath === null ? [] : [[name, qmpPath] as const])),
    );
    // The guard outlives the call that started it.
    const { signal } = new AbortController();
    return await startGuard({ sockets, deadlineMs: barrierMs ?? barrierMsDefault, signal });
  }

  async #isGuardsOwn(path: unknown, machine: QemuMachineSettings): Promise<boolean> {
    const guard = await this.#guard?.catch(() => null);
    return guard?.socketPathOf(machine.name) === path;
  }
}
