/** Hands to `take` the files that are dropped anywhere on the page, or pasted. `marked` is .is-dragging meanwhile. */
export function takeDropped(marked, take) {
  // Leaving one element for its child is also a dragleave, so the depth is counted.
  let depth = 0;
  const dragging = (change) => {
    depth = Math.max(0, depth + change);
    marked.classList.toggle("is-dragging", depth > 0);
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
