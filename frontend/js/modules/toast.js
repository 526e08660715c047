const SHOWN = 2500; // ms

/** Says one short sentence at the bottom of the page, and to screen readers, for a moment. */
export function toast(text) {
  const element = document.createElement("p");
  element.className = "toast";
  element.textContent = text;
  document.getElementById("toasts").append(element);
  setTimeout(() => element.remove(), SHOWN);
}
