import type { Clock } from "../../base/clock.ts";
import type { FileSystem } from "../../base/file-system.ts";
import type { GroupName, MachineName } from "../../core/ids.ts";
import type { MachineDefinition } from "../../qemu/machine-definition.ts";
import type { QmpCommand } from "../../qemu/qmp-messages.ts";
import type { SourcePhase } from "./phase.ts";

/** One disk of a machine; it is found by the first of `node`, `device`, `drive`, `image` that is given. */
export interface QemuDiskSettings {
  /** The disk part of the disk's name. */
  readonly name: string;
  /** Node name of the format layer. */
  readonly node?: string | undefined;
  /** Id or object path of the guest's device. */
  readonly device?: string | undefined;
  /** Id of `-drive`. */
  readonly drive?: string | undefined;
  /** The image's file; needed to take points while the machine is off. */
  readonly image?: string | undefined;
  /** `persistent` needs qcow2. `transient`: recording ends with QEMU, the disk is then resynced by hash. */
  readonly tracking: "persistent" | "transient";
}

/** One machine of the group. */
export interface QemuMachineSettings {
  readonly name: MachineName;
  /** A QMP socket that nobody else uses; null when the machine is off for good. */
  readonly qmpPath: string | null;
  readonly disks: readonly QemuDiskSettings[];
  /** Where its QEMU serves its disks to us when it runs on another host; else a unix socket in the scratch directory. */
  readonly nbd?: QemuNbdSettings | undefined;
  /** What the machine's description says instead of what QEMU tells. */
  readonly boot?: Partial<Omit<MachineDefinition, "disks">> | undefined;
}

/**
 * NBD over TLS with a QEMU on another host. Its QMP socket reaches us as a unix socket that somebody forwards (for instance
 * `ssh -L /run/afterimage/db.qmp:/run/qemu/db.qmp`); the scratch directory must be one that both hosts have at the same path.
 */
export interface QemuNbdSettings {
  /** An address of QEMU's host: QEMU listens there, we connect there, and its certificate bears it. */
  readonly host: string;
  readonly port: number;
  /** Here: `ca-cert.pem`, `client-cert.pem`, `client-key.pem`. */
  readonly tlsDirectory: string;
  /** On QEMU's host, readable by QEMU: `ca-cert.pem`, `server-cert.pem`, `server-key.pem`. */
  readonly qemuTlsDirectory: string;
}

/** Where old content goes while a point is read. */
export interface QemuScratchSettings {
  /** On the machines' host; their QEMUs must be able to write there. Its path leaves room for a socket's name (107 characters). */
  readonly directory: string;
  /** Reserved for all disks of the group together. */
  readonly capBytes: number;
}

export interface QemuSourceOptions {
  readonly group: GroupName;
  readonly machines: readonly QemuMachineSettings[];
  readonly scratch: QemuScratchSettings;
  readonly clock: Clock;
  readonly files: FileSystem;
  /** Longest time that the machines of a group of several are held still. */
  readonly barrierMs?: number;
  /** Sees every QMP command before it is sent. */
  readonly onCommand?: (command: QmpCommand) => void;
  /** Called before each step; for tests that stop or kill there. */
  readonly onPhase?: (phase: SourcePhase) => Promise<void> | void;
}
