import assert from "node:assert/strict";
import { test } from "node:test";

import { arrivals, questionAddress, step } from "../../frontend/js/lib/matches.js";

test("only what was not there before arrives", () => {
  assert.deepEqual(arrivals(["a", "b"], ["b", "c"]), ["c"]);
  assert.deepEqual(arrivals([], ["a"]), ["a"]);
  assert.deepEqual(arrivals(["a"], []), []);
});

test("arrow keys move one step and stay within the list", () => {
  assert.equal(step(0, 3, "ArrowDown"), 1);
  assert.equal(step(2, 3, "ArrowDown"), 2);
  assert.equal(step(1, 3, "ArrowUp"), 0);
  assert.equal(step(1, 3, "Home"), 0);
  assert.equal(step(0, 3, "End"), 2);
});

test("from the first match the arrow up leads back to the field, and down from the field to the first", () => {
  assert.equal(step(0, 3, "ArrowUp"), -1);
  assert.equal(step(-1, 3, "ArrowDown"), 0);
});

test("other keys move nothing", () => {
  assert.equal(step(1, 3, "Enter"), 1);
});

test("the address holds the question, whatever is in it", () => {
  const address = questionAddress("/faq/", "a & b = c? #1 ü");
  assert.equal(new URL(address, "https://example.org").searchParams.get("q"), "a & b = c? #1 ü");
  assert.equal(questionAddress("/faq/", ""), "/faq/");
  assert.equal(questionAddress("/faq/", "世界".repeat(500)), "/faq/", "longer than an address may be");
});
