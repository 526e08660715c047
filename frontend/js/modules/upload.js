const UNREACHED = { title: "Not sent", detail: "The site cannot be reached. Check your connection and choose the picture again." };
const BROKEN = { title: "No answer", detail: "Something went wrong on our side. Try again in a moment." };

/**
 * Sends one file with the form's other fields. XMLHttpRequest, for fetch does not tell how much is sent.
 *
 * onProgress: called with the share sent, 0 to 1. fields: further ones, or other values. Resolves to {html} (the card) or {problem: {title, detail}}.
 */
export function send(form, file, onProgress, fields = {}) {
  const data = new FormData(form);
  for (const [name, value] of Object.entries(fields)) data.set(name, value);
  data.delete("files");
  data.append("files", file, file.name);
  const request = new XMLHttpRequest();
  request.open("POST", form.action);
  request.setRequestHeader("X-Requested-With", "fetch");
  request.upload.addEventListener("progress", (event) => onProgress(event.total ? event.loaded / event.total : 1));
  request.upload.addEventListener("load", () => onProgress(1));
  return new Promise((resolve) => {
    request.addEventListener("error", () => resolve({ problem: UNREACHED }));
    request.addEventListener("load", () => resolve(answerOf(request, form)));
    request.send(data);
  });
}

function answerOf(request, form) {
  // Signed out meanwhile: the answer is the sign-in page.
  if (new URL(request.responseURL).pathname !== new URL(form.action).pathname) {
    location.reload();
    return { problem: { title: "Signed out", detail: "Sign in again to go on." } };
  }
  const page = new DOMParser().parseFromString(request.responseText, "text/html");
  if (page.querySelector(".card")) return { html: request.responseText };
  const title = page.querySelector("h1, .alert-title")?.textContent.trim();
  const detail = page.querySelector("[data-detail], .alert p:not(.alert-title)")?.textContent.trim();
  return { problem: title && detail ? { title, detail } : BROKEN };
}
