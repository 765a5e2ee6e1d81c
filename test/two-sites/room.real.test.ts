import { dirname } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MIB } from "../../src/base/units.ts";
import { ballast, SmallRooms } from "./small-rooms.ts";
import { noHarm, Trial } from "./trial.ts";

// Vault and spool lie on small file systems of their own, so that they really fill. Needs root for the mounts.

const vaultRoomBytes = 512 * MIB;
const spoolRoomBytes = 96 * MIB;
const spoolCapBytes = 64 * MIB;

let trial: Trial;
let since = 0;
const rooms = new SmallRooms();

describe.skipIf(process.getuid?.() !== 0)(
  "nothing is lost when room runs out (root, for mounts)",
  () => {
    beforeAll(async () => {
      trial = await Trial.begin({
        seed: 20_261_126,
        capBytes: { scratch: 64 * MIB, spool: spoolCapBytes },
        mountRooms: async ({ vault, spool }) => {
          await rooms.mount(vault, vaultRoomBytes);
          await rooms.mount(spool, spoolRoomBytes);
        },
      });
    });
    afterAll(async () => {
      await rooms[Symbol.asyncDispose]();
      await trial[Symbol.asyncDispose]();
    });

    test("vault disk full: points wait in the spool until there is room", async () => {
      since = trial.points.newestSequence;
      const { replicator, vaultDirectory } = trial.sites;
      const { mark } = replicator;
      {
        await using _full = await ballast(dirname(vaultDirectory));
        await replicator.seen(({ code }) => code === "STORAGE_FULL", { mark });
        await trial.cuts(1);
      }
      expect(await trial.harm(since)).toEqual(noHarm);
    });

    test("spool disk full: no point is cut, bitmaps gather, and all of it comes when the vault is back", async () => {
      since = trial.points.newestSequence;
      const { replicator, spoolDirectory, vault } = trial.sites;
      const { mark } = replicator;
      await vault.kill();
      await trial.cuts(1);
      {
        await using _full = await ballast(spoolDirectory);
        await replicator.seen(isNoRoom, { mark });
        await trial.sites.startVault();
        expect(await trial.harm(since)).toEqual(noHarm);
      }
    });

    test("spool at its cap: it says so, and goes on when the vault is back; a kill there changes nothing", async () => {
      since = trial.points.newestSequence;
      const { replicator, vault } = trial.sites;
      const { mark } = replicator;
      await vault.kill();
      trial.writer.pauseMs = 0;
      await replicator.seen(({ code }) => code === "SPOOL_FULL", { mark });
      trial.writer.pauseMs = 8;
      await replicator.kill();
      const restarted = await trial.sites.startReplicator();
      await restarted.seen(isNoRoom);
      await trial.sites.startVault();
      expect(await trial.harm(since)).toEqual(noHarm);
    });
  },
);

const isNoRoom = ({ code }: { readonly [key: string]: unknown }) =>
  code === "SPOOL_FULL" || code === "STORAGE_FULL";
