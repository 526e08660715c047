import { sent, unfit } from "../lib/uploads.js";

/**
 * Sends a form with large files and shows how far it is; with data-at-once as soon as they are chosen. Without a script
 * the form is sent by the browser alone.
 *
 * data-most: bytes in all; data-then: what happens when they are sent. Refusals stand in [data-refusals], else at their
 * field. XMLHttpRequest, for fetch does not tell how much is sent.
 */
export function mount(form) {
  const progress = form.querySelector("[data-progress]");
  const bar = progress.querySelector("progress");
  const words = progress.querySelector("[data-words]");
  const submit = form.querySelector("button[type=submit]");
  const cancel = progress.querySelector("[data-cancel]");
  const file = form.querySelector("input[type=file]");
  const most = Number(form.dataset.most);
  const atOnce = form.dataset.atOnce !== undefined;
  let request;

  file.addEventListener("change", () => {
    if (atOnce) form.requestSubmit();
    else refuse(unfit([...file.files], most));
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const problem = unfit([...file.files], most);
    refuse(problem);
    if (problem || request) return;
    send();
  });
  cancel.addEventListener("click", () => request.abort());
  window.addEventListener("beforeunload", (event) => {
    if (request) event.preventDefault();
  });
  // Somebody was quicker than this script. The field has autocomplete="off": Back must not bring old files into it.
  if (atOnce && file.files.length) form.requestSubmit();
  // Back brings the page as it was left.
  window.addEventListener("pageshow", (event) => event.persisted && rest());

  function send() {
    const began = performance.now();
    request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.setRequestHeader("X-Requested-With", "fetch");
    request.upload.addEventListener("progress", (event) => {
      bar.value = event.total ? event.loaded / event.total : 0;
      words.textContent = sent(event.loaded, event.total, (performance.now() - began) / 1000);
    });
    request.upload.addEventListener("load", () => {
      bar.removeAttribute("value");
      words.textContent = form.dataset.then;
      cancel.hidden = true;
    });
    request.addEventListener("load", () => end(answerOf(request, form)));
    request.addEventListener("error", () => end({ detail: "The site cannot be reached. Check your connection and send it again." }));
    request.addEventListener("abort", () => end({ detail: "Cancelled; nothing was kept." }));
    bar.value = 0;
    words.textContent = "Sending…";
    cancel.hidden = false;
    progress.hidden = false;
    form.classList.add("is-sending");
    if (submit) submit.disabled = true;
    request.send(new FormData(form));
  }

  function end({ location: address, detail, field }) {
    request = undefined;
    if (address) {
      location.assign(address);
      return;
    }
    rest();
    refuse(detail, field);
  }

  function rest() {
    progress.hidden = true;
    form.classList.remove("is-sending");
    if (submit) submit.disabled = false;
    // The same file, mended, may be chosen again.
    if (atOnce) file.value = "";
  }

  /** Says at the field what is wrong with it, as the server's own page does; an empty text takes it back. */
  function refuse(text, name) {
    const control = form.elements[name] ?? file;
    for (const old of form.querySelectorAll("[data-refusal], [data-refusals] > *")) old.remove();
    for (const old of form.querySelectorAll("[aria-invalid]")) old.removeAttribute("aria-invalid");
    if (!text) return;
    const note = document.createElement("p");
    note.className = "field-error";
    note.dataset.refusal = "";
    note.setAttribute("role", "alert");
    note.textContent = text;
    control.setAttribute("aria-invalid", "true");
    const place = form.querySelector("[data-refusals]");
    if (place) place.replaceChildren(note);
    else control.after(note);
    control.focus();
  }
}

function answerOf(request, form) {
  // Led elsewhere: the answer is the sign-in page.
  if (new URL(request.responseURL).pathname !== new URL(form.action).pathname) {
    return { detail: "You are no longer signed in. Sign in again in another tab, and send it once more." };
  }
  try {
    return JSON.parse(request.responseText);
  } catch {
    const page = new DOMParser().parseFromString(request.responseText, "text/html");
    const detail = page.querySelector("[data-detail]")?.textContent.trim();
    return { detail: detail || "Something went wrong on our side. Try again in a moment." };
  }
}
