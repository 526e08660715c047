export const THEMES = ["auto", "light", "dark"];

/** The stored word if it is one of ours, else "auto". */
export function themeFrom(stored) {
  return THEMES.includes(stored) ? stored : "auto";
}
