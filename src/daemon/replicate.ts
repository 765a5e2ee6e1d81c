import type { CommandContext } from "../cli/command-context.ts";
import { intervalOf } from "../cli/config-interval.ts";
import type { Config, ConfigGroup } from "../cli/config-schema.ts";
import type { Replicate, ReplicationRequest, ReplicationSummary } from "../cli/up.ts";
import { type ControlServer, serveControl } from "../control/server.ts";
import type { Source } from "../core/source.ts";
import { faultOf } from "../engine/fault-of.ts";
import { runGroup } from "../engine/run.ts";
import { openVault, type Vault } from "../journal/vault.ts";
import { controlSocket } from "../journal/vault-layout.ts";
import { qemuSource } from "../source/qemu/source.ts";
import { controlHandler } from "./control-handler.ts";
import { type EventLog, jsonEventLog, textEventLog } from "./event-log.ts";
import { GroupWriter } from "./group-writer.ts";

/** Faults in a row that a run with an end bears; one without an end bears any number. */
const boundedRetriesMax = 3;

type GroupSummary = ReplicationSummary["groups"][number];

/**
 * Puts vault, journals, sources and engine together and runs all groups beside each other. A group that needs a person stops
 * and says so; the others go on.
 */
export const replicate: Replicate = async (context, request) => {
  const { config, vault: directory } = request;
  const { files, locks, clock, prng, terminal } = context;
  const log = request.log === "json" ? jsonEventLog(terminal) : textEventLog(terminal, clock);
  await using opened = new AsyncDisposableStack();
  const vault = opened.use(
    await openVault({
      ...{ files, locks, clock, prng, directory, mode: "write" },
      codec: config.compression === "zstd" ? "zstd" : "raw",
    }),
  );
  await files.makeDirectory(config.scratch.directory);
  const writers: GroupWriter[] = [];
  for (const group of config.groups) {
    writers.push(opened.use(await openWriter(context, vault, { config, group })));
  }
  for (const writer of writers) {
    for (const note of writer.notes) log.note("warn", note, { group: writer.name });
  }
  const startedAtMs = Math.floor(clock.nowMs());
  const server: ControlServer = opened.use(
    await serveControl({
      path: controlSocket(directory),
      clock,
      handle: controlHandler(writers, startedAtMs),
    }),
  );
  log.note("info", "Writing to the vault.", { vault: directory, socket: server.path });
  // What is no fault is a bug of ours: then all groups stop, in order, before anything beneath them is closed.
  const stopping = new AbortController();
  const running = { ...context, signal: AbortSignal.any([context.signal, stopping.signal]) };
  const ended = await Promise.allSettled(
    writers.map(async (writer) => {
      try {
        return await runOne(running, request, writer, log);
      } catch (error) {
        stopping.abort(error);
        throw error;
      }
    }),
  );
  const groups = ended.map((one) => {
    if (one.status === "rejected") throw one.reason;
    return one.value;
  });
  return { groups };
};

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

async function runOne(
  context: CommandContext,
  request: ReplicationRequest,
  writer: GroupWriter,
  log: EventLog,
): Promise<GroupSummary> {
  const { clock, prng, signal } = context;
  const { config, cycles } = request;
  const { name } = writer;
  let points = 0;
  try {
    await using source = openSource(context, config, writer.group);
    const { endedBy } = await runGroup({
      source,
      journal: writer.journal,
      group: { name, holder: writer.generation(prng).holder },
      intervalSeconds: startingIntervalSeconds(config, writer.group),
      cycles,
      retriesMax: cycles === null ? null : boundedRetriesMax,
      maintain: (options) => writer.maintain(options),
      clock,
      prng,
      signal,
      onEvent: (event) => {
        if (event.type === "cycle") points += 1;
        writer.follow(event);
        log.event(event);
      },
    });
    return { name, points, endedBy, fault: null };
  } catch (error) {
    const fault = faultOf(error);
    if (fault === null) throw error;
    writer.fail(fault);
    const { code, message: cause, nextStep } = fault;
    log.note("error", "The group stopped and needs a person.", {
      group: name,
      code,
      cause,
      nextStep,
    });
    return { name, points, endedBy: "fault", fault };
  }
}

/** Until the interval follows a target: the shortest that it may choose. */
function startingIntervalSeconds(config: Config, group: ConfigGroup): number {
  const interval = intervalOf(config, group);
  return interval.kind === "fixed" ? interval.intervalSeconds : interval.intervalMinSeconds;
}

function openSource(context: CommandContext, config: Config, group: ConfigGroup): Source {
  const { clock, files } = context;
  const { directory, capBytes } = config.scratch;
  return qemuSource({
    group: group.name,
    machines: group.machines.map(({ name, qmp, disks, boot }) => ({
      name,
      qmpPath: qmp ?? null,
      disks,
      boot,
    })),
    scratch: { directory, capBytes },
    clock,
    files,
  });
}
