import { sourceContract } from "../source-contract.ts";
import { daemonHarness } from "./daemon-harness.ts";

sourceContract("a QEMU", daemonHarness);
