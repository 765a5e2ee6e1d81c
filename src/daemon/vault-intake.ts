import { Fault } from "../base/fault.ts";
import type { Peer } from "../core/channel.ts";
import type { DiskName, PointId } from "../core/ids.ts";
import type {
  IntakeStanding,
  JournalIntake,
  PointWriter,
  StagedDisk,
  StageRequest,
} from "../core/journal.ts";
import { groupDisksMax } from "../core/limits.ts";
import type { Generation, Point, PointHeader } from "../core/point.ts";
import { encodeHeader } from "../format/delta-header.ts";
import type { DirectoryJournal } from "../journal/directory-journal.ts";
import {
  checkInstant,
  checkStageRequest,
  type IntakeWatcher,
  overFault,
  VaultPointWriter,
  VaultStagedDisk,
  watched,
} from "./vault-streams.ts";

/**
 * The way of replicators to one group's journal. Only the holder of the group's generation may change anything; what it left open
 * elsewhere (an older connection, an earlier life) ends when it begins anew. Nothing that a peer says reaches an assertion.
 */
export class GroupIntakes {
  readonly #journal: DirectoryJournal;
  readonly #watcher: IntakeWatcher;
  readonly #stagedMax: number;
  #writer: VaultPointWriter | null = null;
  readonly #staged = new Map<DiskName, VaultStagedDisk>();
  #lastTurn: Promise<unknown> = Promise.resolve();

  constructor(
    journal: DirectoryJournal,
    watcher: IntakeWatcher,
    { stagedMax = groupDisksMax }: { readonly stagedMax?: number } = {},
  ) {
    this.#journal = journal;
    this.#watcher = watcher;
    this.#stagedMax = stagedMax;
  }

  /** The way of one peer; disposing it ends what it left open. */
  open(peer: Peer): JournalIntake {
    return new VaultIntake(this, this.#journal, peer);
  }

  /** GENERATION_STALE or GENERATION_CONFLICT unless the peer holds the generation, or nobody does. */
  checkHolder(peer: Peer): void {
    const { generation } = this.#journal;
    if (generation === null || generation.holder === peer.id) return;
    throw heldByAnother(this.#journal, peer, generation);
  }

  begin(header: PointHeader, owner: VaultIntake): Promise<PointWriter> {
    return this.#inTurn(async () => {
      owner.checkOpen();
      this.checkHolder(owner.peer);
      if (header.generation.holder !== owner.peer.id) throw notItself(header, owner.peer);
      checkInstant(header.instant.lowerMs);
      checkInstant(header.instant.upperMs);
      encodeHeader(header); // Names become paths: CONFIG_INVALID when it says what no header may.
      await this.#writer?.[Symbol.asyncDispose]();
      const inner = await this.#journal.begin(header);
      const writer = new VaultPointWriter({ inner, header, owner, watcher: this.#watcher });
      this.#writer = writer;
      return writer;
    });
  }

  stage(request: StageRequest, owner: VaultIntake): Promise<StagedDisk> {
    return this.#inTurn(async () => {
      owner.checkOpen();
      this.checkHolder(owner.peer);
      checkStageRequest(request);
      await this.#checkStagedCount(request);
      // Two that write the same parts would spoil them; also those of another identity are discarded beneath whoever has them open.
      await this.#staged.get(request.disk)?.[Symbol.asyncDispose]();
      const inner = await this.#journal.stage(request);
      const staged = new VaultStagedDisk({ inner, owner, watcher: this.#watcher });
      this.#staged.set(request.disk, staged);
      return staged;
    });
  }

  async confirm(confirmation: { readonly point: PointId; readonly atMs: number }, peer: Peer) {
    await watched(this.#watcher, async () => {
      this.checkHolder(peer);
      checkInstant(confirmation.atMs);
      await this.#journal.confirmCurrent(confirmation);
    });
    if (this.#journal.head()?.id === confirmation.point) this.#watcher.onConfirmed();
  }

  /** Every disk of the group may be under way, and no more: each has a record that is read whenever one asks. */
  async #checkStagedCount({ disk }: StageRequest): Promise<void> {
    const staged = await this.#journal.staging.list();
    const others = staged.filter((status) => status.disk !== disk).length;
    if (others < this.#stagedMax) return;
    throw new Fault("LINK_PROTOCOL", "more disks are staged than a group has", { staged: others });
  }

  /** Ends what `owner` left open. */
  close(owner: VaultIntake): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#writer?.owner === owner) await this.#writer[Symbol.asyncDispose]();
      for (const staged of this.#staged.values()) {
        if (staged.owner === owner) await staged[Symbol.asyncDispose]();
      }
    });
  }

  /** One after the other; a way that is over begins nothing. */
  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const turn = this.#lastTurn.then(() => watched(this.#watcher, work));
    this.#lastTurn = turn.catch(() => {}); // Its caller's; the next one starts afresh.
    return turn;
  }
}

class VaultIntake implements JournalIntake {
  readonly peer: Peer;
  readonly #intakes: GroupIntakes;
  readonly #journal: DirectoryJournal;

  #isOver = false;

  constructor(intakes: GroupIntakes, journal: DirectoryJournal, peer: Peer) {
    this.#intakes = intakes;
    this.#journal = journal;
    this.peer = peer;
  }

  head(): Point | null {
    return this.#journal.head();
  }

  /** Whoever does not hold the group learns who does and where it stands, and nothing of its machines and their disks. */
  async ask(): Promise<IntakeStanding> {
    const standing = await this.#journal.ask();
    const { generation, head } = standing;
    if (generation === null || generation.holder === this.peer.id) return standing;
    const nothing = { machines: [], disks: [], notes: [] };
    return { ...standing, staged: [], head: head === null ? null : { ...head, ...nothing } };
  }

  begin(header: PointHeader): Promise<PointWriter> {
    return this.#intakes.begin(header, this);
  }

  stage(request: StageRequest): Promise<StagedDisk> {
    return this.#intakes.stage(request, this);
  }

  confirmCurrent(confirmation: { readonly point: PointId; readonly atMs: number }): Promise<void> {
    return this.#intakes.confirm(confirmation, this.peer);
  }

  owedSince(): PointId | null {
    return this.#journal.owedSince();
  }

  /** LINK_RESET once it was disposed. */
  checkOpen(): void {
    if (this.#isOver) throw overFault();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    return this.#intakes.close(this);
  }
}

function heldByAnother(journal: DirectoryJournal, peer: Peer, generation: Generation): Fault {
  const { number, holder } = generation;
  const group = journal.group.name;
  const former = journal.group.state.formerNumberOf(peer.id);
  const code = former === null ? "GENERATION_CONFLICT" : "GENERATION_STALE";
  const message = `${group}: generation ${number} of the group is held by ${holder}, not by ${peer.name}`;
  return new Fault(code, message, { group, number, holder });
}

function notItself({ group, generation }: PointHeader, peer: Peer): Fault {
  const { number, holder } = generation;
  const message = `${group}: ${peer.name} is ${peer.id} and cannot write as ${holder}`;
  return new Fault("GENERATION_CONFLICT", message, { group, number, holder: peer.id });
}
