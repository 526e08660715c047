/**
 * A part of the page that is fetched again every data-every seconds by its own hx-get, on the event "tick", and swapped
 * with hx-swap="outerHTML". The server answers 204 while nothing differs, and a part without data-every when it is done.
 *
 * It rests while the page is hidden. Focus and open <details> with an id survive a swap. What stands in data-says is
 * told to a screen reader when it changes. While no answer comes the old figures stay, and the part says how old they are.
 * What is gone is not asked for again.
 */

import { meaningOf } from "../lib/polling.js";

const PATIENCE = 5; // seconds between two attempts while none succeeds, at least

const said = new Map(); // by the part's id
let openDetails = [];
let focused = []; // where the focus was, as placeOf tells it
let speaker;

export function mount(part) {
  for (const details of openDetails) {
    const found = part.querySelector(`details#${CSS.escape(details)}`);
    if (found) found.open = true;
  }
  // What has an id htmx has found again itself.
  if (document.activeElement === document.body) elementAt(focused)?.focus({ preventScroll: true });
  focused = [];
  say(part);
  if (!part.dataset.every) return;

  const every = Number(part.dataset.every);
  let answeredAt = new Date();

  function wait(seconds) {
    setTimeout(tick, seconds * 1000);
  }
  function tick() {
    if (!part.isConnected) return;
    if (document.hidden) document.addEventListener("visibilitychange", tick, { once: true });
    else part.dispatchEvent(new Event("tick"));
  }

  part.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, requestConfig } = event.detail;
    if (event.target !== part) return;
    const asked = new URL(requestConfig.path, location.href).pathname;
    if (new URL(xhr.responseURL).pathname !== asked) {
      // Signed out meanwhile: the answer is the sign-in page.
      event.detail.shouldSwap = false;
      location.reload();
    } else if (xhr.status !== 200) {
      event.detail.shouldSwap = false;
    } else {
      openDetails = [...part.querySelectorAll("details[open][id]")].map((details) => details.id);
      focused = part.contains(document.activeElement) ? placeOf(document.activeElement) : [];
    }
  });
  part.addEventListener("htmx:afterRequest", (event) => {
    if (event.target !== part || !part.isConnected) return;
    const { isCurrent, isAway, goesOn } = meaningOf(event.detail.xhr.status);
    if (isCurrent) answeredAt = new Date();
    showAge(part, isAway ? answeredAt : null);
    if (goesOn) wait(isCurrent ? every : Math.max(every, PATIENCE));
  });
  wait(every);
}

/** The id of the nearest element around it that has one, then the way down from there: which child of which. */
function placeOf(element) {
  const way = [];
  while (!element.id) {
    way.unshift([...element.parentElement.children].indexOf(element));
    element = element.parentElement;
  }
  return [element.id, ...way];
}

function elementAt([id, ...way]) {
  return way.reduce((element, index) => element?.children[index], document.getElementById(id));
}

function showAge(part, since) {
  let note = part.querySelector(":scope > .live-age");
  if (!since) {
    note?.remove();
    return;
  }
  if (!note) {
    note = document.createElement("p");
    note.className = "live-age";
    note.setAttribute("role", "status");
    part.prepend(note);
  }
  const text = `The site does not answer; this is as of ${since.toLocaleTimeString("en-GB")}.`;
  if (note.textContent !== text) note.textContent = text;
}

function say(part) {
  const text = part.dataset.says ?? "";
  if (!speaker) {
    speaker = document.createElement("p");
    speaker.className = "visually-hidden";
    speaker.setAttribute("role", "status");
    document.body.append(speaker);
  }
  if (said.has(part.id) && said.get(part.id) !== text) speaker.textContent = text;
  said.set(part.id, text);
}
