/**
 * A request of the console, ready for fetch and for the eye.
 *
 * call: {method, path with {names}, values: [{place: "path" | "query" | "form", name, value: text | File}], json: text or
 * null, key, csrf}. With a key the session stays at home. Returns {url, options: those of fetch}.
 */
export function requestOf({ method, path, values, json, key, csrf }) {
  const headers = {};
  if (key) headers.Authorization = `Bearer ${key}`;
  else if (csrf && method !== "GET") headers["X-CSRFToken"] = csrf;
  const options = { method, headers, credentials: key ? "omit" : "same-origin", redirect: "error", cache: "no-store" };
  const form = values.filter((each) => each.place === "form");
  if (json !== null) {
    headers["Content-Type"] = "application/json";
    options.body = json;
  } else if (form.length) {
    options.body = new FormData(); // the browser names the boundary in the header itself
    for (const { name, value } of form) options.body.append(name, value);
  }
  return { url: address(path, values), options };
}

function address(path, values) {
  const query = new URLSearchParams(values.filter((each) => each.place === "query").map(({ name, value }) => [name, value]));
  const filled = values
    .filter((each) => each.place === "path")
    .reduce((before, { name, value }) => before.replace(`{${name}}`, encodeURIComponent(value)), path);
  return query.size ? `${filled}?${query}` : filled;
}

/** The same request as a curl command. It never holds a key: the shell puts that in from SCOREPOD_KEY. */
export function curlOf(origin, { method, path, values, json }) {
  const form = values.filter((each) => each.place === "form");
  const hasBody = json !== null || form.length > 0;
  const lines = [`curl ${quoted(origin + address(path, values))}`, '-H "Authorization: Bearer $SCOREPOD_KEY"'];
  if (method !== (hasBody ? "POST" : "GET")) lines.push(`-X ${method}`);
  if (json !== null) lines.push("-H 'Content-Type: application/json'", `-d ${quoted(compact(json))}`);
  for (const { name, value } of form) {
    if (typeof value === "string") lines.push(`--form-string ${quoted(`${name}=${value}`)}`);
    else lines.push(`-F ${quoted(`${name}=@"${value.name.replace(/[\\"]/g, "\\$&")}"`)}`);
  }
  return lines.join(" \\\n  ");
}

/** A text as one word of the shell. */
function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
}

function compact(json) {
  try {
    return JSON.stringify(JSON.parse(json));
  } catch {
    return json;
  }
}

/** Why a text is no JSON, "" if it is. */
export function faultOfJson(text) {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    return `This is no JSON: ${error.message}.`;
  }
}

const SHOWN = 20_000; // characters: more of an answer only slows the page down

/** The text of an answer as it is shown: JSON with line breaks, whatever is long cut off. */
export function shownText(text, mediaType) {
  let shown = text;
  if (/\bjson$/.test(mediaType)) {
    try {
      shown = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      // Not what it says it is: shown as it came.
    }
  }
  if (shown.length <= SHOWN) return shown;
  return `${shown.slice(0, SHOWN)}\n… ${(shown.length - SHOWN).toLocaleString("en")} more characters`;
}

/** Whether an answer of this type can be read as text. */
export function isText(mediaType) {
  return /^text\/|json$|jsonl$|yaml$|xml$/.test(mediaType);
}

// In this order; the others tell people little.
const TOLD = [
  "Content-Type",
  "X-Request-ID",
  "Location",
  "Retry-After",
  "RateLimit-Policy",
  "RateLimit",
  "ETag",
  "Link",
  "Allow",
  "Idempotency-Replayed",
  "Preference-Applied",
  "Content-Disposition",
  "WWW-Authenticate",
  "Deprecation",
  "Sunset",
];

/** The headers that matter to a reader, as [[name, value], …]. */
export function toldHeaders(headers) {
  return TOLD.filter((name) => headers.has(name)).map((name) => [name, headers.get(name)]);
}
