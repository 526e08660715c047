// Mounts the behaviour that an element names in data-module; also in what htmx or another module puts into the page.

const modules = {
  "confirm-dialog": () => import("./modules/confirm-dialog.js"),
  "column-choice": () => import("./modules/column-choice.js"),
  console: () => import("./modules/console.js"),
  copy: () => import("./modules/copy.js"),
  dialog: () => import("./modules/dialog.js"),
  feedback: () => import("./modules/feedback.js"),
  "faq-search": () => import("./modules/faq-search.js"),
  "file-drop": () => import("./modules/file-drop.js"),
  "form-upload": () => import("./modules/form-upload.js"),
  "image-drop": () => import("./modules/image-drop.js"),
  "live-part": () => import("./modules/live-part.js"),
  "local-time": () => import("./modules/local-time.js"),
  offline: () => import("./modules/offline.js"),
  "password-reveal": () => import("./modules/password-reveal.js"),
  "review-queue": () => import("./modules/review-queue.js"),
  "row-choice": () => import("./modules/row-choice.js"),
  "record-list": () => import("./modules/record-list.js"),
  "section-nav": () => import("./modules/section-nav.js"),
  "submit-on-change": () => import("./modules/submit-on-change.js"),
  tabs: () => import("./modules/tabs.js"),
  "theme-switch": () => import("./modules/theme-switch.js"),
};

const mounting = new WeakMap(); // element: promise of its behaviour
const mounted = new WeakSet();

function mount(element) {
  if (!mounting.has(element)) mounting.set(element, load(element));
}

async function load(element) {
  try {
    const module = await modules[element.dataset.module]();
    module.mount(element);
  } finally {
    mounted.add(element);
  }
}

function mountWithin(root) {
  if (root.matches?.("[data-module]")) mount(root);
  for (const element of root.querySelectorAll("[data-module]")) mount(element);
}

mountWithin(document);
document.addEventListener("htmx:load", (event) => mountWithin(event.detail.elt));
document.addEventListener("content-added", (event) => mountWithin(event.target));

// A button may be pressed before the behaviour of its form is there: then the form is sent as soon as it is.
document.addEventListener(
  "submit",
  (event) => {
    const { target: form, submitter } = event;
    if (!mounting.has(form) || mounted.has(form)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const again = () => form.requestSubmit(submitter);
    mounting.get(form).then(again, again);
  },
  true,
);

// A form that is being sent is not sent twice by a double click. Back may bring the page as it was left, so it is undone.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method !== "post") return;
  if (event.target.dataset.sent !== undefined) event.preventDefault();
  event.target.dataset.sent = "";
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});
