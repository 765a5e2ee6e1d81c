import type { GroupName, MachineName } from "./ids.ts";
import type { MachineDescription } from "./point.ts";

/** What a platform can do; callers branch on these and never on the kind of platform. */
export interface PlatformTraits {
  /** Machines start straight from a served view; otherwise a point has to be copied there first. */
  readonly bootsFromView: boolean;
}

/** One thing that was looked at on a host, and how to put it right. */
export interface Finding {
  readonly name: string;
  readonly ok: boolean;
  /** What was found, one sentence. */
  readonly detail: string;
  /** What to do, one sentence, also where something is well enough but could be better; null when there is nothing. */
  readonly fix: string | null;
}

/** A disk of a point as the machine will find it. */
export interface BootDisk {
  /** The disk part of the disk's name. */
  readonly name: string;
  readonly sizeBytes: number;
  /** Where it is served, read-only: an NBD URI (`nbd+unix:///EXPORT?socket=PATH` or `nbd://HOST:PORT/EXPORT`). */
  readonly uri: string;
}

/** A machine to be started, and where its disks are served. */
export interface BootRequest {
  readonly group: GroupName;
  readonly machine: MachineDescription;
  /** At least the disks that the description names. */
  readonly disks: readonly BootDisk[];
  readonly signal: AbortSignal;
}

/** One line of a machine's serial console. */
export interface BootConsoleLine {
  readonly text: string;
  /** On our wall clock. */
  readonly atMs: number;
}

/** A machine that was started from a point. Disposing stops it and throws away what it wrote. */
export interface BootedMachine extends AsyncDisposable {
  readonly name: MachineName;
  /**
   * Resolves when a console line matches, with that line and the seconds since the start was asked for (the RTO of this
   * machine). GUEST_FAILED with a console excerpt when the machine ends or `timeoutMs` passes before.
   */
  waitUntilReady(options: {
    readonly pattern: RegExp;
    readonly timeoutMs: number;
    readonly signal: AbortSignal;
  }): Promise<{ readonly line: BootConsoleLine; readonly seconds: number }>;
  /** The last lines of its console. */
  console(): string;
  /** Calls `listener` for each console line from now on. */
  onConsoleLine(listener: (line: BootConsoleLine) => void): Disposable;
  /** Resolves, with a sentence, when the machine has ended. */
  readonly ended: Promise<string>;
}

/** A machine found running on the platform that bears our mark. */
export interface OurMachine {
  /** "afterimage-GROUP-MACHINE". */
  readonly title: string;
  /** What the platform calls it: for a QEMU, its process id. */
  readonly reference: string;
}

/**
 * Where machines run at the recovery site. A machine is started without any network, and with a throw-away layer over each
 * disk: nothing it does reaches the vault or the world. Rejects with Faults only.
 */
export interface Platform {
  readonly traits: PlatformTraits;
  /** Starts a machine; resolves when it runs, not when it is ready. CONFIG_INVALID when its description cannot be built here. */
  start(request: BootRequest): Promise<BootedMachine>;
  /** Looks whether machines can be started here. */
  probe(options: { readonly signal: AbortSignal }): Promise<readonly Finding[]>;
  /** Machines that run and bear our mark, whoever of us started them. */
  listOurs(): Promise<readonly OurMachine[]>;
  /** Ends a machine that bears our mark; one that has gone is not an error. */
  stop(machine: OurMachine): Promise<void>;
}
