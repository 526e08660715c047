import assert from "node:assert/strict";
import { test } from "node:test";

import { themeFrom } from "../../frontend/js/lib/theme.js";

test("a stored theme holds", () => {
  assert.equal(themeFrom("dark"), "dark");
});

test("without one, or with another word, the system decides", () => {
  assert.equal(themeFrom(null), "auto");
  assert.equal(themeFrom("sepia"), "auto");
});
