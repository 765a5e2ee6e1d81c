import type { Journal } from "../core/journal.ts";
import type { LinkIntake } from "./link.ts";

/** A journal written to across a link and read past it. */
export function remoteJournal(intake: LinkIntake, journal: Journal): Journal {
  return {
    head: () => intake.head(),
    ask: () => intake.ask(),
    begin: (header) => intake.begin(header),
    stage: (request) => intake.stage(request),
    confirmCurrent: (confirmation) => intake.confirmCurrent(confirmation),
    owedSince: () => intake.owedSince(),
    points: () => journal.points(),
    staged: async () => (await intake.ask()).staged,
    open: (point) => journal.open(point),
    [Symbol.asyncDispose]: () => intake[Symbol.asyncDispose](),
  };
}

/** The same journal, whose life is its vault's and not the receiver's. */
export function unowned(journal: Journal): Journal {
  return new Proxy(journal, {
    get: (target, member) => {
      if (member === Symbol.asyncDispose) return async () => {};
      const value: unknown = Reflect.get(target, member, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
