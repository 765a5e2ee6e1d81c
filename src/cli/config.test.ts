import { describe, expect, test } from "vitest";
import { Fault } from "../base/fault.ts";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import { configLengthBytesMax, parseConfig, readConfig } from "./config.ts";
import { intervalOf } from "./config-interval.ts";

const good = `# A comment.
vault: /srv/vault
intervalSeconds: 2
scratch:
  directory: /var/lib/afterimage
  capBytes: 2GiB
retention:
  pointsMax: 100
  ageSeconds: 7d
groups:
  - name: erp
    machines:
      - name: db
        qmp: /run/db.qmp
        disks:
          - name: data
            node: d0
          - name: wal
            node: d1
  - name: mail
    intervalSeconds: 500ms
    machines:
      - name: mx
        disks:
          - name: root
            image: /images/mx.qcow2
            tracking: transient
`;

function problemsOf(text: string): string {
  try {
    parseConfig(text, "a.yaml");
  } catch (error) {
    if (error instanceof Fault && error.code === "CONFIG_INVALID") return error.message;
    throw error;
  }
  throw new Error("the configuration was accepted");
}

test("a good file is read, with units applied and defaults filled in", () => {
  const config = parseConfig(good, "a.yaml");
  expect(config.intervalSeconds).toBe(2);
  expect(config.scratch.capBytes).toBe(2 * 2 ** 30);
  expect(config.compression).toBe("off");
  expect(config.retention).toEqual({ pointsMax: 100, ageSeconds: 604_800 });
  expect(config.groups[1]?.intervalSeconds).toBe(0.5);
  expect(config.groups[0]?.machines[0]?.disks[0]?.tracking).toBe("persistent");
});

test("the configuration cannot be changed after it was read", () => {
  const config = parseConfig(good, "a.yaml");
  expect(Object.isFrozen(config.groups[0]?.machines[0]?.disks)).toBe(true);
});

describe("a mistake is named with its line and key", () => {
  const replaced = (from: string, to: string) => {
    expect(good).toContain(from);
    return problemsOf(good.replace(from, to));
  };

  test("an unknown key", () => {
    expect(replaced("pointsMax", "pointMax")).toContain(
      "a.yaml:8: retention.pointMax: unknown key",
    );
    expect(replaced("        qmp:", "        qpm:")).toContain(
      "a.yaml:14: groups[0].machines[0].qpm: unknown key",
    );
  });
  test("a negative interval", () => {
    expect(replaced("intervalSeconds: 2", "intervalSeconds: -2")).toBe(
      "a.yaml:3: intervalSeconds: at least 0.1 seconds",
    );
    expect(replaced("500ms", "-500ms")).toContain("at least 0.1 seconds");
  });
  test("a unit that is none", () => {
    expect(replaced("2GiB", "2GB")).toBe(
      'a.yaml:6: scratch.capBytes: "2GB" is no size; units are B, KiB, MiB, GiB, TiB',
    );
  });
  test("a key that is missing", () => {
    expect(replaced("vault: /srv/vault\n", "")).toContain("vault: this key is missing");
  });
  test("a disk of two groups", () => {
    const problems = replaced(
      "image: /images/mx.qcow2",
      "image: /images/mx.qcow2\n          - name: twin\n            image: /images/mx.qcow2",
    );
    expect(problems).toBe(
      "a.yaml:28: groups[1].machines[0].disks[1].image: the disk of mail/mx/root already",
    );
    const both = replaced("      - name: mx\n", "      - name: mx\n        qmp: /run/db.qmp\n");
    expect(both).toContain("the socket of erp/db already");
    const node = replaced("node: d1", "node: d0");
    expect(node).toBe(
      "a.yaml:19: groups[0].machines[0].disks[1].node: the disk of erp/db/data already",
    );
  });
  test("a name used twice", () => {
    expect(replaced("name: mail", "name: erp")).toContain('a second group named "erp"');
    expect(replaced("name: wal", "name: data")).toContain('a second disk named "data"');
  });
  test("a name that cannot be a file's", () => {
    expect(replaced("name: erp", "name: ../erp")).toContain("a.yaml:11: groups[0].name: 1 to 63");
  });
  test("directories within each other", () => {
    const inside = replaced("/var/lib/afterimage", "/srv/vault/scratch");
    expect(inside).toContain("scratch.directory: scratch and vault must not lie within each other");
    expect(problemsOf(good.replace("/srv/vault", "/var/lib"))).toContain("within each other");
    expect(replaced("/var/lib/afterimage", "/srv/vault")).toContain("within each other");
  });
  test("a machine that is off and a disk without an image", () => {
    expect(replaced("            image: /images/mx.qcow2", "            node: d0")).toContain(
      "the machine has no `qmp`, so the disk needs `image`",
    );
  });
  test("a group with more disks than a point can hold", () => {
    const disks = Array.from({ length: 64 }, (_, disk) => `{name: d${disk}, node: n${disk}}`);
    const machines = Array.from(
      { length: 17 },
      (_, machine) => `{name: m${machine}, qmp: /run/${machine}, disks: [${disks.join(", ")}]}`,
    );
    const text = `vault: /a\nscratch: {directory: /b}\ngroups: [{name: a, machines: [${machines.join(", ")}]}]`;
    expect(problemsOf(text)).toBe(
      "a.yaml:3: groups[0].machines: 1088 disks; a group has at most 1024",
    );
  });
  test("a relative path", () => {
    expect(replaced("/srv/vault", "vault")).toContain("vault: an absolute path");
  });
  test("text that is no YAML, and a key written twice", () => {
    expect(problemsOf("vault: [")).toMatch(/^a.yaml:1: /);
    expect(replaced("intervalSeconds: 2\n", "intervalSeconds: 2\nintervalSeconds: 3\n")).toContain(
      "a.yaml:4: Map keys must be unique",
    );
    expect(problemsOf("")).toContain("groups: this key is missing");
  });
});

