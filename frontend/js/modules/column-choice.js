/** A table whose head holds a radio button for each column: the cells of the chosen one are marked. */
export function mount(table) {
  const mark = () => {
    const chosen = table.querySelector("thead input:checked")?.closest("th").cellIndex;
    for (const cell of table.querySelectorAll("td")) cell.classList.toggle("is-chosen", cell.cellIndex === chosen);
  };
  table.addEventListener("change", mark);
  mark();
}
