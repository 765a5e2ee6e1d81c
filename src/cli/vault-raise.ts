import { createInterface } from "node:readline/promises";
import type { Command } from "commander";
import { z } from "zod";
import { Fault } from "../base/fault.ts";
import { peersSchema } from "../control/peer-requests.ts";
import type { EnrolledPeer } from "../control/vault-state.ts";
import type { Generation } from "../core/point.ts";
import { peerNameArgument } from "./arguments.ts";
import { changeGroup } from "./change-group.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { verbCommand } from "./program.ts";
import { readGroup } from "./vault-access.ts";
import { type VaultOption, vaultDirectoryOf, vaultOption } from "./vault-option.ts";
import { askAboutPeers } from "./vault-peer-access.ts";

const raisedSchema = z.strictObject({ number: z.int(), holder: z.string() });
const reasonLengthMax = 1024;

interface RaiseOptions extends CommonOptions, VaultOption {
  readonly holder: string;
  readonly reason: string;
  readonly yes?: string;
}

/** Asks a person and returns the line that was typed; null when nobody can be asked. */
export type AskPerson = (question: string, signal: AbortSignal) => Promise<string | null>;

/** `afterimage vault raise GROUP` */
export function raiseCommand(context: CommandContext, ask: AskPerson = askOnTerminal): Command {
  return verbCommand(
    "raise",
    "hand a group to another replicator: who wrote it before is refused from then on",
    'afterimage vault raise erp --holder second-site --reason "the first site is lost"',
  )
    .argument("<group>", "the group")
    .addOption(vaultOption())
    .requiredOption("--holder <name>", "the enrolled replicator that may write from now on")
    .requiredOption("--reason <text>", "why; it stands in the ledger for good")
    .option("--yes <group>", "the group's name again, instead of being asked for it")
    .action((group: string, options: RaiseOptions) => runRaise(context, { group, ask }, options));
}

async function runRaise(
  context: CommandContext,
  given: { group: string; ask: AskPerson },
  options: RaiseOptions,
): Promise<void> {
  const directory = vaultDirectoryOf(options);
  const { reader, group, vault } = await readGroup(context, directory, given.group);
  await vault[Symbol.asyncDispose]();
  const name = peerNameArgument(options.holder);
  const reason = options.reason.trim();
  if (reason === "" || reason.length > reasonLengthMax) {
    throw new Fault("USAGE", `the reason is a text of 1 to ${reasonLengthMax} characters`);
  }
  const { peers } = await askAboutPeers(context, directory, { verb: "peers" }, peersSchema);
  const holder = peers.find((peer) => peer.name === name && peer.state !== "revoked");
  if (holder === undefined) {
    const message = `${name} is not enrolled; \`afterimage vault peers\` lists who is`;
    throw new Fault("USAGE", message, { name });
  }
  const before = reader.generation();
  await confirm(context, given.ask, { group, holder, before, peers, yes: options.yes });
  const request = { verb: "raise", group, holder: holder.id, reason } as const;
  const raised = await changeGroup(context, directory, request, { result: raisedSchema });
  const json = { group, generation: { ...raised, holderName: name }, before };
  const text = `Generation ${raised.number} of ${group} is held by ${name} (${raised.holder}).`;
  printResult(context, options, { json, text });
}

async function confirm(
  context: CommandContext,
  ask: AskPerson,
  wish: {
    readonly group: string;
    readonly holder: EnrolledPeer;
    readonly before: Generation | null;
    readonly peers: readonly EnrolledPeer[];
    readonly yes: string | undefined;
  },
): Promise<void> {
  const { group, holder, before, peers, yes } = wish;
  const now = describeHolder(before, peers);
  const question = `${group} ${now}. From now on ${holder.name} alone may write to it.\nType the group's name to go on: `;
  const typed = yes ?? (await ask(question, context.signal));
  if (typed?.trim() === group) return;
  const message =
    typed === null
      ? `${group} ${now}; say --yes ${group} to hand it over`
      : `"${typed.trim()}" is not ${group}; nothing was changed`;
  throw new Fault("USAGE", message, { group });
}

function describeHolder(before: Generation | null, peers: readonly EnrolledPeer[]): string {
  if (before === null) return "is held by nobody yet";
  const name = peers.find(({ id }) => id === before.holder)?.name ?? "a replicator not enrolled";
  return `is held by ${name} (${before.holder}), generation ${before.number}`;
}

async function askOnTerminal(question: string, signal: AbortSignal): Promise<string | null> {
  if (!process.stdin.isTTY) return null;
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await lines.question(question, { signal });
  } finally {
    lines.close();
  }
}
