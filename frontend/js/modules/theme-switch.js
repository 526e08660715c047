import { themeFrom } from "../lib/theme.js";

/** Three radio buttons: follow the system, light, dark. Remembered in this browser. */
export function mount(element) {
  const root = document.documentElement;
  const current = themeFrom(root.dataset.theme);
  for (const input of element.querySelectorAll("input")) input.checked = input.value === current;
  element.addEventListener("change", (event) => {
    root.dataset.theme = event.target.value;
    localStorage.setItem("theme", event.target.value);
  });
}
