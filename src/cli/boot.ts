import { tmpdir } from "node:os";
import { type Command, InvalidArgumentError, Option } from "commander";
import { formatSeconds } from "../base/units.ts";
import type { View } from "../core/journal.ts";
import type { BootedMachine } from "../core/platform.ts";
import { qemuPlatform } from "../platform/qemu/platform.ts";
import type { Accelerator } from "../qemu/machine-arguments.ts";
import { chooseAccelerator } from "../qemu/probe-machines.ts";
import { type BootedPoint, bootPoint } from "../recovery/boot-point.ts";
import { absolutePath, wholeNumber } from "./arguments.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { interruption } from "./interruption.ts";
import { pointSelectorHelp } from "./point-selector.ts";
import { verbCommand } from "./program.ts";
import { startProgress } from "./progress.ts";
import { describePoint, openPoint, readGroup } from "./vault-access.ts";

interface BootOptions extends CommonOptions {
  readonly point: string;
  readonly machine: readonly string[];
  readonly ready?: RegExp;
  readonly timeout: number;
  readonly untilReady?: boolean;
  readonly console?: boolean;
  readonly accelerator?: Accelerator;
  readonly scratch?: string;
}

/** A machine that runs; `readySeconds` is null when nobody asked. */
interface StartedMachine {
  readonly name: string;
  readonly readySeconds: number | null;
  readonly readyLine: string | null;
}

/** `afterimage boot VAULT GROUP --point P` */
export function bootVerb(context: CommandContext): Command {
  return verbCommand(
    "boot",
    "start the machines of a group from a point in QEMU, without network; the vault never changes",
    "afterimage boot /srv/vault erp --point newest --ready 'login:' --console",
  )
    .argument("<vault>", "the vault's directory")
    .argument("<group>", "the group's name")
    .requiredOption("--point <point>", pointSelectorHelp)
    .option("--machine <name>", "start only this machine (may be given several times)", collect, [])
    .option("--ready <pattern>", "wait until a console line of each machine matches", pattern)
    .option(
      "--timeout <seconds>",
      "how long each may take to become ready",
      wholeNumber(1, 86_400),
      300,
    )
    .option("--until-ready", "stop the machines once they are ready, instead of when interrupted")
    .option("--console", "show what the machines write to their serial consoles, on stderr")
    .addOption(
      new Option("--accelerator <name>", "default: kvm where it works").choices(["kvm", "tcg"]),
    )
    .option(
      "--scratch <directory>",
      "where what the machines write lies (default: where temporary files lie)",
    )
    .action((vault: string, group: string, options: BootOptions) =>
      runBoot(context, { vault, group }, options),
    );
}

async function runBoot(
  context: CommandContext,
  at: { vault: string; group: string },
  options: BootOptions,
): Promise<void> {
  const { clock, signal } = context;
  const access = await readGroup(context, at.vault, at.group);
  await using _vault = access.vault;
  await using view = await openPoint(access, options.point);
  const accelerator = options.accelerator ?? (await chooseAccelerator({ clock, signal }));
  const scratchDirectory = absolutePath(options.scratch ?? tmpdir());
  const platform = qemuPlatform({ clock, accelerator, scratchDirectory });
  await using booted = await bootPoint({ view, platform, only: options.machine, signal });
  if (options.console === true) showConsoles(context, booted);
  const machines = await waitUntilReady(context, booted, options);
  announce(context, view, { accelerator, machines }, options);
  if (options.untilReady === true) return;
  const allEnded = Promise.all(booted.machines.map((machine) => machine.ended));
  await Promise.race([interruption(signal), allEnded]);
}

async function waitUntilReady(
  context: CommandContext,
  booted: BootedPoint,
  { ready, timeout }: BootOptions,
): Promise<readonly StartedMachine[]> {
  if (ready === undefined) {
    return booted.machines.map(({ name }) => ({ name, readySeconds: null, readyLine: null }));
  }
  using progress = startProgress(context.terminal, context.clock);
  progress.step("waiting until the machines are ready");
  const { signal } = context;
  const wait = { pattern: ready, timeoutMs: timeout * 1000, signal };
  return Promise.all(
    booted.machines.map(async (machine) => {
      const { line, seconds } = await machine.waitUntilReady(wait);
      return { name: machine.name, readySeconds: seconds, readyLine: line.text };
    }),
  );
}

function showConsoles({ terminal }: CommandContext, { machines }: BootedPoint): void {
  const show =
    ({ name }: BootedMachine) =>
    (line: { readonly text: string }) =>
      terminal.err(`${name}| ${printable(line.text)}\n`);
  for (const machine of machines) machine.onConsoleLine(show(machine));
}

/** A guest's console may hold anything; escape sequences of a guest do not reach the operator's terminal. */
function printable(text: string): string {
  return text.replace(/[^\t\x20-\x7e\u00a0-\uffff]/g, "");
}

function announce(
  context: CommandContext,
  view: View,
  started: { accelerator: Accelerator; machines: readonly StartedMachine[] },
  options: BootOptions,
): void {
  const { accelerator, machines } = started;
  const { id, sequence } = view.point;
  const lines = machines.map(({ name, readySeconds }) =>
    readySeconds === null
      ? `${name} runs.`
      : `${name} is ready after ${formatSeconds(readySeconds)}.`,
  );
  const ending =
    options.untilReady === true ? [] : ["Ctrl-C stops them and throws away what they wrote."];
  const head = `Started ${describePoint(view.point)} without network (${accelerator}).`;
  printResult(context, options, {
    json: { point: { id, sequence }, accelerator, machines },
    text: [head, ...lines, ...ending].join("\n"),
  });
}

function collect(name: string, before: readonly string[]): readonly string[] {
  return [...before, name];
}

function pattern(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : "It is no pattern.");
  }
}
