import { send } from "./upload.js";
import { toast } from "./toast.js";

/**
 * Lays over a card's picture where the model saw what it names, or takes it away; fetched when first wanted.
 *
 * button: in the card. file: its picture. Resolves to what there is to say of it, "" when nothing has changed.
 */
export async function toggle(button, form, file) {
  const card = button.closest(".card");
  if (button.ariaBusy === "true") return "";
  if (!card.querySelector("[data-heat]") && !(await fetched(button, card, form, file))) return "";
  const shown = button.ariaPressed !== "true";
  button.ariaPressed = String(shown);
  for (const part of card.querySelectorAll("[data-heat], [data-heat-note]")) part.hidden = !shown;
  return shown ? card.querySelector("[data-heat]").alt : "The picture alone";
}

/** Puts the heat into the card; resolves to whether it is there. */
async function fetched(button, card, form, file) {
  button.ariaBusy = "true";
  const { html, problem } = await send(form, file, () => {}, { model: card.dataset.model, explain: "on", again: "on" });
  button.ariaBusy = "false";
  if (problem) {
    toast(`${problem.title}: ${problem.detail}`);
    return false;
  }
  const answer = new DOMParser().parseFromString(html, "text/html");
  const heat = answer.querySelector("[data-heat]");
  const note = answer.querySelector("[data-heat-note]");
  if (!heat) {
    toast(answer.querySelector(".card").dataset.summary);
    return false;
  }
  const strength = note.querySelector("[data-strength]");
  const apply = () => (heat.style.opacity = String(strength.value / 100));
  strength.addEventListener("input", apply);
  apply();
  card.querySelector("[data-picture]").append(heat);
  card.querySelector(".card-body").prepend(note);
  return true;
}
