import { expect, test } from "vitest";
import { seededPrng } from "../base/prng.ts";
import { RequestLog } from "./request-log.ts";

const body = new Uint8Array(1);

test("what was confirmed in any order is known, and its answer gone; all else is as it was", () => {
  const prng = seededPrng(20_261_121);
  for (let round = 0; round < 200; round += 1) {
    const log = new RequestLog();
    const confirmed = new Set<number>();
    let watermark = 1;
    for (let request = 1; request <= 60; request += 1) {
      log.take(request);
      log.answered(request, { type: "answer", stream: 0, body });
    }
    for (let times = 0; times < 8; times += 1) {
      const ranges = Array.from({ length: 1 + prng.below(4) }, () => {
        const from = 1 + prng.below(80);
        return { from, to: from + 1 + prng.below(6) };
      });
      log.confirm(ranges);
      for (const { from, to } of ranges) for (let at = from; at < to; at += 1) confirmed.add(at);
      if (prng.below(3) === 0) {
        watermark = Math.max(watermark, 1 + prng.below(30));
        log.advance(watermark);
      }
      let answers = 0;
      for (let request = 1; request <= 90; request += 1) {
        const isGone = request < watermark || confirmed.has(request);
        expect(log.has(request), `${request} in round ${round}`).toBe(isGone || request <= 60);
        const isKept = !isGone && request <= 60;
        expect(log.answer(request) !== null).toBe(isKept);
        if (isKept) answers += 1;
      }
      expect([log.answersCount, log.answersBytes]).toEqual([answers, answers]);
    }
  }
});
