// Django's tabular inlines name their fields in the head of the table only: a screen reader hears the name at each field.
function nameFields(table) {
  const names = [...table.querySelectorAll("thead th")].map((head) => head.textContent.trim());
  for (const row of table.querySelectorAll("tbody tr")) {
    for (const [column, cell] of [...row.cells].entries()) {
      for (const field of cell.querySelectorAll("input:not([type=hidden]), select, textarea")) {
        if (!field.labels?.length) field.setAttribute("aria-label", names[column] || "Keep");
      }
    }
  }
}

for (const table of document.querySelectorAll(".tabular table")) {
  nameFields(table);
  new MutationObserver(() => nameFields(table)).observe(table.tBodies[0], { childList: true });
}
