import { worldsKeepPromises } from "./worlds-for-test.ts";

worldsKeepPromises({ part: 1 });
