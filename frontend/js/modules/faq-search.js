import { arrivals, questionAddress, step } from "../lib/matches.js";
import { copyText } from "./clipboard.js";
import { toast } from "./toast.js";

/** The FAQ page: keys, the address, and what htmx cannot know about the results it brings. */
export function mount(page) {
  const field = page.querySelector("#question");
  const form = field.form;
  const results = page.querySelector("#results");
  const summary = page.querySelector("[data-summary]");
  const matchIds = () => [...results.querySelectorAll(".match")].map((match) => match.id);
  const typing = Math.random().toString(36).slice(2);
  let idsBefore = matchIds();

  page.addEventListener("htmx:configRequest", (event) => {
    event.detail.parameters.set("typing", typing);
    // The history keeps one entry for a question, not one for each key press.
    if (event.detail.triggeringEvent?.type === "input") event.detail.parameters.set("live", "1");
  });

  page.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr } = event.detail;
    // Signed out meanwhile: the answer is the sign-in page, and belongs into the window.
    if (new URL(xhr.responseURL).pathname !== new URL(form.action).pathname) {
      event.detail.shouldSwap = false;
      location.assign(questionAddress(form.action, field.value));
    }
    // A whole page in place of the results: an error that no view foresaw.
    if (/^\s*<!doctype/i.test(xhr.responseText)) {
      event.detail.shouldSwap = false;
      toast("Something went wrong on our side. Try again in a moment.");
    }
    idsBefore = matchIds();
  });

  page.addEventListener("htmx:afterSwap", () => {
    history.replaceState(null, "", questionAddress(new URL(form.action).pathname, field.value.trim()));
    for (const id of arrivals(idsBefore, matchIds())) document.getElementById(id).classList.add("arrives");
    afterResults();
  });

  page.addEventListener("htmx:sendError", () => toast("The site cannot be reached. What you typed is still here."));

  page.addEventListener("click", async (event) => {
    const example = event.target.closest("[data-example]");
    if (example && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      field.value = example.textContent;
      field.focus();
      form.requestSubmit();
    }
    if (event.target.closest("[data-copy-link]")) {
      await copyText(location.href);
      toast(location.search ? "Link copied" : "Link to this page copied: the question is too long for one");
    }
  });

  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      field.focus();
      field.select();
    }
  });

  page.addEventListener("keydown", (event) => {
    const summaries = [...results.querySelectorAll("summary")].filter((each) => each.checkVisibility());
    const index = summaries.indexOf(event.target);
    const inField = event.target === field;
    if (!(index >= 0 || (inField && event.key === "ArrowDown")) || !summaries.length) return;
    const next = step(index, summaries.length, event.key);
    if (next === index) return;
    event.preventDefault();
    (summaries[next] ?? field).focus();
  });

  function afterResults() {
    const answer = results.querySelector("[data-found]");
    summary.textContent = answer?.dataset.found ?? "";
    document.title = answer ? `${answer.dataset.question} · FAQ · Scorepod` : "FAQ · Scorepod";
    // Code wider than the column scrolls, and what scrolls must be in reach of the keyboard.
    for (const block of results.querySelectorAll(".prose pre")) block.tabIndex = 0;
  }

  for (const block of results.querySelectorAll(".prose pre")) block.tabIndex = 0;
  function askIfUnasked() {
    const asked = results.querySelector("[data-question]")?.dataset.question ?? "";
    if (field.value.trim() !== asked.trim()) form.requestSubmit();
  }

  // What was typed while there was no network, or before the scripts were there, is asked now.
  window.addEventListener("online", askIfUnasked);
  if (!results.querySelector(".alert")) askIfUnasked();
  // The cursor stands behind a question that came with the address.
  if (field.value) field.setSelectionRange(field.value.length, field.value.length);
}
