import { toast } from "./toast.js";

/** When a row is deleted, the focus goes to the next one's button, or to the one before, and is not lost. */
export function mount(list) {
  list.addEventListener("htmx:beforeSwap", (event) => {
    const row = event.detail.target;
    const neighbour = row.nextElementSibling ?? row.previousElementSibling;
    // Once htmx has taken the row out.
    setTimeout(() => {
      neighbour?.querySelector("button")?.focus();
      toast("Deleted");
    });
  });
}
