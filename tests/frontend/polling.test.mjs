import assert from "node:assert/strict";
import { test } from "node:test";

import { meaningOf } from "../../frontend/js/lib/polling.js";

test("no answer, and one of a broken site, say that the site is away", () => {
  for (const status of [0, 500, 502, 503, 504]) {
    assert.deepEqual(meaningOf(status), { isCurrent: false, isAway: true, goesOn: true }, status);
  }
});

test("a site that refuses is not away, and is asked again", () => {
  for (const status of [403, 409, 429]) {
    assert.deepEqual(meaningOf(status), { isCurrent: false, isAway: false, goesOn: true }, status);
  }
});

test("what is gone is not asked for again", () => {
  assert.deepEqual(meaningOf(404), { isCurrent: false, isAway: false, goesOn: false });
});

test("an answer without news is news enough", () => {
  for (const status of [200, 204]) assert.equal(meaningOf(status).isCurrent, true, status);
});
