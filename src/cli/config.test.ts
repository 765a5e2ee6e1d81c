import { describe, expect, test } from "vitest";
import { Fault } from "../base/fault.ts";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import { configLengthBytesMax, parseConfig, readConfig } from "./config.ts";

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
    expect(problemsOf("")).toContain("vault: this key is missing");
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
