import type { CommandContext } from "../cli/command-context.ts";
import type { Config, ConfigGroup } from "../cli/config-schema.ts";
import type { Replicate } from "../cli/up.ts";
import { type ControlServer, serveControl } from "../control/server.ts";
import { openVault, type Vault } from "../journal/vault.ts";
import { controlSocket } from "../journal/vault-layout.ts";
import { AlarmBook } from "./alarm-book.ts";
import { controlHandler } from "./control-handler.ts";
import { diskCodec } from "./disk-codec.ts";
import { eachSecond } from "./each-second.ts";
import { type EventLog, jsonEventLog, textEventLog } from "./event-log.ts";
import { GroupWriter } from "./group-writer.ts";
import { openMetrics } from "./open-metrics.ts";
import { ReplicatorMetrics } from "./replicator-metrics.ts";
import { runTogether } from "./run-together.ts";
import { UpGroup } from "./up-group.ts";

/**
 * Puts vault, journals, sources and engine together and runs all groups beside each other. A group that needs a person stops
 * and says so; the others go on.
 */
export const replicate: Replicate = async (context, request) => {
  const { config, cycles, vault: directory, version } = request;
  const { files, locks, clock, prng, signal, terminal } = context;
  const log = request.log === "json" ? jsonEventLog(terminal) : textEventLog(terminal, clock);
  await using opened = new AsyncDisposableStack();
  const vault = opened.use(
    await openVault({
      ...{ files, locks, clock, prng, directory, mode: "write" },
      codecOf: (disk, group) => diskCodec(config, group, disk),
    }),
  );
  await files.makeDirectory(config.scratch.directory);
  const alarms = new AlarmBook(clock);
  const groups: UpGroup[] = [];
  const metrics = new ReplicatorMetrics({ version, role: "up", groups, alarms });
  for (const group of config.groups) {
    const writer = opened.use(await openWriter(context, vault, { config, group }));
    const onEvent = metrics.follow.bind(metrics);
    groups.push(new UpGroup({ context, config, writer, log, alarms, onEvent }));
    noteOpened(log, writer);
  }
  const startedAtMs = Math.floor(clock.nowMs());
  const server: ControlServer = opened.use(
    await serveControl({
      path: controlSocket(directory),
      clock,
      handle: controlHandler(groups, { startedAtMs, alarms }),
    }),
  );
  await openMetrics(opened, { config, metrics, log });
  log.note("info", "Writing to the vault.", { vault: directory, socket: server.path });
  const broken = new AbortController();
  const measure = () => {
    for (const group of groups) group.second();
  };
  await using _measuring = eachSecond(clock, measure, (error) => broken.abort(error));
  const stop = AbortSignal.any([signal, broken.signal]);
  return {
    groups: await runTogether(groups, stop, (group, running) =>
      group.run({ cycles, signal: running }),
    ),
  };
};

function noteOpened(log: EventLog, writer: GroupWriter): void {
  for (const note of writer.notes) log.note("warn", note, { group: writer.name });
}

async function openWriter(
  context: CommandContext,
  vault: Vault,
  { config, group }: { config: Config; group: ConfigGroup },
): Promise<GroupWriter> {
  await vault.createGroup(group.name);
  const journal = await vault.journal(group.name);
  const { pointsMax, ageSeconds } = group.retention ?? config.retention;
  return new GroupWriter({
    group,
    journal,
    clock: context.clock,
    retention: { pointsMax, ageMaxMs: ageSeconds === null ? null : ageSeconds * 1000 },
  });
}
