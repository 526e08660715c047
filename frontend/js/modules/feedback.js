import { toast } from "./toast.js";

const SAID = { right: "Noted as right", wrong: "Noted as wrong", nothing: "Noted: none of these", none: "Taken back" };

/** The form behind "right" and "wrong": sends what a button says, and puts the buttons as they now are in its place. */
export function mount(form) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const group = event.submitter.closest(".verdict");
    if (group.ariaBusy === "true") return;
    group.ariaBusy = "true";
    const position = [...group.children].indexOf(event.submitter);
    const { buttons, problem } = await send(form, event.submitter);
    group.ariaBusy = "false";
    if (problem) return toast(problem);
    for (const button of buttons) button.setAttribute("form", form.id);
    const focused = group.contains(document.activeElement);
    group.replaceChildren(...buttons);
    if (focused) group.children[position].focus();
    toast(SAID[event.submitter.value.split(" ")[0]]);
  });
}

/** Resolves to {buttons}, or to {problem}: a sentence. */
async function send(form, button) {
  let answer;
  try {
    answer = await fetch(form.action, {
      method: "POST",
      body: new FormData(form, button),
      headers: { "X-Requested-With": "fetch" },
    });
  } catch {
    return { problem: "The site cannot be reached. Say it again in a moment." };
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const group = page.querySelector(".verdict");
  if (answer.ok && group) return { buttons: [...group.children] };
  // Signed out meanwhile, the answer is the sign-in page.
  const detail = answer.redirected ? "Sign in again first." : page.querySelector("[data-detail]")?.textContent.trim();
  return { problem: detail || "It could not be noted. Try again in a moment." };
}
