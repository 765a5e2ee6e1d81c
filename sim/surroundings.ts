import type { Prng } from "../src/base/prng.ts";
import type { DiskName, GroupName, MachineName } from "../src/core/ids.ts";
import { blockSizeBytes, sectorSizeBytes } from "../src/core/limits.ts";
import { idInBitmapName, isBitmapOfGroup } from "./bitmap.ts";
import { between, happens, pick } from "./chance.ts";
import type { VirtualClock } from "./clock.ts";
import type { Estate, EstateDisk, ImageCopy } from "./estate.ts";
import { drawSizeBytes, type Swarm } from "./swarm.ts";

/** What of a world is of interest to the estate. */
export type EstateSwarm = Pick<
  Swarm,
  "machines" | "disks" | "guest" | "estate" | "clockJumpRate"
> & {
  /** Size of a new disk; as `drawSizeBytes` when not given. */
  readonly drawSizeBytes?: (prng: Prng) => number;
};

const jumpMaxMs = 3_600_000;

/** What guests and administrators do to the estate while we work: a little between any two of our calls. */
export class Surroundings {
  readonly #prng: Prng;
  readonly #swarm: EstateSwarm;
  readonly #estate: Estate;
  readonly #clock: Pick<VirtualClock, "jump">;
  readonly #group: GroupName;
  readonly #tell: (event: string) => void;
  readonly #excuse: () => void;
  readonly #isPoint: (id: string) => boolean;
  readonly #copies: { readonly disk: DiskName; readonly copy: ImageCopy }[] = [];
  /** Per disk, how often it was cut, and how often by the newest point that was sealed. */
  readonly #cuts = new Map<DiskName, number>();
  readonly #cutsAtInstant = new Map<string, ReadonlyMap<DiskName, number>>();
  #cutsSealed: ReadonlyMap<DiskName, number> = new Map();
  #writes = 0;
  #disksMade = 0;

  constructor(options: {
    prng: Prng;
    swarm: EstateSwarm;
    estate: Estate;
    clock: Pick<VirtualClock, "jump">;
    group: GroupName;
    tell: (event: string) => void;
    /** Called when something happens that may cost a disk its tracking. */
    excuse: () => void;
    /** Whether an id is that of a point; otherwise it is a sync's. */
    isPoint: (id: string) => boolean;
  }) {
    this.#prng = options.prng;
    this.#swarm = options.swarm;
    this.#estate = options.estate;
    this.#clock = options.clock;
    this.#group = options.group;
    this.#tell = options.tell;
    this.#excuse = options.excuse;
    this.#isPoint = options.isPoint;
  }

