import type { Config } from "../cli/config-schema.ts";
import { type DiskName, type GroupName, machineOf } from "../core/ids.ts";

/** How a disk's chunks are stored and sent: its machine's word, else its group's, else the top's. */
export function diskCodec(config: Config, groupName: GroupName, disk: DiskName): "raw" | "zstd" {
  const group = config.groups.find(({ name }) => name === groupName);
  const machine = group?.machines.find(({ name }) => name === machineOf(disk));
  const compression = machine?.compression ?? group?.compression ?? config.compression;
  return compression === "zstd" ? "zstd" : "raw";
}