test("aliases that multiply are refused", () => {
  const lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"];
  for (let n = 1; n < 9; n += 1) lines.push(`a${n}: &a${n} [${`*a${n - 1}, `.repeat(10)}]`);
  expect(problemsOf(lines.join("\n"))).toMatch(/^a.yaml: .*alias/);
});

test("a file that is not there, and one that is too large", async () => {
  const files = memoryFileSystem();
  await expect(readConfig(files, "/a.yaml")).rejects.toMatchObject({ code: "STORAGE_MISSING" });
  await using file = await files.open("/a.yaml", "create");
  await file.truncate(configLengthBytesMax + 1);
  await expect(readConfig(files, "/a.yaml")).rejects.toMatchObject({ code: "CONFIG_INVALID" });
});

test("disks that are read over NBD need the machine's forwarded QMP socket", () => {
  const nbd = '        nbd: {address: "192.0.2.9:10809", tls: /tls}\n';
  const at = "        qmp: /run/db.qmp\n";
  expect(parseConfig(good.replace(at, `${at}${nbd}`), "a.yaml").groups).toHaveLength(2);
  expect(problemsOf(good.replace(at, nbd))).toContain("needs its `qmp`");
});

describe("one process or two sites", () => {
  const twoSites = good
    .replace("vault: /srv/vault", "state: /var/lib/afterimage-state")
    .replace(/retention:\n.*\n.*\n/, "");
  const changed = (from: string, to: string, text = twoSites) => {
    expect(text).toContain(from);
    return problemsOf(text.replace(from, to));
  };

  test("the defaults of two sites", () => {
    const config = parseConfig(twoSites, "a.yaml");
    expect(config.spool).toEqual({ capBytes: 64 * 2 ** 30, reserveBytes: 5 * 2 ** 30 });
    expect(config.link).toEqual({
      connections: 4,
      bytesPerSecondMax: null,
      schedule: [],
      clockOffsetMaxSeconds: 5,
    });
    expect(config.groups[0]?.onStale).toBe("alarm");
    expect(config.metrics).toBeUndefined();
  });
  test("neither and both are refused", () => {
    expect(changed("state: /var/lib/afterimage-state\n", "")).toContain("or `state` is");
    expect(changed("state:", "vault: /srv/vault\nstate:")).toBe(
      "a.yaml:3: state: `vault` is given beside it; with `vault` one process does it all, with `state` the vault is another site's",
    );
  });
  test("keys of the other form are refused, whatever their value", () => {
    const line = "intervalSeconds: 2\n";
    expect(changed(line, `${line}link: {}\n`, good)).toContain("link: it belongs to two sites");
    expect(changed("    machines:", "    onStale: alarm\n    machines:", good)).toBe(
      "a.yaml:12: groups[0].onStale: it belongs to two sites and needs `state` instead of `vault`",
    );
    expect(changed(line, `${line}retention: {pointsMax: 3}\n`)).toContain("vault.yaml");
  });
  test("a line of a schedule that is none is named", () => {
    const link = (line: string) => `link: {schedule: ["daily 1MiB", "${line}"]}\nscratch:`;
    expect(() =>
      parseConfig(twoSites.replace("scratch:", link("sat,sun unlimited")), "a.yaml"),
    ).not.toThrow();
    expect(changed("scratch:", link("mon-fri 08:00-25:00 1MiB"))).toContain(
      'a.yaml:4: link.schedule[1]: "mon-fri 08:00-25:00": "25:00" is no time',
    );
    expect(changed("scratch:", link("daily 1MB"))).toContain('"1MB" is no value');
    expect(changed("scratch:", link("daily 1KiB"))).toContain('"1KiB" is no value');
    expect(changed("scratch:", 'sync: {windows: ["mo"]}\nscratch:')).toContain('"mo" is no day');
  });
  test("scratch, state and spool are apart; the spool may lie in the state", () => {
    const spool = (path: string) => `spool: {directory: ${path}}\nscratch:`;
    expect(() =>
      parseConfig(twoSites.replace("scratch:", spool("/var/lib/afterimage-state/spool")), "a.yaml"),
    ).not.toThrow();
    expect(changed("scratch:", spool("/var/lib/afterimage/x"))).toContain("scratch and spool");
    expect(changed("scratch:", spool("/var/lib"))).toContain("the state must not lie within");
    expect(changed("/var/lib/afterimage\n", "/var/lib/afterimage-state/s\n")).toContain(
      "scratch and state must not lie within each other",
    );
  });
});

