/** A list with a tick for each row and one for all of them; it says how many are ticked. */
export function mount(form) {
  const all = form.querySelector("[data-all]");
  const count = form.querySelector("[data-count]");
  const rows = [...form.querySelectorAll("tbody input[type=checkbox]")];
  const before = count.textContent;

  function show() {
    const ticked = rows.filter((row) => row.checked).length;
    all.checked = ticked === rows.length;
    all.indeterminate = ticked > 0 && ticked < rows.length;
    count.textContent = ticked ? `${ticked} of ${rows.length} on this page selected` : before;
  }

  form.addEventListener("change", (event) => {
    if (event.target === all) for (const row of rows) row.checked = all.checked;
    show();
  });
  // Back and reload bring the ticks as they were left.
  show();
}
