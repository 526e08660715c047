import assert from "node:assert/strict";
import { test } from "node:test";

import { eachOf, inOrder, megabytes, sent, sortOut, unfit } from "../../frontend/js/lib/uploads.js";

const limits = { maxFiles: 2, maxBytes: 1000 };

test("files within the limits are accepted, in their order", () => {
  const files = [{ name: "a", size: 10 }, { name: "b", size: 1000 }];
  assert.deepEqual(sortOut(files, limits), { accepted: files, refused: [], left: 0 });
});

test("a file that is too large or empty is refused with a reason and spoils no other", () => {
  const [large, empty] = [{ name: "large", size: 1001 }, { name: "empty", size: 0 }];
  const good = { name: "good", size: 1 };
  const { accepted, refused } = sortOut([large, good, empty], { ...limits, maxFiles: 3 });
  assert.deepEqual(accepted, [good]);
  assert.deepEqual(refused.map(({ file, title }) => [file, title]), [[large, "Too large"], [empty, "Empty file"]]);
});

test("files beyond the number that is taken are counted", () => {
  const files = [1, 2, 3, 4].map((size) => ({ name: String(size), size }));
  const { accepted, left } = sortOut(files, limits);
  assert.equal(accepted.length, 2);
  assert.equal(left, 2);
});

test("sizes are said in megabytes with at most one decimal", () => {
  assert.equal(megabytes(10_000_000), "10 MB");
  assert.equal(megabytes(12_340_000), "12.3 MB");
  assert.equal(megabytes(999_960_000), "1 GB");
  assert.equal(megabytes(5_230_000_000), "5.2 GB");
});

test("cards come newest first, or most certain first with the failed ones last", () => {
  const cards = [
    { added: 1, confidence: 50 },
    { added: 2, confidence: -1 },
    { added: 3, confidence: 90 },
  ];
  assert.deepEqual(inOrder(cards, "added").map((card) => card.added), [3, 2, 1]);
  assert.deepEqual(inOrder(cards, "confidence").map((card) => card.added), [3, 1, 2]);
});

test("no more than the limit are worked on at once, and all of them are", async () => {
  let running = 0;
  let most = 0;
  const done = [];
  await eachOf([1, 2, 3, 4, 5], 2, async (item) => {
    most = Math.max(most, (running += 1));
    await Promise.resolve();
    running -= 1;
    done.push(item);
  });
  assert.equal(most, 2);
  assert.deepEqual(done.sort(), [1, 2, 3, 4, 5]);
});

test("nothing to do is done at once", async () => {
  await eachOf([], 3, () => assert.fail("there is no item"));
});

test("of a large file it is said how much is sent, and how long the rest takes once that can be told", () => {
  const megabyte = 1_000_000;
  assert.equal(sent(0, 300 * megabyte, 0.1), "0 MB of 300 MB");
  assert.equal(sent(30 * megabyte, 300 * megabyte, 0.5), "30 MB of 300 MB");
  assert.equal(sent(30 * megabyte, 300 * megabyte, 2), "30 MB of 300 MB, about 18 s left");
  assert.equal(sent(30 * megabyte, 300 * megabyte, 20), "30 MB of 300 MB, about 3 min left");
  assert.equal(sent(300 * megabyte, 300 * megabyte, 200), "300 MB of 300 MB");
});

const table = { name: "questions.csv", type: "text/csv", size: 500 };
const dog = { name: "dog.jpg", type: "image/jpeg", size: 400 };

test("one file of any kind, or several pictures, can be sent together", () => {
  assert.equal(unfit([table], 1000), "");
  assert.equal(unfit([dog, dog], 1000), "");
  assert.equal(unfit([dog, { ...dog, name: "no-suffix", type: "" }], 1000), "");
});

test("what cannot be sent together is told before it is sent", () => {
  assert.match(unfit([], 1000), /Choose a file/);
  assert.match(unfit([{ ...table, size: 0 }], 1000), /nothing in questions.csv/);
  assert.match(unfit([{ ...table, size: 2_000_000 }], 1_000_000), /questions.csv has 2 MB; at most 1 MB/);
  assert.match(unfit([dog, dog, dog], 1000), /3 files have/);
  assert.match(unfit([dog, table], 1000), /questions.csv is no picture/);
});
