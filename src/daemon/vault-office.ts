import type { Clock } from "../base/clock.ts";
import { enrolledPeers, performPeerRequest } from "../control/peer-requests.ts";
import type { GroupRequest, PeerRequest } from "../control/requests.ts";
import type { ControlHandler } from "../control/server.ts";
import type { Alarm } from "../control/telemetry.ts";
import type { WriterState } from "../control/writer-state.ts";
import type { Sample } from "../http/metrics.ts";
import { formatSiteAddress } from "../tls/identity.ts";
import type { TlsListener } from "../tls/listen.ts";
import type { EventLog } from "./event-log.ts";
import type { VaultGroups } from "./vault-groups.ts";
import { vaultMetrics } from "./vault-metrics.ts";
import type { VaultPeers } from "./vault-peers.ts";

/** What a serving vault is made of, for whoever asks about it. */
export interface VaultOfficeOptions {
  readonly peers: VaultPeers;
  readonly groups: VaultGroups;
  readonly listener: Pick<TlsListener, "address">;
  readonly startedAtMs: number;
  readonly clock: Clock;
  readonly log: Pick<EventLog, "note">;
}

/** Answers what people and programs of this host ask of a serving vault. */
export class VaultOffice {
  readonly #options: VaultOfficeOptions;

  constructor(options: VaultOfficeOptions) {
    this.#options = options;
  }

  /** Called once a second. */
  tick(): void {
    const { groups, peers } = this.#options;
    for (const group of groups.all()) group.tick(peers.around(group.name));
  }

  /** For the control socket. */
  readonly handle: ControlHandler = async (request, options) => {
    if (request.verb === "state") return this.state();
    if ("group" in request) return this.#change(request, options);
    return this.#askPeers(request);
  };

  state(): WriterState {
    const { groups, peers, listener, startedAtMs } = this.#options;
    const open = groups.all().map((group) => group.state(peers.around(group.name)));
    const broken = groups.broken().map(({ name, fault }) => {
      const trouble = `${fault.code}: ${fault.message} — ${fault.nextStep}`;
      return { name, state: "broken", trouble };
    });
    const listen = formatSiteAddress(listener.address);
    return {
      pid: process.pid,
      startedAtMs,
      role: "vault",
      vault: { listen, peers: enrolledPeers(peers.surroundings) },
      alarms: [...this.alarms()],
      groups: [...open, ...broken],
    };
  }

  alarms(): readonly Alarm[] {
    const { groups, peers, startedAtMs } = this.#options;
    const broken = groups.broken().map(({ name, fault: { code, message, nextStep } }): Alarm => {
      const what = { code, cause: message, nextStep };
      return { ...what, severity: "alarm", group: name, sinceMs: startedAtMs };
    });
    return [...groups.all().flatMap((group) => group.alarms(peers.around(group.name))), ...broken];
  }

  /** For `/metrics`. */
  samples(version: string): readonly Sample[] {
    const { groups, peers, clock } = this.#options;
    const told = groups
      .all()
      .map((group) => ({ group, state: group.state(peers.around(group.name)) }));
    return vaultMetrics({ version, nowMs: clock.nowMs(), groups: told, alarms: this.alarms() });
  }

  async #change(request: GroupRequest, options: Parameters<ControlHandler>[1]): Promise<unknown> {
    const group = await this.#options.groups.find(request.group);
    const done = await group.keeper.change(request, options);
    if (request.verb === "raise") {
      const { holder, reason } = request;
      const facts = { group: request.group, holder, reason };
      this.#options.log.note("warn", "A group was handed to another replicator.", facts);
    }
    return done;
  }

  async #askPeers(request: PeerRequest): Promise<unknown> {
    const { peers, log } = this.#options;
    const done = await performPeerRequest(peers.surroundings, request);
    // The token is nobody's business but the asker's.
    if (request.verb === "invite")
      log.note("info", "An invitation was made.", { peer: request.name });
    if (request.verb === "revoke")
      log.note("warn", "A replicator was revoked.", { peer: request.name });
    return done;
  }
}