  /** The group's disks to begin with; each machine has at least one. */
  build(): void {
    for (let index = 0; index < Math.max(this.#swarm.disks, this.#swarm.machines); index += 1) {
      this.addDisk();
    }
  }

  /** Between two calls of ours. */
  turn(): void {
    const { guest, estate } = this.#swarm;
    const prng = this.#prng;
    if (happens(prng, guest.writeRate)) this.#write();
    if (happens(prng, guest.trimRate)) this.#trim();
    if (happens(prng, guest.resizeRate)) this.#resize();
    if (happens(prng, estate.killRate)) this.#kill();
    if (happens(prng, estate.stopRate)) this.#stop();
    if (happens(prng, estate.bitmapLossRate)) this.#loseBitmap();
    if (happens(prng, this.#swarm.clockJumpRate)) {
      const byMs = between(prng, -jumpMaxMs, jumpMaxMs);
      this.#tell(`the wall clock jumps by ${byMs} ms`);
      this.#clock.jump(byMs);
    }
    // Stopped machines come back after a while.
    for (const machine of this.#estate.machines.values()) {
      if (!machine.isRunning && happens(prng, 0.02)) this.start(machine.name);
    }
  }

  /** A burst of writes between two cycles. */
  burst(): void {
    for (let count = between(this.#prng, 0, 6); count > 0; count -= 1) this.#write();
  }

  noteInstant(id: string): void {
    this.#cutsAtInstant.set(id, new Map(this.#cuts));
  }

  /** A point is safe, and with it what was cut off disks before it. */
  noteSealed(id: string): void {
    this.#cutsSealed = this.#cutsAtInstant.get(id) ?? this.#cutsSealed;
  }

  start(name: MachineName): void {
    this.#tell(`${name} starts`);
    this.#estate.startMachine(name);
  }

  addDisk(): DiskName {
    const machine = `m${this.#disksMade % this.#swarm.machines}`;
    const name = `${machine}/d${this.#disksMade}` as DiskName;
    this.#disksMade += 1;
    const canPersist = !happens(this.#prng, this.#swarm.estate.rawRate);
    const sizeBytes = this.#drawSizeBytes();
    this.#estate.addDisk(name, { sizeBytes, canPersist });
    this.#tell(`disk ${name} of ${sizeBytes} bytes${canPersist ? "" : ", raw"}`);
    if (this.#isRunning(name)) for (let count = 0; count < 5; count += 1) this.#writeTo(name);
    return name;
  }

  #write(): void {
    this.#writeTo(pick(this.#prng, [...this.#estate.disks.keys()]));
  }

  #writeTo(name: DiskName): void {
    const { offsetBytes, lengthBytes } = this.#drawRun(name);
    this.#writes += 1;
    const data = Buffer.alloc(lengthBytes, `write ${String(this.#writes).padStart(9, "0")} `);
    if (!this.#estate.write(name, offsetBytes, data)) return;
    this.#tell(`${name} write ${this.#writes} at ${offsetBytes}+${lengthBytes}`);
  }

  #trim(): void {
    const name = pick(this.#prng, [...this.#estate.disks.keys()]);
    const { offsetBytes, lengthBytes } = this.#drawRun(name);
    if (!this.#estate.trim(name, offsetBytes, lengthBytes)) return;
    this.#tell(`${name} trim at ${offsetBytes}+${lengthBytes}`);
  }

  /** Sectors or whole blocks, mostly in the hot part. */
  #drawRun(name: DiskName): { offsetBytes: number; lengthBytes: number } {
    const prng = this.#prng;
    const diskSectors = this.#estate.disk(name).image.sizeBytes / sectorSizeBytes;
    const blockSectors = blockSizeBytes / sectorSizeBytes;
    const hotSectors = Math.min(diskSectors, this.#swarm.guest.hotBlocks * blockSectors);
    const reachSectors = happens(prng, 0.8) ? hotSectors : diskSectors;
    let start = prng.below(reachSectors);
    let sectors = between(prng, 1, happens(prng, 0.8) ? 16 : 3 * blockSectors);
    if (happens(prng, 0.4)) {
      start -= start % blockSectors;
      sectors = between(prng, 1, 3) * blockSectors;
    }
    sectors = Math.min(sectors, diskSectors - start);
    return { offsetBytes: start * sectorSizeBytes, lengthBytes: sectors * sectorSizeBytes };
  }

  #drawSizeBytes(): number {
    return (this.#swarm.drawSizeBytes ?? drawSizeBytes)(this.#prng);
  }

  #resize(): void {
    const name = pick(this.#prng, [...this.#estate.disks.keys()]);
    const sizeBytes = this.#drawSizeBytes();
    const wasBytes = this.#estate.disk(name).image.sizeBytes;
    const cuts = this.#cuts.get(name) ?? 0;
    // Not promised: a disk that is cut and grown again between two points leaves no trace in its bitmap.
    if (sizeBytes > wasBytes && cuts > (this.#cutsSealed.get(name) ?? 0)) return;
    if (!this.#estate.resize(name, sizeBytes)) return;
    if (sizeBytes < wasBytes) this.#cuts.set(name, cuts + 1);
    this.#tell(`${name} resized to ${sizeBytes}`);
  }

  #kill(): void {
    const name = this.#pickRunning();
    if (name === null) return;
    this.#tell(`${name} is killed`);
    this.#excuse();
    this.#estate.killMachine(name);
  }

  #stop(): void {
    const name = this.#pickRunning();
    if (name === null) return;
    this.#tell(`${name} stops`);
    if (this.#estate.disksOf(name).some((disk) => !disk.canPersist)) this.#excuse();
    this.#estate.stopMachine(name);
    for (const disk of this.#estate.disksOf(name)) {
      this.#copies.push({ disk: disk.name, copy: this.#estate.copyImage(disk.name) });
      if (!happens(this.#prng, this.#swarm.estate.restoreRate) || disk.fleece) continue;
      const fitting = this.#copies.filter(({ copy }) => this.#mayReplace(disk, copy));
      if (fitting.length === 0) continue;
      const { disk: from, copy } = pick(this.#prng, fitting);
      this.#tell(`${disk.name} is replaced by an older image of ${from}`);
      this.#excuse();
      this.#estate.putImage(disk.name, copy);
    }
  }

  /**
   * Of the same format. Not promised: an image that was copied while its disk was being read whole and is put back while it still
   * is. Its bitmap does not know what was written after the copy and staged since.
   */
  #mayReplace(disk: EstateDisk, { canPersist, bitmaps }: ImageCopy): boolean {
    const ours = bitmaps.filter(({ name }) => isBitmapOfGroup(this.#group, name));
    const isOfSync = ours.some(({ name }) => !this.#isPoint(idInBitmapName(name)));
    return canPersist === disk.canPersist && !isOfSync;
  }

  #loseBitmap(): void {
    const disk = pick(this.#prng, [...this.#estate.disks.values()]);
    // One that is being read is in use; QEMU refuses to remove it.
    const ours = [...disk.bitmaps.keys()].filter((name) => isBitmapOfGroup(this.#group, name));
    if (ours.length === 0 || disk.fleece) return;
    const name = pick(this.#prng, ours);
    this.#tell(`bitmap ${name} is removed behind our back`);
    this.#excuse();
    disk.bitmaps.delete(name);
  }

  #pickRunning(): MachineName | null {
    const running = [...this.#estate.machines.values()].filter((machine) => machine.isRunning);
    return running.length === 0 ? null : pick(this.#prng, running).name;
  }

  #isRunning(disk: DiskName): boolean {
    return this.#estate.machine(disk.slice(0, disk.indexOf("/")) as MachineName).isRunning;
  }
}
