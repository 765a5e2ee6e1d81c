import type { Clock } from "../../src/base/clock.ts";
import type { FileSystem } from "../../src/base/file-system.ts";
import type { Prng } from "../../src/base/prng.ts";
import type { DiskIdentity, GroupName } from "../../src/core/ids.ts";
import type { JournalIntake } from "../../src/core/journal.ts";
import { GroupIntakes } from "../../src/daemon/vault-intake.ts";
import { linkReceiver } from "../../src/transport/link-receiver.ts";
import { happens } from "../chance.ts";
import { bear, HeldViews } from "../life.ts";
import type { Network } from "../network.ts";
import type { OpenVault, VaultUnderTest } from "../vault.ts";
import { intakeWith, writerWith } from "./altered.ts";
import type { SitesOracle } from "./oracle.ts";
import type { SiteProcess } from "./site.ts";
import type { SitesSwarm } from "./swarm.ts";

const choresApartMs = 1_000;

/** What a vault's process finds around it. */
export interface VaultSurroundings {
  readonly vault: VaultUnderTest;
  readonly files: FileSystem;
  readonly clock: Clock;
  /** The product's own randomness. */
  readonly prng: Prng;
  /** The world's decisions. */
  readonly dice: Prng;
  readonly group: GroupName;
  readonly swarm: SitesSwarm;
  readonly oracle: SitesOracle;
  readonly network: Network;
  readonly isCalm: () => boolean;
  /** What people do at the recovery site, now and then. */
  readonly chore: (vault: OpenVault) => Promise<void>;
  readonly intake: (intake: JournalIntake) => JournalIntake;
  readonly openVault: (vault: OpenVault) => OpenVault;
  readonly tell: (event: string) => void;
}

/** The vault's process: opens what it finds, takes calls, and looks after its history. */
export async function runVault(room: VaultSurroundings, process: SiteProcess): Promise<void> {
  const { clock, prng, dice, oracle, swarm, tell } = room;
  const points = oracle.points;
  await using vault = room.openVault(
    await room.vault.open({
      ...room,
      swarm: { vault: swarm },
      oracle: points,
      locks: (all) => all,
    }),
  );
  await process.life.freely(() => points.check(vault.journal, dice));
  oracle.noteGeneration(vault.journal);
  const intakes = new GroupIntakes(vault.journal, {
    onBytes: () => {},
    onCheckpoint: () => {},
    onConfirmed: () => {},
    onSealed: () => {},
    onFault: () => {},
  });
  await using _receiver = linkReceiver({
    openGroup: async (peer) => room.intake(noting(intakes.open(peer), oracle, tell)),
    clock,
    prng,
    usesThreads: false,
    onEvent: (event) => tell(`vault: ${event.kind}${"reason" in event ? ` ${event.reason}` : ""}`),
  });
  room.network.listen({ party: process, accept: (channel) => _receiver.accept(channel) });
  const views = new HeldViews({ oracle: points, vault, dice });
  while (!process.signal.aborted) {
    await clock.sleep(choresApartMs, { signal: process.signal }).catch(() => {});
    await bear(tell, "chore", () => room.chore(vault));
    oracle.noteGeneration(vault.journal);
    if (room.isCalm()) continue;
    if (happens(dice, swarm.viewRate)) await bear(tell, "view", () => views.hold());
    if (happens(dice, swarm.upkeepRate)) await bear(tell, "upkeep", () => vault.upkeep());
    await process.life.freely(() => views.checkOne());
    points.checkList(vault.journal);
  }
  await views.close();
}

/** What peers bring, with the oracle told of each seal, and of anything that comes twice. */
function noting(
  intake: JournalIntake,
  oracle: SitesOracle,
  tell: (event: string) => void,
): JournalIntake {
  return intakeWith(intake, {
    begin: async (header) => {
      const writer = await intake.begin(header);
      const written = new Set<string>();
      const once = (disk: DiskIdentity, offsetBytes: number) => {
        const run = `${header.id} ${disk} ${offsetBytes}`;
        if (written.has(run)) oracle.breaks(`${run} is written twice`);
        written.add(run);
      };
      return writerWith(writer, {
        zero: async (disk, offsetBytes, lengthBytes) => {
          once(disk, offsetBytes);
          await writer.zero(disk, offsetBytes, lengthBytes);
        },
        writeStored: async (disk, chunk) => {
          once(disk, chunk.offsetBytes);
          await writer.writeStored(disk, chunk);
        },
        seal: async (sealing) => {
          const point = await writer.seal(sealing);
          oracle.noteSealed(point);
          tell(`vault: sealed #${point.sequence} ${point.id}`);
          return point;
        },
      });
    },
  });
}
