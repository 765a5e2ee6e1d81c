import type { Clock } from "../base/clock.ts";
import { faultWithin } from "../base/fault.ts";
import type { CommandContext } from "../cli/command-context.ts";
import type { ServeVault, VaultServeRequest } from "../cli/vault-serve.ts";
import { type ControlHandler, serveControl } from "../control/server.ts";
import { Metrics } from "../http/metrics.ts";
import { serveMetrics } from "../http/metrics-server.ts";
import { openVault, type Vault } from "../journal/vault.ts";
import { controlSocket } from "../journal/vault-layout.ts";
import { openEnrolmentStore } from "../tls/enrolment-store.ts";
import { formatSiteAddress } from "../tls/identity.ts";
import { listenTls } from "../tls/listen.ts";
import { openVaultIdentity, type VaultIdentity } from "../tls/vault-identity.ts";
import { linkReceiver } from "../transport/link-receiver.ts";
import { type EventLog, jsonEventLog, textEventLog } from "./event-log.ts";
import { reloadAtHangup } from "./reload-requests.ts";
import { withinStopBound } from "./stop-bound.ts";
import { noteReceiverEvent, noteRefused } from "./vault-events.ts";
import { VaultGroups } from "./vault-groups.ts";
import { VaultOffice } from "./vault-office.ts";
import { reachedAt, VaultPeers } from "./vault-peers.ts";

/** How often RPO is sampled and silence looked for. */
const tickMs = 1_000;
/** How many ticks lie between two looks at what the bases take. */
const measureEveryTicks = 30;
/** When renewing the certificate is tried again after it failed. */
const renewalAgainMs = 60_000;

/**
 * Serves a vault: replicators connect with certificates that the vault signed, their points go into its groups, and whoever is on
 * this host asks through its socket. What is opened last is closed first: nobody connects while journals close.
 */
export const serveVault: ServeVault = async (context, request) => {
  const { clock, signal, terminal } = context;
  const log = request.log === "json" ? jsonEventLog(terminal) : textEventLog(terminal, clock);
  // Whoever reloads by habit, or closes a terminal, must not end the vault in good order: nobody would start it anew.
  using _hangups = reloadAtHangup(() => {
    log.note("warn", "SIGHUP changes nothing: the vault reads its configuration at its start.", {});
  });
  await withinStopBound({ clock, signal, log }, () => serve(context, request, log));
};

async function serve(
  context: CommandContext,
  request: VaultServeRequest,
  log: EventLog,
): Promise<void> {
  await using opened = new AsyncDisposableStack();
  // What is no fault is a bug of ours: then all ends, in order.
  const stopping = new AbortController();
  const signal = AbortSignal.any([context.signal, stopping.signal]);
  const bug = (error: unknown) => {
    if (!signal.aborted) stopping.abort(error);
  };
  const { office, groups } = await openOffice({ ...context, signal }, request, {
    ...{ log, opened, bug },
  });
  groups.openAll().catch(bug);
  const ended = Promise.withResolvers<void>();
  const onAbort = () => ended.resolve();
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) ended.resolve();
  watchGroups({ office, groups, clock: context.clock, signal }).catch(bug);
  await ended.promise;
  log.note("info", "Stopping.", {});
  await opened.disposeAsync();
  if (stopping.signal.aborted) throw stopping.signal.reason;
}

interface OpeningOffice {
  readonly log: EventLog;
  readonly opened: AsyncDisposableStack;
  /** Hears of what went wrong in the background and is no fault; nothing once the vault is stopping. */
  readonly bug: (error: unknown) => void;
}

interface Opened {
  readonly office: VaultOffice;
  readonly groups: VaultGroups;
}

async function openOffice(
  context: CommandContext,
  { directory, config, version }: VaultServeRequest,
  { log, opened, bug }: OpeningOffice,
): Promise<Opened> {
  const { files, locks, clock, prng, signal } = context;
  const startedAtMs = Math.floor(clock.nowMs());
  const vault = opened.use(
    // What comes compressed stays so; what the vault writes itself is stored as it is.
    await openVault({ files, locks, clock, prng, directory, mode: "write", codecOf: () => "raw" }),
  );
  const { identity, store } = await openTrust(
    context,
    vault,
    reachedAt(config, config.listen.port).map(({ host }) => host),
  );
  keepFresh(identity, { clock, signal, log }).catch(bug);
  const groups = opened.use(new VaultGroups({ vault, config, clock, log }));
  const receiver = opened.use(
    linkReceiver({
      openGroup: (peer, name) => groups.intake(peer, name),
      clock,
      prng,
      usesThreads: files.usesThreads ?? false,
      onEvent: (event) => noteReceiverEvent(log, event),
    }),
  );
  const listener = opened.use(
    await listenTls({
      ...config.listen,
      identity: identity.current,
      trust: identity.trust,
      isRevoked: store.isRevoked,
      enrolment: store.answer,
      onChannel: (channel) => receiver.accept(channel),
      onRefused: (refused) => noteRefused(log, refused),
      clock,
    }),
  );
  const { fingerprint } = identity;
  const peers = new VaultPeers({ config, store, fingerprint, listener, receiver, groups });
  const office = new VaultOffice({ peers, groups, listener, startedAtMs, clock, log });
  const handle: ControlHandler = (asked, options) => office.handle(asked, options);
  const path = controlSocket(directory);
  const server = opened.use(await serveControl({ path, clock, handle }));
  if (config.metrics !== undefined) {
    const metrics = new Metrics({ side: "vault", read: async () => office.samples(version) });
    const onError = (error: unknown) =>
      log.note("warn", "The metrics could not be read.", { cause: String(error) });
    const { host, port } = opened.use(await serveMetrics({ ...config.metrics, metrics, onError }));
    log.note("info", "Serving metrics.", { host, port });
  }
  const listen = formatSiteAddress(listener.address);
  log.note("info", "Serving the vault.", { vault: directory, listen, socket: server.path });
  return { office, groups };
}

/** Who the vault is before others, and whom it believes. */
async function openTrust(context: CommandContext, vault: Vault, hosts: readonly string[]) {
  const { files, clock, prng } = context;
  const { directory: vaultDirectory, description } = vault;
  const keeping = { files, vaultDirectory, vaultId: description.id, clock, prng };
  const identity = await openVaultIdentity({ ...keeping, hosts });
  const { authority, fingerprint } = identity;
  const store = await openEnrolmentStore({ ...keeping, authority, fingerprint });
  return { identity, store };
}

/** A certificate that cannot be renewed now is renewed later: there is a third of its life for that. */
async function keepFresh(
  identity: VaultIdentity,
  { clock, signal, log }: { clock: Clock; signal: AbortSignal; log: EventLog },
): Promise<never> {
  for (;;) {
    try {
      await identity.keepFresh({ signal });
    } catch (error) {
      const fault = faultWithin(error);
      if (signal.aborted || fault === null) throw error;
      const { code, message: cause, nextStep } = fault;
      log.note("error", "The vault's certificate cannot be renewed.", { code, cause, nextStep });
    }
    await clock.sleep(renewalAgainMs, { signal });
  }
}

/** Once a second until the signal. */
async function watchGroups(options: Opened & { clock: Clock; signal: AbortSignal }): Promise<void> {
  const { office, groups, clock, signal } = options;
  for (let tick = 1; ; tick += 1) {
    await clock.sleep(tickMs, { signal });
    office.tick();
    if (tick % measureEveryTicks !== 0) continue;
    for (const group of groups.all()) await group.measure();
  }
}
