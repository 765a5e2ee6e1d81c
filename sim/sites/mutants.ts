import { isFault } from "../../src/base/fault.ts";
import type { JournalIntake, PointWriter } from "../../src/core/journal.ts";
import type { Point, PointHeader } from "../../src/core/point.ts";
import type { Snapshot, Source } from "../../src/core/source.ts";
import { RequestLog } from "../../src/transport/request-log.ts";
import { altered } from "../source-mutants.ts";
import { intakeWith, spooledIntakeWith, writerWith } from "./altered.ts";
import type { MakeSitesSeams } from "./seams.ts";

/** The bitmap of the vault's head goes although points wait in the spool. */
const headDroppedWhileOwed: MakeSitesSeams = () => ({
  source: alteringFreeze((snapshot) => altered(snapshot, { forget: () => snapshot.forget() })),
});

/** What the vault is said to hold is remembered, not asked. */
const headNotAsked: MakeSitesSeams = () => {
  let known: Awaited<ReturnType<JournalIntake["ask"]>> | null = null;
  return {
    link: (intake) =>
      intakeWith(intake, {
        ask: async () => {
          known ??= await intake.ask();
          return known;
        },
        begin: async (header) => {
          const writer = await intake.begin(header);
          return writerWith(writer, {
            seal: async (sealing) => {
              const head = await writer.seal(sealing);
              if (known !== null) known = { ...known, head, generation: head.generation };
              return head;
            },
          });
        },
      }),
  };
};

/** A request that comes again is executed again, and the vault says that it lacks those it has. */
const requestsExecutedAgain: MakeSitesSeams = () => ({
  patch: () => {
    const methods: Pick<RequestLog, "has" | "take"> = RequestLog.prototype;
    const was = { ...Object.getOwnPropertyDescriptors(RequestLog.prototype) };
    methods.has = () => false;
    methods.take = () => true;
    return () => void Object.defineProperties(methods, { has: was.has, take: was.take });
  },
});

/** What was begun at the vault is taken for sealed there. */
const begunTakenForAcknowledged: MakeSitesSeams = () => {
  let begun: PointHeader | null = null;
  return {
    link: (intake) =>
      intakeWith(intake, {
        begin: (header) => {
          begun = header;
          return intake.begin(header);
        },
        ask: async () => {
          const standing = await intake.ask();
          const isAhead = begun !== null && begun.sequence > (standing.head?.sequence ?? 0);
          if (!isAhead || begun === null || standing.head === null) return standing;
          return { ...standing, head: { ...standing.head, ...begun } };
        },
      }),
  };
};

/** "Nothing had changed" is dated when the answer is there, not before the question. */
const currencyDatedLate: MakeSitesSeams = ({ nowMs }) => ({
  intake: (intake) =>
    spooledIntakeWith(intake, {
      confirmCurrent: ({ point }) => intake.confirmCurrent({ point, atMs: Math.floor(nowMs()) }),
    }),
});

/** A point that is read again, for the spool, is read from the disk as it is by then. */
const secondReadingIsLive: MakeSitesSeams = ({ estate }) => ({
  source: alteringFreeze((snapshot) => {
    const readings = new Map<string, number>();
    return altered(snapshot, {
      extents: (name) => {
        readings.set(name, (readings.get(name) ?? 0) + 1);
        return snapshot.extents(name);
      },
      read: async (name, offsetBytes, into) => {
        await snapshot.read(name, offsetBytes, into);
        const disk = estate.disks.get(name);
        if (disk === undefined || (readings.get(name) ?? 0) < 2) return;
        if (disk.image.sizeBytes >= offsetBytes + into.length) disk.image.read(offsetBytes, into);
      },
    });
  }),
});

/** What a spooled point takes over is forgotten. */
const adoptionForgotten: MakeSitesSeams = () => ({
  intake: (intake) =>
    spooledIntakeWith(intake, {
      begin: async (header) => {
        const writer = await intake.begin(header);
        if (writer.route !== "spool") return writer;
        const forgetful: PointWriter = writerWith(writer, { adopt: async () => {} });
        return { ...forgetful, route: writer.route };
      },
    }),
});

/** After the link was lost the answer to an earlier seal is taken for that of the next. */
const answerOfAnotherRequest: MakeSitesSeams = () => {
  let earlier: Point | null = null;
  let wasLost = false;
  return {
    link: (intake) =>
      intakeWith(intake, {
        ask: async () => {
          try {
            return await intake.ask();
          } catch (error) {
            wasLost ||= isFault(error, "LINK_LOST");
            throw error;
          }
        },
        begin: async (header) => {
          const writer = await intake.begin(header);
          return writerWith(writer, {
            seal: async (sealing) => {
              try {
                const point = wasLost && earlier !== null ? earlier : await writer.seal(sealing);
                earlier = point;
                wasLost = false;
                return point;
              } catch (error) {
                wasLost ||= isFault(error, "LINK_LOST");
                throw error;
              }
            },
          });
        },
      }),
  };
};

function alteringFreeze(alter: (snapshot: Snapshot) => Snapshot): (source: Source) => Source {
  return (source) => ({
    ...source,
    freeze: async (request) => alter(await source.freeze(request)),
  });
}

const wrong = /wrong bytes/;
const stuck = /never arrived|for nothing|no fresh points|no point after/;

/** What must not happen between two sites. */
export const mutants: readonly {
  readonly name: string;
  readonly seams: MakeSitesSeams;
  readonly finding: RegExp;
}[] = [
  {
    name: "H dropped while points wait in the spool",
    seams: headDroppedWhileOwed,
    finding: /resynced for nothing/,
  },
  { name: "spool trusted without asking for the head", seams: headNotAsked, finding: stuck },
  { name: "resumed session executes again", seams: requestsExecutedAgain, finding: /twice/ },
  { name: "spool dropped beyond the head", seams: begunTakenForAcknowledged, finding: stuck },
  { name: "currency dated after the question", seams: currencyDatedLate, finding: /said to be/ },
  { name: "diverted point mixes two snapshots", seams: secondReadingIsLive, finding: wrong },
  {
    name: "adoption forgotten in the spool",
    seams: adoptionForgotten,
    finding: /for nothing|wrong bytes|no fresh points/,
  },
  { name: "answer of another request", seams: answerOfAnotherRequest, finding: /another point/ },
];
