import type { Kind } from "./kinds.ts";
import type { WorldResult } from "./world.ts";

const linesMax = 30;

/** How a broken world ended, and how to see all of it. */
export function story(kind: Kind, { seed, failure, trace }: WorldResult): string {
  const end = trace.slice(-linesMax).join("\n");
  return `${failure?.message}\n${end}\nReplay it: npm run sim -- --seed ${seed} --kind ${kind}`;
}
