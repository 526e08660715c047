/** Files dropped anywhere on the page, or pasted, are as if they had been chosen in the file field of this area. */
export function mount(area) {
  const form = area.closest("form");
  const field = area.querySelector("input[type=file]");

  function take(files) {
    if (!files.length || form.classList.contains("is-sending")) return;
    field.files = files;
    field.dispatchEvent(new Event("change", { bubbles: true }));
  }

  // Leaving one element for its child is also a dragleave, so the depth is counted.
  let depth = 0;
  const dragging = (change) => {
    depth = Math.max(0, depth + change);
    form.classList.toggle("is-dragging", depth > 0);
  };
  const bringsFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragenter", (event) => bringsFiles(event) && dragging(1));
  document.addEventListener("dragleave", (event) => bringsFiles(event) && dragging(-1));
  document.addEventListener("dragover", (event) => bringsFiles(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!bringsFiles(event)) return;
    event.preventDefault();
    dragging(-depth);
    take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => take(event.clipboardData?.files ?? []));
}
