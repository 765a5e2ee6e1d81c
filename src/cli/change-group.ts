import type { z } from "zod";
import { askWriter } from "../control/client.ts";
import { type ChangeOptions, type ChangeRequest, performChange } from "../control/group-changes.ts";
import { openVault } from "../journal/vault.ts";
import { controlSocket } from "../journal/vault-layout.ts";
import { absolutePath } from "./arguments.ts";
import type { CommandContext } from "./command-context.ts";

/**
 * Changes a group's history: through the process that writes to the vault when there is one, else here, under the vault's
 * writer lock. VAULT_BUSY when another process writes that takes no requests, and what the change rejects with.
 */
export async function changeGroup<Result>(
  context: CommandContext,
  vaultArgument: string,
  request: ChangeRequest,
  options: {
    readonly result: z.ZodType<Result>;
    readonly onProgress?: ChangeOptions["onProgress"];
  },
): Promise<Result> {
  const { files, locks, clock, prng, signal } = context;
  const directory = absolutePath(vaultArgument);
  const change = {
    signal,
    ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
  };
  const answer = await askWriter({ path: controlSocket(directory), request, ...change });
  if (answer !== null) return options.result.parse(answer.result);
  await using vault = await openVault({ files, locks, clock, prng, directory, mode: "write" });
  await using journal = await vault.journal(request.group);
  return options.result.parse(await performChange(journal, request, { ...change, clock }));
}
