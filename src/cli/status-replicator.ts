import type { FileSystem } from "../base/file-system.ts";
import type { Alarm } from "../control/telemetry.ts";
import { formatSiteAddress } from "../tls/identity.ts";
import { identityFile, readReplicatorRecord } from "../tls/replicator-state.ts";
import { type AskedState, askForState } from "./ask-state.ts";
import type { CommandContext } from "./command-context.ts";

/** How a replicator is. */
export interface ReplicatorStatus {
  readonly replicator: {
    readonly directory: string;
    readonly name: string;
    readonly id: string;
    readonly vaultId: string;
    readonly addresses: readonly string[];
  };
  /** The process that runs from this directory. */
  readonly process: AskedState;
  /** Alarms first. */
  readonly alarms: readonly Alarm[];
}

/** Whether the directory is a replicator's. */
export async function isReplicatorState(files: FileSystem, directory: string): Promise<boolean> {
  return (await files.stat(identityFile(directory))) !== null;
}

/** Looks at a replicator's state directory and asks the process that runs from it. */
export async function replicatorStatus(
  context: CommandContext,
  directory: string,
): Promise<ReplicatorStatus> {
  const record = await readReplicatorRecord(context.files, directory);
  const process = await askForState(context, directory);
  return {
    replicator: {
      directory,
      name: record?.name ?? "",
      id: record?.id ?? "",
      vaultId: record?.vaultId ?? "",
      addresses: (record?.addresses ?? []).map(formatSiteAddress),
    },
    process,
    alarms: process === null || process === "silent" ? [] : (process.alarms ?? []),
  };
}
