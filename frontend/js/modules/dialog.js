/**
 * A <dialog> that is a part of the page without scripts. Buttons with data-opens="its id" open it, those with
 * data-closes close it, and data-open-at-once opens it on arrival (after an error in its form).
 */
export function mount(dialog) {
  // It is there open for readers without scripts; as a modal dialog it has to be closed before.
  dialog.close();
  for (const opener of document.querySelectorAll(`[data-opens="${dialog.id}"]`)) {
    opener.addEventListener("click", (event) => {
      event.preventDefault();
      open();
    });
  }
  dialog.addEventListener("click", (event) => {
    // A click on the dialog itself and not on what is in it is one on the backdrop or the padding.
    const box = dialog.getBoundingClientRect();
    const inside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
    const pressed = event.detail > 0; // Enter in a field also makes a click, without a place
    if (event.target.closest("[data-closes]") || (pressed && event.target === dialog && !inside)) dialog.close();
  });
  if (dialog.dataset.openAtOnce !== undefined) open();

  function open() {
    dialog.showModal();
    // To the field that needs correction, else to the first; the browser itself would choose the button that closes.
    const field = dialog.querySelector("[aria-invalid=true]") ?? dialog.querySelector("input:not([type=hidden]), select");
    field?.focus();
  }
}
