import type { Command } from "commander";
import { systemClock } from "../src/base/clock.ts";
import { nodeFileSystem } from "../src/base/node-file-system.ts";
import { seededPrng } from "../src/base/prng.ts";
import { afterimageProgram } from "../src/cli/main.ts";
import { recordedTerminal } from "../src/cli/terminal.ts";
import { sqliteLocks } from "../src/journal/sqlite-locks.ts";

/** docs/operating/commands.md, made from what --help says. */
export function commandsPage(): string {
  const context = {
    terminal: recordedTerminal(),
    files: nodeFileSystem(),
    clock: systemClock(),
    prng: seededPrng(0),
    locks: sqliteLocks(),
    signal: new AbortController().signal,
    isTracing: false,
  };
  const replicate = async () => ({ groups: [] });
  const serveVault = async () => {};
  const parts = { replicate, serveReplicator: replicate, serveVault, version: "" };
  const program = afterimageProgram(context, parts);
  const sections = leavesOf(program).map((leaf) => `## ${leaf.words}\n\n${fenced(helpOf(leaf))}\n`);
  return `# Commands

Made from the commands' own help by \`npx node tools/write-docs.ts\`; do not edit.

Every verb works on a vault directory alone. Reading verbs run beside the process that writes; changing verbs (\`thin\`,
\`move-base\`, the record of \`verify\` and \`scrub\`) go through it when it runs, by the socket \`control.sock\` in the vault, and
take the vault's writer lock themselves when it does not.

* Results go to stdout, progress and log to stderr. With \`--json\` stdout has one line, a JSON object.
* Exit codes: 0 all is well, 1 a check ran and found something wrong, 2 wrong usage or the world did not let it.
* An error is one line on stderr, \`afterimage: CODE: message — next step\` (\`faults.md\` has all codes), and with \`--json\`
  \`{"error": {"code", "message", "nextStep", "retry", "details"}}\` on stdout. \`AFTERIMAGE_TRACE=1\` adds stacks and causes.
* A point is named by \`newest\`, \`oldest\`, its sequence (\`#12\` or \`12\`), the first 4 or more digits of its id, or an ISO time: the
  newest point that shows nothing later than that.

${sections.join("\n")}`;
}

interface Leaf {
  readonly command: Command;
  readonly words: string;
}

function leavesOf(command: Command, words = command.name()): readonly Leaf[] {
  if (command.commands.length === 0) return [{ command, words }];
  return command.commands.flatMap((child) => leavesOf(child, `${words} ${child.name()}`));
}

function helpOf({ command }: Leaf): string {
  let text = "";
  command.configureOutput({
    writeOut: (part) => {
      text += part;
    },
    getOutHelpWidth: () => 100,
  });
  command.outputHelp();
  return text.trim();
}

function fenced(text: string): string {
  return ["```", text, "```"].join("\n");
}
