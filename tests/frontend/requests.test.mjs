import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

import { curlOf, faultOfJson, requestOf, shownText, toldHeaders } from "../../frontend/js/lib/requests.js";

const CALL = { method: "GET", path: "/api/v1/batches", values: [], json: null, key: "", csrf: "token" };
const ORIGIN = "https://scoring.example.org";

/** The words of a command as bash splits it. */
function words(command) {
  const script = `curl() { printf '%s\\0' "$@"; }; ${command}`;
  const printed = execFileSync("bash", ["-c", script], { encoding: "utf8", env: { SCOREPOD_KEY: "the key" } });
  return printed.split("\0").slice(0, -1);
}

test("values go to their places in the address, escaped", () => {
  const values = [
    { place: "path", name: "name", value: "a/b c" },
    { place: "query", name: "at", value: "2026-11-23T08:00:00+01:00" },
  ];
  const { url } = requestOf({ ...CALL, path: "/api/v1/models/{name}/history", values });
  assert.equal(url, "/api/v1/models/a%2Fb%20c/history?at=2026-11-23T08%3A00%3A00%2B01%3A00");
});

test("the session is used with the page's token, and stays at home when there is a key", () => {
  const own = requestOf({ ...CALL, method: "DELETE" }).options;
  assert.equal(own.credentials, "same-origin");
  assert.deepEqual(own.headers, { "X-CSRFToken": "token" });
  const keyed = requestOf({ ...CALL, method: "DELETE", key: "sp_x" }).options;
  assert.equal(keyed.credentials, "omit");
  assert.deepEqual(keyed.headers, { Authorization: "Bearer sp_x" });
});

test("what is only read needs no token", () => {
  assert.deepEqual(requestOf(CALL).options.headers, {});
});

test("JSON is sent as it was typed", () => {
  const { options } = requestOf({ ...CALL, method: "POST", json: '{ "question": "why?" }' });
  assert.equal(options.body, '{ "question": "why?" }');
  assert.equal(options.headers["Content-Type"], "application/json");
});

test("a form carries its texts and files", () => {
  const file = new File(["question\n"], "questions.csv", { type: "text/csv" });
  const values = [
    { place: "form", name: "top_k", value: "3" },
    { place: "form", name: "file", value: file },
  ];
  const { options } = requestOf({ ...CALL, method: "POST", values });
  assert.equal(options.body.get("top_k"), "3");
  assert.equal(options.body.get("file").name, "questions.csv");
  assert.equal(options.headers["Content-Type"], undefined);
});

test("the curl command says the same, and never the key", () => {
  const json = JSON.stringify({ question: "isn't it $HOME `ls`?" });
  const command = curlOf(ORIGIN, { ...CALL, method: "POST", path: "/api/v1/faq/match", json, key: "sp_secret" });
  assert.deepEqual(words(command), [
    `${ORIGIN}/api/v1/faq/match`,
    "-H",
    "Authorization: Bearer the key",
    "-H",
    "Content-Type: application/json",
    "-d",
    json,
  ]);
  assert.doesNotMatch(command, /sp_secret/);
});

test("the curl command of a form names its files; a text that begins with @ stays one", () => {
  const values = [
    { place: "form", name: "name", value: "@home" },
    { place: "form", name: "files", value: new File(["x"], 'a "b".jpg') },
  ];
  assert.deepEqual(words(curlOf(ORIGIN, { ...CALL, method: "POST", values })).slice(3), [
    "--form-string",
    "name=@home",
    "-F",
    'files=@"a \\"b\\".jpg"',
  ]);
});

test("a method that does not go without saying is named", () => {
  assert.match(curlOf(ORIGIN, { ...CALL, method: "POST" }), /-X POST/);
  assert.match(curlOf(ORIGIN, { ...CALL, method: "DELETE" }), /-X DELETE/);
  assert.doesNotMatch(curlOf(ORIGIN, CALL), /-X/);
});

test("what is no JSON says why", () => {
  assert.equal(faultOfJson('{"a": 1}'), "");
  assert.match(faultOfJson('{"a": }'), /^This is no JSON: /);
});

test("answers are shown with line breaks, and long ones cut off", () => {
  assert.equal(shownText('{"a":1}', "application/problem+json"), '{\n  "a": 1\n}');
  assert.equal(shownText("{broken", "application/json"), "{broken");
  assert.match(shownText("x".repeat(30_000), "text/csv"), /\n… 10,000 more characters$/);
});

test("of the headers those are told that matter", () => {
  const headers = new Headers({ "X-Noise": "abc", "X-Request-ID": "r-1", "Content-Type": "application/json" });
  assert.deepEqual(toldHeaders(headers), [
    ["Content-Type", "application/json"],
    ["X-Request-ID", "r-1"],
  ]);
});
