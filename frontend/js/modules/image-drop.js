import { eachOf, inOrder, sortOut } from "../lib/uploads.js";
import { takeDropped } from "./drop.js";
import { toggle } from "./explain.js";
import { send } from "./upload.js";

const AT_ONCE = 3; // requests; the pods batch them

/** The images page: takes pictures from wherever they come, shows each at once and replaces it by its result. */
export function mount(page) {
  const limits = { maxFiles: Number(page.dataset.maxFiles), maxBytes: Number(page.dataset.maxBytes) };
  const form = page.querySelector("form");
  const results = page.querySelector("[data-results]");
  const cards = page.querySelector("[data-cards]");
  const sort = page.querySelector("[data-sort]");
  const pendingCard = page.querySelector("[data-pending-card]");
  const announce = page.querySelector("[data-announce]");
  const files = new WeakMap(); // of the cards with an answer
  let added = 0;

  async function take(list) {
    const files = [...list];
    if (!files.length) return;
    const { accepted, refused, left } = sortOut(files, limits);
    page.classList.add("has-results");
    results.hidden = false;
    for (const { file, title, detail } of refused) fail(addCard(file), title, detail);
    const waiting = accepted.map((file) => ({ file, card: addCard(file) }));
    announce.textContent = `${files.length - left} ${files.length - left === 1 ? "picture" : "pictures"} added`;
    if (left) announceLeft(left);
    await eachOf(waiting, AT_ONCE, classify);
    arrange();
  }

  function addCard(file) {
    const card = pendingCard.content.firstElementChild.cloneNode(true);
    const preview = document.createElement("img");
    preview.src = URL.createObjectURL(file);
    preview.alt = "";
    // A file that is no picture has no preview, only its name.
    preview.addEventListener("error", () => preview.remove());
    card.querySelector("[data-picture]").append(preview);
    card.querySelector("[data-name]").textContent = file.name;
    card.dataset.added = String((added += 1));
    cards.prepend(card);
    return card;
  }

  async function classify({ file, card }) {
    const state = card.querySelector("[data-state]");
    const progress = card.querySelector("progress");
    state.textContent = "Sending";
    card.setAttribute("aria-busy", "true");
    const { html, problem } = await send(form, file, (share) => {
      progress.value = share;
      if (share === 1) {
        state.textContent = "Looking at it";
        card.querySelector(".skeleton").classList.add("is-shown");
      }
    });
    if (problem) return fail(card, problem.title, problem.detail);
    const result = new DOMParser().parseFromString(html, "text/html").querySelector(".card");
    result.dataset.added = card.dataset.added;
    result.querySelector("[data-picture]").append(...card.querySelector("[data-picture]").childNodes);
    files.set(result, file);
    const why = result.querySelector("[data-explain]");
    if (why) why.hidden = false;
    card.replaceWith(result);
    announce.textContent = result.dataset.summary;
    result.dispatchEvent(new Event("content-added", { bubbles: true }));
  }

  function fail(card, title, detail) {
    card.classList.replace("card-pending", "card-failed");
    card.removeAttribute("aria-busy");
    card.querySelector("[data-state]").textContent = title;
    const words = document.createElement("p");
    words.className = "small";
    words.textContent = detail;
    card.querySelector("progress").replaceWith(words);
    card.querySelector(".skeleton").remove();
    announce.textContent = `${card.querySelector("[data-name]").textContent}: ${title}`;
  }

  function announceLeft(left) {
    const note = page.querySelector("[data-too-many]");
    note.hidden = false;
    note.querySelector("[data-left]").textContent = `${left} ${left === 1 ? "was" : "were"} left out`;
  }

  function arrange() {
    const all = [...cards.children];
    sort.hidden = all.length < 2;
    const order = sort.querySelector(":checked").value;
    const facts = all.map((card) => ({ card, added: Number(card.dataset.added ?? 0), confidence: Number(card.dataset.confidence) }));
    for (const { card } of inOrder(facts, order)) cards.append(card);
  }

  page.addEventListener("change", (event) => {
    if (event.target.matches("[type=file]")) takeChosen(event.target);
    if (event.target.closest("[data-sort]")) arrange();
    if (event.target.closest("[data-models]")) chooseModel(event.target.value);
  });

  function takeChosen(input) {
    take(input.files);
    input.value = ""; // the same picture may be chosen again
  }

  function chooseModel(name) {
    for (const note of page.querySelectorAll("[data-model-note]")) note.hidden = note.dataset.modelNote !== name;
    history.replaceState(null, "", `?${new URLSearchParams({ model: name })}`);
  }

  page.addEventListener("click", async (event) => {
    const why = event.target.closest("[data-explain]");
    if (why) announce.textContent = await toggle(why, form, files.get(why.closest(".card")));
  });

  page.addEventListener("click", async (event) => {
    const sample = event.target.closest("[data-sample]");
    if (!sample || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const picture = await (await fetch(sample.href)).blob();
    take([new File([picture], sample.dataset.sample, { type: picture.type })]);
  });

  takeDropped(page, take);
  // Somebody may have been quicker than this script.
  for (const input of page.querySelectorAll("[type=file]")) takeChosen(input);
}
