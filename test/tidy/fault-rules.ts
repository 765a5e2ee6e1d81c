import type { Finding, TidyFile } from "./finding.ts";
import { splitSource } from "./source-text.ts";

const tablePath = "src/base/fault-table.ts";
const pagePath = "docs/operating/faults.md";

/** Every code of the fault table is raised somewhere and stands in the page that operators read. */
export function faultCodes(codes: readonly string[], files: readonly TidyFile[]): Finding[] {
  const raising = files.filter(
    (file) =>
      file.path.startsWith("src/") && file.path !== tablePath && !file.path.includes(".test."),
  );
  const raised = new Set(
    raising.flatMap(
      (file) => splitSource(file.text).strings.match(/\b[A-Z]+(?:_[A-Z]+)*\b/g) ?? [],
    ),
  );
  const page = files.find((file) => file.path === pagePath)?.text ?? "";
  return codes.flatMap((code) => [
    ...(raised.has(code) ? [] : [{ path: tablePath, line: 1, message: `nothing raises ${code}` }]),
    ...(page.includes(`\`${code}\``)
      ? []
      : [{ path: pagePath, line: 1, message: `${code} is not documented` }]),
  ]);
}
