import { curlOf, faultOfJson, isText, requestOf, shownText, toldHeaders } from "../lib/requests.js";

// The key that was pasted, for all consoles of this page. It is kept nowhere else, and goes when the page is left.
const keyFields = [];

function shareKey(value) {
  for (const field of keyFields) field.value = value;
}

window.addEventListener("pagehide", () => shareKey(""));

/** Sends the real request that its form describes, and shows the answer and the same request as a curl command. */
export function mount(element) {
  const { method, path } = element.dataset;
  const form = element.querySelector("form");
  const keyField = form.querySelector("[data-key]");
  const body = form.querySelector("[data-json]");
  const fault = form.querySelector("[data-fault]");
  const status = form.querySelector("[role=status]");
  const answer = element.querySelector("[data-answer]");
  const curl = element.querySelector("[data-curl]");
  let running = null;

  keyField.value = keyFields[0]?.value ?? "";
  keyFields.push(keyField);
  keyField.addEventListener("input", () => shareKey(keyField.value));

  function call() {
    const key = keyField.value.trim();
    const csrf = element.closest("[data-csrf]")?.dataset.csrf;
    return { method, path, values: valuesOf(form), json: body ? body.value : null, key, csrf };
  }

  function showCurl() {
    curl.textContent = curlOf(location.origin, call());
  }

  function complain(text) {
    if (!body) return;
    fault.textContent = text;
    if (text) body.setAttribute("aria-invalid", "true");
    else body.removeAttribute("aria-invalid");
  }

  async function send() {
    const began = performance.now();
    const { url, options } = requestOf(call());
    running = new AbortController();
    form.setAttribute("aria-busy", "true");
    status.textContent = "Waiting for the answer…";
    try {
      const got = await fetch(url, { ...options, signal: running.signal });
      const content = await got.blob();
      const took = Math.round(performance.now() - began);
      await show(answer, got, content);
      status.textContent = `${got.status} ${got.statusText} in ${took.toLocaleString("en")} ms`.replace("  ", " ");
      status.dataset.tone = got.ok ? "good" : "bad";
    } catch (error) {
      answer.hidden = true;
      status.textContent =
        error.name === "AbortError" ? "" : "No answer: the site cannot be reached. Check your connection and send it again.";
      status.dataset.tone = "bad";
    } finally {
      running = null;
      form.removeAttribute("aria-busy");
    }
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) return;
    const wrong = body ? faultOfJson(body.value) : "";
    complain(wrong);
    if (wrong) body.focus();
    else if (method !== "DELETE" || (await confirmed(requestOf(call()).url))) await send();
  });
  form.addEventListener("reset", () => {
    running?.abort();
    const key = keyField.value;
    complain("");
    answer.hidden = true;
    status.textContent = "";
    setTimeout(() => {
      keyField.value = key; // the others still have it
      showCurl();
    });
  });
  form.addEventListener("input", () => {
    complain("");
    showCurl();
  });
  showCurl();
}

/** What the fields send: those left empty are not sent; each file is a value of its own. */
function valuesOf(form) {
  return [...form.querySelectorAll("[data-place]")].flatMap((field) => {
    const { name } = field;
    const { place } = field.dataset;
    if (field.type === "file") return [...field.files].map((value) => ({ place, name, value }));
    return field.value === "" ? [] : [{ place, name, value: field.value }];
  });
}

async function show(answer, got, content) {
  const mediaType = content.type.split(";")[0];
  const readable = isText(mediaType);
  const text = readable ? shownText(await content.text(), mediaType) : `${content.size.toLocaleString("en")} bytes`;
  answer.querySelector("[data-body]").textContent = content.size ? text : "The answer has no body.";
  const rows = toldHeaders(got.headers).flatMap(([name, value]) => [labelled("dt", name), labelled("dd", value)]);
  answer.querySelector("[data-headers]").replaceChildren(...rows);
  offer(answer.querySelector("[data-save]"), got, content);
  answer.hidden = false;
}

function labelled(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

/** What comes as a file can be saved as one. */
function offer(place, got, content) {
  const link = place.querySelector("a");
  if (link.href) URL.revokeObjectURL(link.href);
  const disposition = got.headers.get("Content-Disposition") ?? "";
  place.hidden = !/^attachment/.test(disposition);
  if (place.hidden) return;
  link.href = URL.createObjectURL(content);
  link.download = /filename="([^"]+)"/.exec(disposition)?.[1] ?? "answer";
}

/** Asks whether the DELETE of this address is meant. */
function confirmed(address) {
  const dialog = document.getElementById("console-confirmation");
  dialog.querySelector("[data-address]").textContent = address;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "send"), { once: true });
  });
}
