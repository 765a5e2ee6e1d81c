import type { Clock } from "../base/clock.ts";
import { Fault, isFault } from "../base/fault.ts";
import type { VaultConfig } from "../cli/vault-config-schema.ts";
import type { Peer } from "../core/channel.ts";
import type { GroupName } from "../core/ids.ts";
import type { JournalIntake } from "../core/journal.ts";
import type { Vault } from "../journal/vault.ts";
import type { EventLog } from "./event-log.ts";
import { VaultGroup, type VaultGroupPolicy } from "./vault-group.ts";
import { UnbegunGroup } from "./vault-unbegun-group.ts";

/** A group of the vault, open or why it is not. */
interface Entry {
  readonly opening: Promise<VaultGroup>;
  group: VaultGroup | null;
  fault: Fault | null;
}

/** The groups of a serving vault: those that lie there, and those that peers begin. Owns their journals, not the vault. */
export class VaultGroups implements AsyncDisposable {
  readonly #vault: Vault;
  readonly #config: VaultConfig;
  readonly #clock: Clock;
  readonly #log: Pick<EventLog, "note">;
  readonly #entries = new Map<GroupName, Entry>();
  #lastBegin: Promise<void> = Promise.resolve();
  #isOver = false;

  constructor(options: {
    vault: Vault;
    config: VaultConfig;
    clock: Clock;
    log: Pick<EventLog, "note">;
  }) {
    this.#vault = options.vault;
    this.#config = options.config;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** Opens what lies in the vault, one group after the other; one that cannot be opened keeps no other from it. */
  async openAll(): Promise<void> {
    for (const name of await this.#vault.groups()) {
      if (this.#isOver) return;
      await this.open(name).catch((error: unknown) => {
        if (!isFault(error)) throw error; // It is told in the group's state, and to whoever asks for it.
      });
    }
  }

  /** The groups that are open, in order of their names. */
  all(): readonly VaultGroup[] {
    const groups = [...this.#entries.values()].flatMap(({ group }) => group ?? []);
    return groups.sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  /** Those that could not be opened. */
  broken(): readonly { readonly name: GroupName; readonly fault: Fault }[] {
    return [...this.#entries].flatMap(([name, { fault }]) =>
      fault === null ? [] : [{ name, fault }],
    );
  }

  /** The group, opened when it is not. GROUP_UNKNOWN, LEDGER_CORRUPT, STORAGE_*. */
  open(name: GroupName): Promise<VaultGroup> {
    const known = this.#entries.get(name);
    if (known !== undefined && known.fault === null) return known.opening;
    const opening = this.#open(name);
    const entry: Entry = { opening, group: null, fault: null };
    this.#entries.set(name, entry);
    opening.then(
      (group) => {
        entry.group = group;
      },
      (error: unknown) => this.#failed(name, entry, error),
    );
    return opening;
  }

  /** A group that the vault has, opened when it is not. GROUP_UNKNOWN, and why it cannot be opened. */
  async find(name: GroupName): Promise<VaultGroup> {
    if (this.#entries.has(name) || (await this.#vault.groups()).includes(name)) {
      return this.open(name);
    }
    const message = `${this.#vault.directory}: there is no group ${name}`;
    throw new Fault("GROUP_UNKNOWN", message, { group: name });
  }

  /** A peer's way to a group, which its first point or sync begins when there is none (VAULT_FULL). */
  async intake(peer: Peer, name: GroupName): Promise<JournalIntake> {
    if (this.#isOver) throw new Fault("ABORTED", "the vault is stopping");
    const way = await this.#wayOf(peer, name);
    if (way !== null) return way;
    return new UnbegunGroup({
      find: () => this.#wayOf(peer, name),
      begin: () => this.#beginInTurn(name, peer),
    });
  }

  /** Null when the vault has no such group. */
  async #wayOf(peer: Peer, name: GroupName): Promise<JournalIntake | null> {
    const isThere = this.#entries.has(name) || (await this.#vault.groups()).includes(name);
    return isThere ? (await this.open(name)).intake(peer) : null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await Promise.allSettled([...this.#entries.values()].map(({ opening }) => opening));
    const ended = await Promise.allSettled(this.all().map((group) => group[Symbol.asyncDispose]()));
    for (const one of ended) if (one.status === "rejected") throw one.reason;
  }

  /** Two that begin the same group at once begin it once. */
  #beginInTurn(name: GroupName, peer: Peer): Promise<void> {
    const turn = this.#lastBegin.then(() => this.#begin(name, peer));
    this.#lastBegin = turn.catch(() => {}); // Its caller's; the next one starts afresh.
    return turn;
  }

  async #begin(name: GroupName, peer: Peer): Promise<void> {
    if (this.#isOver) throw new Fault("ABORTED", "the vault is stopping");
    const names = new Set([...this.#entries.keys(), ...(await this.#vault.groups())]);
    if (names.has(name)) return;
    const { groupsMax } = this.#config;
    if (names.size >= groupsMax) {
      const message = `the vault has ${names.size} groups and takes ${groupsMax}: not ${name}`;
      throw new Fault("VAULT_FULL", message, { groupsMax, group: name });
    }
    await this.#vault.createGroup(name);
    this.#log.note("info", "A group was begun.", { group: name, peer: peer.name });
  }

  async #open(name: GroupName): Promise<VaultGroup> {
    const journal = await this.#vault.journal(name);
    const isSyncing = (await journal.staged()).length > 0;
    for (const note of journal.notes) this.#log.note("warn", note, { group: name });
    const policy = vaultGroupPolicy(this.#config, name);
    const parts = { clock: this.#clock, log: this.#log, policy, isSyncing };
    const group = new VaultGroup({ name, journal, ...parts });
    await group.measure();
    return group;
  }

  #failed(name: GroupName, entry: Entry, error: unknown): void {
    if (!isFault(error)) return; // A bug: whoever asked for the group has it.
    entry.fault = error;
    const { code, message: cause, nextStep } = error;
    const message = "A group cannot be opened.";
    this.#log.note("error", message, { group: name, code, cause, nextStep });
  }
}

/** What a configuration says of a group. */
export function vaultGroupPolicy(config: VaultConfig, name: GroupName): VaultGroupPolicy {
  const own = config.groups.find((group) => group.name === name);
  const { pointsMax, ageSeconds } = own?.retention ?? config.retention;
  const silentAfterSeconds = own?.silentAfterSeconds ?? config.silentAfterSeconds;
  return {
    retention: { pointsMax, ageMaxMs: ageSeconds === null ? null : ageSeconds * 1000 },
    silentAfterMs: silentAfterSeconds === null ? null : silentAfterSeconds * 1000,
    alarmWhenSilent: own?.alarmWhenSilent ?? true,
    clockOffsetMaxMs: config.clockOffsetMaxSeconds * 1000,
  };
}
