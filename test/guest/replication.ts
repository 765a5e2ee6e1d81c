import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { nodeFileSystem } from "../../src/base/node-file-system.ts";
import { systemPrng } from "../../src/base/prng.ts";
import { GIB } from "../../src/base/units.ts";
import type { GroupName, MachineName } from "../../src/core/ids.ts";
import type { Source } from "../../src/core/source.ts";
import { runGroup } from "../../src/engine/run.ts";
import { sqliteLocks } from "../../src/journal/sqlite-locks.ts";
import { initVault, openVault, type Vault } from "../../src/journal/vault.ts";
import type { Machine } from "../../src/qemu/machine.ts";
import type { QmpCommand } from "../../src/qemu/qmp-messages.ts";
import { qemuSource } from "../../src/source/qemu/source.ts";

const clock = systemClock();
const files = nodeFileSystem();
const prng = systemPrng();

/** Replicates machines into a new vault beneath `directory`, in this process, until so many points are sealed. */
export async function replicateInto(options: {
  readonly directory: string;
  readonly group: GroupName;
  /** Machines and the disks of each that belong to the group; a disk's name is its node name too. */
  readonly machines: readonly {
    readonly machine: Machine;
    readonly disks: readonly string[];
    /** Instead of the machine's own socket. */
    readonly qmpPath?: string;
  }[];
  readonly points: number;
  readonly intervalSeconds: number;
  readonly signal: AbortSignal;
  /** How long several machines may be held still. */
  readonly barrierMs?: number;
  readonly onCommand?: (command: QmpCommand) => void;
  /** Puts a filter before the source. */
  readonly filter?: (source: Source) => Source;
}): Promise<void> {
  const { directory, group, signal } = options;
  await using vault = await makeVault(directory);
  await vault.createGroup(group);
  await using journal = await vault.journal(group);
  await using source = qemuSource({
    group,
    machines: options.machines.map(({ machine, disks, qmpPath }) => ({
      name: machine.name as MachineName,
      qmpPath: qmpPath ?? machine.qmpPath,
      disks: disks.map((name) => ({ name, node: name, tracking: "persistent" })),
    })),
    scratch: { directory: join(directory, "scratch"), capBytes: GIB },
    clock,
    files,
    ...(options.barrierMs === undefined ? {} : { barrierMs: options.barrierMs }),
    ...(options.onCommand ? { onCommand: options.onCommand } : {}),
  });
  await runGroup({
    source: options.filter?.(source) ?? source,
    journal,
    group: { name: group, holder: "0123456789abcdef" },
    intervalSeconds: options.intervalSeconds,
    cycles: options.points,
    retriesMax: 3,
    clock,
    prng,
    signal,
  });
}

/** Opens the vault that `replicateInto` made, for reading. */
export function readVaultIn(directory: string): Promise<Vault> {
  const vault = join(directory, "vault");
  return openVault({ files, clock, prng, directory: vault, mode: "read", locks: sqliteLocks() });
}

async function makeVault(directory: string): Promise<Vault> {
  const path = join(directory, "vault");
  await initVault(files, path, { clock, prng });
  return openVault({ files, clock, prng, directory: path, mode: "write", locks: sqliteLocks() });
}
