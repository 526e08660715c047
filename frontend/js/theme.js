// Runs before the first paint: the theme must be there when the page is drawn, and html.js tells the style sheets that
// scripts run. The key and the values are those of Django's admin, so one switch serves both.
{
  const root = document.documentElement;
  root.classList.add("js");
  try {
    root.dataset.theme = localStorage.getItem("theme") ?? "auto";
  } catch {
    // Storage is switched off: the system's theme it is.
  }
}
