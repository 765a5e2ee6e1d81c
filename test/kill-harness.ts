import { changeHistory, type KillOrder, replicate } from "./support/kill-world.ts";

// A process that is killed: does what its order says and ends itself by SIGKILL at the phase, as if it had been killed there.

const order: KillOrder = JSON.parse(process.argv[2] ?? "{}");
let heard = 0;

async function onPhase(phase: string): Promise<void> {
  if (phase !== order.phase) return;
  heard += 1;
  if (heard < order.nth) return;
  process.kill(process.pid, "SIGKILL");
  await new Promise(() => {}); // Nothing more happens here.
}

if (order.act === "cycle") await replicate(order.directory, onPhase);
else await changeHistory(order.directory, order.act, onPhase);
