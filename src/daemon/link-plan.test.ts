import { describe, expect, test } from "vitest";
import { MIB } from "../base/units.ts";
import { parseConfig } from "../cli/config.ts";
import type { GroupName } from "../core/ids.ts";
import { restartNeeds } from "./config-changes.ts";
import { diskCodec } from "./disk-codec.ts";
import { areSameCaps, linkPlan, syncOpening } from "./link-plan.ts";

const text = `state: /state
scratch: {directory: /scratch}
compression: zstd
link:
  bytesPerSecondMax: 60MiB
  schedule: ["mon-fri 08:00-18:00 10MiB", "sun unlimited"]
sync: {windows: ["sat 00:00-12:00"]}
groups:
  - name: erp
    link: {bytesPerSecondMax: 5MiB}
    machines: [{name: db, qmp: /db.qmp, compression: "off", disks: [{name: data, node: d0}]}]
  - name: mail
    machines: [{name: mx, qmp: /mx.qmp, disks: [{name: data, node: d0}]}]
`;
const config = parseConfig(text, "a.yaml");
const erp = "erp" as GroupName;
/** By the clock on this host's wall, as schedules are meant. */
const local = (day: number, hour: number) => new Date(2026, 10, day, hour).getTime();
const [saturday, sunday, monday] = [21, 22, 23];

describe("caps follow the week", () => {
  const plan = linkPlan(config);
  test.each([
    ["on monday at nine", local(monday, 9), 10 * MIB],
    ["on monday at seven", local(monday, 7), 60 * MIB],
    ["on sunday", local(sunday, 9), null],
  ])("%s", (_, wallMs, link) => {
    expect(plan.capsAt(wallMs)).toEqual({ link, groups: new Map([[erp, 5 * MIB]]) });
  });
  test("and are told apart", () => {
    const [day, night] = [plan.capsAt(local(monday, 9)), plan.capsAt(local(monday, 7))];
    expect(areSameCaps(day, plan.capsAt(local(monday, 10)))).toBe(true);
    expect(areSameCaps(day, night)).toBe(false);
    expect(areSameCaps(day, { ...day, groups: new Map() })).toBe(false);
    expect(areSameCaps(day, { ...day, groups: new Map([[erp, 1]]) })).toBe(false);
  });
});

test("disks are read whole inside the windows alone", () => {
  const opening = syncOpening(config);
  expect(opening(local(saturday, 11))).toEqual({ isOpen: true, untilMs: local(saturday, 12) });
  expect(opening(local(saturday, 13))).toEqual({
    isOpen: false,
    untilMs: local(saturday + 7, 0),
  });
  const always = syncOpening(parseConfig(text.replace(/sync:.*/, ""), "a.yaml"));
  expect(always(local(monday, 9)).isOpen).toBe(true);
});

test("compression is the machine's word, else the group's, else the top's", () => {
  expect(diskCodec(config, erp, "db/data" as never)).toBe("raw");
  expect(diskCodec(config, "mail" as GroupName, "mx/data" as never)).toBe("zstd");
});

describe("what a running replicator was built from needs a restart", () => {
  test.each<[string, RegExp | string, string, readonly string[]]>([
    ["a cap", "60MiB", "1MiB", []],
    ["compression", 'compression: "off"', "compression: zstd", []],
    ["a schedule", "sun unlimited", "sun 1MiB", []],
    ["an interval", "compression: zstd", "targetRpoSeconds: 9", []],
    ["the spool", "scratch:", "spool: {capBytes: 1GiB}\nscratch:", ["spool"]],
    ["connections", "link:\n", "link:\n  connections: 2\n", ["link.connections"]],
    [
      "a disk",
      "name: data, node: d0}]}]\n  - name: mail",
      "name: data, node: d1}]}]\n  - name: mail",
      ["groups: erp.machines"],
    ],
    ["a group", "name: mail", "name: post", ["groups: post is new", "groups: mail is gone"]],
  ])("%s", (_, from, to, needs) => {
    expect(text).toMatch(from);
    expect(restartNeeds(config, parseConfig(text.replace(from, to), "a.yaml"))).toEqual(needs);
  });
});
