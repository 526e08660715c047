import { step } from "../lib/matches.js";
import { toast } from "./toast.js";

const FIELDS = "input[type=text], input[type=search], textarea, select, [contenteditable]";

/** The review queue by keyboard; what is decided goes without loading the page, and can be undone. */
export function mount(list) {
  let last = null; // {item, next}: what was decided last, and what followed it
  const done = list.parentElement.querySelector("[data-done]");
  const more = list.parentElement.querySelector("a[rel=next]");
  const items = () => [...list.querySelectorAll(".review-item")];
  const current = () => document.activeElement?.closest?.(".review-item");

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches(FIELDS)) return;
    const key = event.key.toLowerCase();
    if (event.repeat && key !== "j" && key !== "k") return; // a key held down decides once
    if (press(key)) event.preventDefault();
  });

  /** Whether the key means something here. */
  function press(key) {
    const all = items();
    const item = current();
    if (key === "j" || key === "k") {
      const index = all.indexOf(item);
      const next = index < 0 ? 0 : Math.max(0, step(index, all.length, key === "j" ? "ArrowDown" : "ArrowUp"));
      all[next]?.focus();
      return true;
    }
    if (key === "u" && last) {
      undo();
      return true;
    }
    if (!item) return false;
    if ("123".includes(key)) {
      const choice = item.querySelectorAll("[name=entry]")[Number(key) - 1];
      if (choice) choice.checked = true;
      return Boolean(choice);
    }
    const button = { a: "[value=accept]", d: "[value=dismiss]", n: "[data-key=n]", o: "[data-key=o]" }[key];
    const target = button && item.querySelector(button);
    target?.click();
    return Boolean(target);
  }

  list.addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target;
    const item = form.closest(".review-item");
    if (item.ariaBusy === "true") return;
    item.ariaBusy = "true";
    const { said, problem } = await send(form, new FormData(form, event.submitter));
    item.ariaBusy = "false";
    if (problem) return toast(problem);
    const next = item.nextElementSibling;
    const focused = item.contains(document.activeElement);
    last = event.submitter.value === "reopen" ? null : { item, next };
    item.remove();
    if (focused) (next ?? list.lastElementChild ?? document.getElementById("main")).focus();
    if (last && matchMedia("(hover: hover)").matches) toast(`${said} U puts it back into the queue.`);
    else toast(said);
    done.hidden = list.children.length > 0;
    if (more) more.search = location.search; // what follows has moved up to this page
  });

  async function undo() {
    const { item, next } = last;
    last = null;
    const form = item.querySelector("form");
    const wish = new FormData(form);
    wish.set("do", "reopen");
    const { said, problem } = await send(form, wish);
    if (problem) {
      last = { item, next };
      return toast(problem);
    }
    list.insertBefore(item, next?.parentNode === list ? next : null);
    done.hidden = true;
    item.focus();
    toast(said);
  }
}

/** Resolves to {said} or {problem}: a sentence. */
async function send(form, wish) {
  let answer;
  try {
    answer = await fetch(form.action, { method: "POST", body: wish, headers: { "X-Requested-With": "fetch" } });
  } catch {
    return { problem: "The site cannot be reached. Try again in a moment." };
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const said = page.querySelector("[data-said]");
  if (answer.ok && said) {
    const states = "review-states";
    document.getElementById(states).replaceWith(page.getElementById(states));
    return { said: said.textContent };
  }
  // Signed out meanwhile, the answer is the sign-in page.
  const detail = answer.redirected ? "Sign in again first." : page.querySelector("[data-detail]")?.textContent.trim();
  return { problem: detail || "It could not be saved. Try again in a moment." };
}
