import { expect, test } from "vitest";
import type { StagedDisk } from "../core/journal.ts";
import { blockSizeBytes } from "../core/limits.ts";
import { VaultStagedDisk } from "./vault-streams.ts";

test("parts whose way ends are closed when what is being written to them is, not before", async () => {
  const calls: string[] = [];
  const gate = Promise.withResolvers<void>();
  const status = { kind: "base", sizeBytes: blockSizeBytes, resumeAtBytes: 0 };
  const inner = {
    status,
    write: async () => {
      await gate.promise;
      calls.push("written");
    },
    [Symbol.asyncDispose]: async () => void calls.push("closed"),
  } as unknown as StagedDisk;
  const watcher = {
    onBytes: () => void calls.push("told"),
    onCheckpoint: () => {},
    onConfirmed: () => {},
    onSealed: () => {},
  };
  const staged = new VaultStagedDisk({ inner, owner: {}, watcher });
  const writing = staged.write(0, Buffer.alloc(blockSizeBytes));
  const closing = staged[Symbol.asyncDispose]();
  const late = staged.write(0, Buffer.alloc(blockSizeBytes));
  await expect(late).rejects.toMatchObject({ code: "LINK_RESET" });
  gate.resolve();
  await Promise.all([writing, closing]);
  expect(calls.indexOf("closed")).toBeGreaterThan(calls.indexOf("written"));
});
