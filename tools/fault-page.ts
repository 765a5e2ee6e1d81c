import { faultTable } from "../src/base/fault-table.ts";

/** docs/operating/faults.md, made from the fault table. */
export function faultPage(): string {
  const sections = Object.entries(faultTable).map(([code, entry]) =>
    [
      `## \`${code}\``,
      "",
      entry.cause,
      "",
      `* Next step: ${entry.nextStep}`,
      `* Exit code ${entry.exitCode}; ${entry.retry ? "the same attempt may succeed later" : "trying again does not help by itself"}.`,
      "",
    ].join("\n"),
  );
  return `# Faults

Made from \`src/base/fault-table.ts\` by \`npx node tools/write-docs.ts\`; do not edit.

A command that fails says one line on stderr, \`afterimage: CODE: message — next step\`, and with \`--json\` the same facts
as one JSON object. Exit codes are stable: 0 all is well, 1 a check ran and found something wrong, 2 the command was
called wrongly or the world did not let it work.

${sections.join("\n")}`;
}
