import type { CommandContext } from "../cli/command-context.ts";
import { qemuMachinesOf } from "../cli/config-qemu.ts";
import type { Config, ConfigGroup } from "../cli/config-schema.ts";
import type { Source } from "../core/source.ts";
import { qemuSource } from "../source/qemu/source.ts";

/** The source of a group that the configuration describes. */
export function openSource(context: CommandContext, config: Config, group: ConfigGroup): Source {
  const { clock, files } = context;
  const { directory, capBytes } = config.scratch;
  return qemuSource({
    group: group.name,
    machines: qemuMachinesOf(group),
    scratch: { directory, capBytes },
    clock,
    files,
  });
}
