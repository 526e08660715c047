/** The ids that are in `now` and were not in `before`: what came in with this answer. */
export function arrivals(before, now) {
  const known = new Set(before);
  return now.filter((id) => !known.has(id));
}

/** Where the arrow keys lead from `index` in a list of `count`: one step, not past the ends; -1 is the field above. */
export function step(index, count, key) {
  if (key === "ArrowDown") return Math.min(index + 1, count - 1);
  if (key === "ArrowUp") return Math.max(index - 1, -1);
  if (key === "Home") return Math.min(0, count - 1);
  if (key === "End") return count - 1;
  return index;
}

const LONGEST = 4000; // characters: what servers and proxies take without complaint

/** The address that shows this question again; without one, or with one too long for an address, that of the page. */
export function questionAddress(path, question) {
  const address = `${path}?${new URLSearchParams({ q: question })}`;
  return question && address.length <= LONGEST ? address : path;
}
