import { dirname, join } from "node:path";
import type { Command } from "commander";
import { Fault } from "../base/fault.ts";
import { GIB, MIB } from "../base/units.ts";
import type { Finding } from "../core/platform.ts";
import { probeReplication } from "../qemu/probe.ts";
import { probeMachines } from "../qemu/probe-machines.ts";
import { probeDirectory, probeRunningMachine } from "../qemu/probe-place.ts";
import { absolutePath } from "./arguments.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { readConfig } from "./config.ts";
import type { Config } from "./config-schema.ts";
import { verbCommand } from "./program.ts";
import { startProgress } from "./progress.ts";

/** A vault with less room than this will not take points for long. */
const vaultFreeBytesMin = 10 * GIB;
/** Who a replicator is takes little. */
const stateFreeBytesMin = 16 * MIB;

interface DoctorOptions extends CommonOptions {
  readonly config?: string;
  readonly vault?: string;
}

type Probe = readonly [step: string, look: () => Promise<readonly Finding[]>];

/** `afterimage doctor` */
export function doctorVerb(context: CommandContext): Command {
  return verbCommand(
    "doctor",
    "try what replication and recovery need of this host; each finding comes with its fix",
    "afterimage doctor --config /etc/afterimage.yaml",
  )
    .option(
      "--config <file>",
      "also look at the directories (vault or state, spool, scratch) and the machines it names",
    )
    .option("--vault <directory>", "also look at this vault")
    .action((options: DoctorOptions) => runDoctor(context, options));
}

async function runDoctor(context: CommandContext, options: DoctorOptions): Promise<void> {
  const { clock, signal, files } = context;
  const config =
    options.config === undefined ? null : await readConfig(files, absolutePath(options.config));
  const probes: Probe[] = [
    ["trying to take a point", () => probeReplication({ clock, signal })],
    ["trying to start a machine", () => probeMachines({ clock, signal })],
    ...directoryProbes(context, config, options.vault ?? null),
    ...machineProbes(context, config),
  ];
  const findings: Finding[] = [];
  {
    using progress = startProgress(context.terminal, clock);
    for (const [step, look] of probes) {
      progress.step(step);
      findings.push(...(await look()));
    }
  }
  const failed = findings.filter((finding) => !finding.ok);
  printResult(context, options, {
    json: { ok: failed.length === 0, findings },
    text: findings.map(describe).join("\n"),
  });
  if (failed.length > 0) {
    const names = failed.map(({ name }) => name).join(", ");
    throw new Fault("CHECK_FAILED", `${failed.length} of ${findings.length} findings: ${names}`);
  }
}

function directoryProbes(
  { files }: CommandContext,
  config: Config | null,
  vault: string | null,
): readonly Probe[] {
  const vaults = [
    ...(vault === null ? [] : [absolutePath(vault)]),
    ...(config?.vault === undefined ? [] : [config.vault]),
  ];
  const probes = vaults.map((path) => ({ what: "vault", path, freeBytesMin: vaultFreeBytesMin }));
  if (config !== null) {
    const { state, spool } = config;
    if (state !== undefined) {
      probes.push({ what: "state", path: state, freeBytesMin: stateFreeBytesMin });
      const path = spool.directory ?? join(state, "spool");
      probes.push({ what: "spool", path, freeBytesMin: spool.reserveBytes + GIB });
    }
    const { directory, capBytes } = config.scratch;
    // Each group reserves its cap before each cycle.
    const freeBytesMin = capBytes * config.groups.length;
    probes.push({ what: "scratch", path: directory, freeBytesMin });
  }
  return probes.map((probe) => [
    `looking at ${probe.path}`,
    async () => {
      // Scratch and spool are made when they are needed: what counts until then is where they will lie.
      const isMade = probe.what === "scratch" || probe.what === "spool";
      const isThere = !isMade || (await files.stat(probe.path)) !== null;
      return probeDirectory({ files, ...probe, path: isThere ? probe.path : dirname(probe.path) });
    },
  ]);
}

function machineProbes({ signal }: CommandContext, config: Config | null): readonly Probe[] {
  return (config?.groups ?? []).flatMap((group) =>
    group.machines.flatMap(({ name, qmp }): readonly Probe[] => {
      if (qmp === undefined) return [];
      const machine = `${group.name}/${name}`;
      const look = () => probeRunningMachine({ machine, qmpPath: qmp, signal });
      return [[`looking at ${machine}`, look]];
    }),
  );
}

function describe({ name, ok, detail, fix }: Finding): string {
  const head = `${ok ? "ok  " : "FAIL"}  ${name}: ${detail}`;
  return fix === null ? head : `${head}\n      ${ok ? "better" : "fix"}: ${fix}`;
}
