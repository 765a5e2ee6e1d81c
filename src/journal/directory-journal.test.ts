import { intakeContract } from "./intake-contract.ts";
import { journalContract } from "./journal-contract.ts";
import { memoryVault, nodeVault } from "./vault-for-test.ts";

journalContract("directory in memory", () => memoryVault());
journalContract("directory in memory, compressed", () => memoryVault({ codec: "zstd" }));
journalContract("directory", () => nodeVault());
intakeContract("directory in memory", () => memoryVault());
intakeContract("directory", () => nodeVault());
