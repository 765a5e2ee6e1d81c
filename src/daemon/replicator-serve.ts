import type { CommandContext } from "../cli/command-context.ts";
import type { ReplicatorRequest, ServeReplicator } from "../cli/replicator.ts";
import { serveControl } from "../control/server.ts";
import { openSpool } from "../engine/spool/spool.ts";
import { controlSocket } from "../journal/vault-layout.ts";
import { openReplicatorIdentity } from "../tls/replicator-identity.ts";
import { openLink } from "../transport/open-link.ts";
import { AlarmBook } from "./alarm-book.ts";
import { eachSecond } from "./each-second.ts";
import { type EventLog, jsonEventLog, textEventLog } from "./event-log.ts";
import { LinkLog } from "./link-log.ts";
import { openMetrics } from "./open-metrics.ts";
import { reloadAtHangup } from "./reload-requests.ts";
import { Replicator } from "./replicator.ts";
import { keepIdentityFresh } from "./replicator-identity.ts";
import { ReplicatorLink } from "./replicator-link.ts";
import { ReplicatorMetrics } from "./replicator-metrics.ts";
import { spoolDirectory, takeState } from "./replicator-place.ts";
import { withinStopBound } from "./stop-bound.ts";

/**
 * Puts identity, link, spool, sources and engine together and runs all groups beside each other until the signal. Nothing waits
 * for the vault to be there, nor for anybody else: without it points gather in the spool.
 */
export const serveReplicator: ServeReplicator = async (context, request) => {
  const { terminal, clock, signal } = context;
  const log = request.log === "json" ? jsonEventLog(terminal) : textEventLog(terminal, clock);
  // One that comes before there is anything to reload, or when all stops, must not end the process.
  using _hangups = reloadAtHangup(() => {});
  return await withinStopBound({ clock, signal, log }, () => serve(context, request, log));
};

async function serve(context: CommandContext, request: ReplicatorRequest, log: EventLog) {
  const { files, locks, clock, prng, signal } = context;
  const { config, state } = request;
  await using opened = new AsyncDisposableStack();
  const identity = await openReplicatorIdentity({ files, directory: state, clock });
  opened.use(await takeState(files, locks, state));
  await files.makeDirectory(config.scratch.directory);
  const alarms = new AlarmBook(clock);
  const spool = await openSpool({
    files,
    directory: spoolDirectory(config, state),
    capBytes: config.spool.capBytes,
    reserveBytes: config.spool.reserveBytes,
    clock,
  });
  const replicator = new Replicator({ context, log, config, path: request.path, alarms });
  const linkLog = new LinkLog(log, clock);
  const link = opened.use(
    openLink({
      dial: identity.dial,
      clock,
      prng,
      channelCount: config.link.connections,
      usesThreads: true,
      codecOf: (disk, group) => replicator.codecOf(disk, group),
      onEvent: (event) => linkLog.tell(event),
    }),
  );
  const replicatorLink = new ReplicatorLink({ link, clock, log, alarms, config });
  const metrics = new ReplicatorMetrics({
    ...{ version: request.version, role: "replicator", groups: replicator.groups, alarms },
    site: { link: replicatorLink, identity, spool },
  });
  for (const group of config.groups) {
    opened.use(
      await replicator.open(group, {
        ...{ context, log, link, spool, holder: identity.id, alarms },
        capOf: (name) => replicatorLink.capOf(name),
        onEvent: (event) => metrics.follow(event),
      }),
    );
  }
  const startedAtMs = Math.floor(clock.nowMs());
  const handle = replicator.controlHandler(startedAtMs, replicatorLink);
  const server = opened.use(await serveControl({ path: controlSocket(state), clock, handle }));
  await openMetrics(opened, { config, metrics, log });
  log.note("info", "Replicating to a vault.", {
    ...{ name: identity.name, vault: identity.vaultId, state, socket: server.path },
  });
  // A bug of ours beside the groups ends them in order; what was disposed last throws it.
  const broken = new AbortController();
  const onFailed = (error: unknown) => broken.abort(error);
  const measure = () => {
    for (const group of replicator.groups) group.second();
    replicatorLink.second();
  };
  await using _measuring = eachSecond(clock, measure, onFailed);
  await using _renewing = keepIdentityFresh({ identity, log, alarms, onFailed });
  using _reload = replicator.reloadAtHangup(replicatorLink);
  return { groups: await replicator.run(AbortSignal.any([signal, broken.signal])) };
}
