import { takeDropped } from "./drop.js";

/** Files dropped anywhere on the page, or pasted, are as if they had been chosen in the file field of this area. */
export function mount(area) {
  const form = area.closest("form");
  const field = area.querySelector("input[type=file]");

  function take(files) {
    if (!files.length || form.classList.contains("is-sending")) return;
    field.files = files;
    field.dispatchEvent(new Event("change", { bubbles: true }));
  }

  takeDropped(form, take);
}
