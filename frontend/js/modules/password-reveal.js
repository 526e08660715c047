/** A button in the password field that shows what was typed. */
export function mount(element) {
  const input = element.querySelector("input");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button button-quiet button-small";
  button.setAttribute("aria-controls", input.id);

  function show(visible) {
    input.type = visible ? "text" : "password";
    button.textContent = visible ? "Hide" : "Show";
    button.setAttribute("aria-label", visible ? "Hide the password" : "Show the password");
  }

  button.addEventListener("click", () => show(input.type === "password"));
  // A password is never sent from a text field: browsers would offer to remember it as plain text.
  input.form?.addEventListener("submit", () => show(false));
  input.after(button);
  show(false);
}
