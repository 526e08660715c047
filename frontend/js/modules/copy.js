import { copyText } from "./clipboard.js";

const SAID = 2000; // ms

/** The button [data-copy] copies the text of the <code> beside it and says so in its own words. */
export function mount(element) {
  const button = element.querySelector("[data-copy]");
  const words = button.querySelector("span");
  const before = words.textContent;
  button.addEventListener("click", async () => {
    try {
      await copyText(element.querySelector("code").textContent);
      words.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(element.querySelector("code"));
      words.textContent = "Press Ctrl+C";
    }
    setTimeout(() => (words.textContent = before), SAID);
  });
}
