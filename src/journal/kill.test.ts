import { describe, expect, test } from "vitest";
import type { DirectoryJournal } from "./directory-journal.ts";
import { expectAllRight, filledVault, interruptEverywhere, works } from "./kill-cases-for-test.ts";
import { type MoveBasePhase, moveBasePhases } from "./move-base.ts";
import { type ThinPhase, thinPhases } from "./thin.ts";
import type { TestVault } from "./vault-for-test.ts";

const signal = new AbortController().signal;

class Killed extends Error {}

function killAt<Phase extends string>(wanted: Phase, seen: Set<Phase>) {
  return (phase: Phase) => {
    seen.add(phase);
    if (phase === wanted) throw new Killed(phase);
  };
}

async function expectNoLeftovers(vault: TestVault, journal: DirectoryJournal): Promise<void> {
  const { state } = journal.group;
  const names = await vault.files.list(vault.layout.deltas);
  expect(names).toEqual(
    state
      .deltas()
      .map((delta) => delta.file)
      .sort(),
  );
  expect(await vault.files.list(vault.layout.incoming)).toEqual([]);
  const bases = new Set(
    (await vault.files.list(vault.layout.base)).map((name) => name.slice(0, 16)),
  );
  expect([...bases].sort()).toEqual([...state.identities()].sort());
}

describe("killed while moving the base", () => {
  const seen = new Set<MoveBasePhase>();
  test.each(moveBasePhases)("at %s", async (phase) => {
    const { vault, journal, history } = await filledVault({ seed: 1 });
    const to = journal.points()[4]!.id;
    const onPhase = killAt(phase, seen);
    await expect(journal.moveBase({ to, signal, onPhase })).rejects.toThrow(Killed);
    vault.kill();
    const next = await expectAllRight(vault, history);
    await next.moveBase({ to, signal });
    expect(next.points()[0]?.id).toBe(to);
    expect(next.group.state.position).toBe(5);
    await history.check(next);
    const last = await expectAllRight(vault, history);
    await expectNoLeftovers(vault, last);
  });
  test("every phase of the list is gone through", () =>
    expect([...seen]).toEqual([...moveBasePhases]));
});

describe("killed while thinning", () => {
  const seen = new Set<ThinPhase>();
  test.each(thinPhases)("at %s", async (phase) => {
    const { vault, journal, history } = await filledVault({ seed: 2 });
    const keep = [journal.points()[2]!.id, journal.points()[6]!.id];
    const onPhase = killAt(phase, seen);
    await expect(journal.thin({ keep, signal, onPhase })).rejects.toThrow(Killed);
    vault.kill();
    const next = await expectAllRight(vault, history);
    const headBefore = next.points().at(-2)!.id;
    await next.thin({ keep: [...keep, headBefore], signal });
    expect(next.points().map((point) => point.sequence)).toEqual([3, 7, 8, 9]);
    expect(next.group.state.deltas()).toHaveLength(4);
    await history.check(next);
    await expectNoLeftovers(vault, await expectAllRight(vault, history));
  });
  test("every phase of the list is gone through", () => expect([...seen]).toEqual([...thinPhases]));
});

describe.each(["killed", "full"] as const)("%s at changes of files", (mode) => {
  test.each(works)("while %s", (_, work) => interruptEverywhere(work, mode, 3));
});
