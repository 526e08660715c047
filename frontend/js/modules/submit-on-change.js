/** A form that chooses what a page shows: it is sent by choosing, and its button is not needed. */
export function mount(form) {
  form.querySelector("button[type=submit]").hidden = true;
  form.addEventListener("change", () => form.requestSubmit());
}
