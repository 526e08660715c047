/**
 * A link to a page that asks before something is done. The page's form is shown in a dialog instead of a page of its own;
 * where that fails for any reason, the link is followed as it is.
 *
 * Mounted on an element around the links, which carry data-confirms; the links may be swapped meanwhile.
 */
export function mount(area) {
  area.addEventListener("click", async (event) => {
    const link = event.target.closest("a[data-confirms]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    if (document.querySelector("dialog.confirmation")) return; // a double click asks once
    const dialog = document.createElement("dialog");
    dialog.className = "dialog confirmation";
    dialog.setAttribute("aria-labelledby", "confirmation-title");
    document.body.append(dialog);
    try {
      const answer = await fetch(link.href, { headers: { "X-Requested-With": "fetch" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const form = page.querySelector("form.confirmation-form");
      if (!answer.ok || answer.redirected || !form) throw new Error("not a page that asks");
      open(dialog, form, link);
    } catch {
      dialog.remove();
      location.assign(link.href);
    }
  });
}

function open(dialog, form, link) {
  form.action = link.href; // on its own page it is sent to its own address
  dialog.append(form);
  dialog.addEventListener("close", () => {
    dialog.remove();
    // The link may have been swapped for a new one with the same id.
    (link.id ? document.getElementById(link.id) : link)?.focus();
  });
  dialog.addEventListener("click", (event) => {
    const box = dialog.getBoundingClientRect();
    const inside =
      event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
    if (event.detail > 0 && event.target === dialog && !inside) dialog.close();
    if (event.target.closest("[data-closes]")) {
      event.preventDefault();
      dialog.close();
    }
  });
  dialog.showModal();
  (dialog.querySelector("input:not([type=hidden]), textarea") ?? dialog.querySelector("button[type=submit]")).focus();
  dialog.scrollTop = 0;
  dialog.dispatchEvent(new Event("content-added", { bubbles: true }));
}
