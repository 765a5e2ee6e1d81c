import { execFileSync } from "node:child_process";
import { cpus, release, totalmem } from "node:os";
import { formatBytes } from "../src/base/units.ts";

/** The machine a bench ran on, one line for docs/performance.md. */
export function describeMachine(): string {
  const processors = cpus();
  const model = processors[0]?.model.replace(/\s+/g, " ").trim() ?? "unknown processor";
  return [
    `${processors.length} x ${model}`,
    formatBytes(totalmem()),
    `Linux ${release()}`,
    `Node ${process.versions.node}`,
    versionOf("qemu-img"),
  ].join(", ");
}

function versionOf(program: string): string {
  try {
    const said = execFileSync(program, ["--version"], { encoding: "utf8" });
    return `QEMU ${/version (\S+)/.exec(said)?.[1] ?? "of unknown version"}`;
  } catch {
    return "no QEMU";
  }
}
