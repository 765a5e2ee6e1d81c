/** A column of a table: its title, and how cells stand in it. */
export interface Column {
  readonly title: string;
  readonly align?: "left" | "right";
}

/** A table for people: columns two spaces apart, no lines, nothing at the end of a line. */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): string {
  const widths = columns.map((column, index) =>
    Math.max(column.title.length, ...rows.map((row) => row[index]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    columns
      .map((column, index) => {
        const cell = cells[index] ?? "";
        return column.align === "right"
          ? cell.padStart(widths[index]!)
          : cell.padEnd(widths[index]!);
      })
      .join("  ")
      .trimEnd();
  return [line(columns.map((column) => column.title)), ...rows.map(line)].join("\n");
}

/** "2026-11-21 09:44:31.250 UTC": an instant for people. */
export function formatInstant(atMs: number): string {
  const date = new Date(atMs);
  // What another site said may be an instant that no date stands for.
  if (Number.isNaN(date.getTime())) return `${atMs} ms`;
  return `${date.toISOString().replace("T", " ").replace("Z", "")} UTC`;
}
