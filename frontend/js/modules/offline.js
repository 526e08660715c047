/** Shows the element while the browser has no network. */
export function mount(element) {
  const show = () => (element.hidden = navigator.onLine);
  window.addEventListener("online", show);
  window.addEventListener("offline", show);
  show();
}