describe("an interval or a target", () => {
  const top = (lines: string) => good.replace("intervalSeconds: 2", lines);
  const intervals = (lines: string) => {
    const config = parseConfig(top(lines), "a.yaml");
    return config.groups.map((group) => intervalOf(config, group));
  };

  test("a target at the top, an interval of one group's own", () => {
    expect(intervals("targetRpoSeconds: 15")).toEqual([
      {
        kind: "target",
        targetRpoSeconds: 15,
        intervalMinSeconds: 1,
        intervalMaxSeconds: 15,
      },
      { kind: "fixed", intervalSeconds: 0.5 },
    ]);
  });
  test("neither is ten seconds", () => {
    expect(intervals("# nothing")[0]).toEqual({ kind: "fixed", intervalSeconds: 10 });
  });
  test("both at one place, bounds without a target, and bounds that cannot hold it are refused", () => {
    expect(problemsOf(top("intervalSeconds: 2\ntargetRpoSeconds: 5"))).toContain(
      "a.yaml:4: targetRpoSeconds: `intervalSeconds` is given beside it",
    );
    expect(problemsOf(top("intervalMaxSeconds: 2"))).toContain("it needs `targetRpoSeconds`");
    expect(problemsOf(top("targetRpoSeconds: 5\nintervalMinSeconds: 5"))).toContain(
      "points every 5 s cannot hold targetRpoSeconds, 5 s",
    );
    expect(
      problemsOf(top("targetRpoSeconds: 50\nintervalMinSeconds: 5\nintervalMaxSeconds: 4")),
    ).toContain("5 s is above intervalMaxSeconds, 4 s");
  });
});

test.each(["0.0.0.0:9641", "192.168.0.1:9641", "127.0.0.1", "127.0.0.1:99999", ":9641"])(
  "metrics for other hosts are refused: %s",
  (address) => {
    const text = good.replace("scratch:", `metrics: "${address}"\nscratch:`);
    expect(problemsOf(text)).toContain("is no address of this host alone");
  },
);
test.each([
  ["127.0.0.1:9641", "127.0.0.1"],
  ["localhost:9641", "127.0.0.1"],
  ["[::1]:9641", "::1"],
])("metrics at %s", (address, host) => {
  const text = good.replace("scratch:", `metrics: "${address}"\nscratch:`);
  expect(parseConfig(text, "a.yaml").metrics).toEqual({ host, port: 9641 });
});
