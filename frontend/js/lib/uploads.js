/**
 * Which of the chosen files are sent, and why the others are not.
 *
 * files: anything with name and size (bytes). Returns {accepted: [file], refused: [{file, title, detail}], left: count},
 * `left` being those beyond maxFiles.
 */
export function sortOut(files, { maxFiles, maxBytes }) {
  const accepted = [];
  const refused = [];
  for (const file of files.slice(0, maxFiles)) {
    if (file.size > maxBytes) {
      const detail = `It has ${megabytes(file.size)}; up to ${megabytes(maxBytes)} are read. Make it smaller and try again.`;
      refused.push({ file, title: "Too large", detail });
    } else if (file.size === 0) {
      refused.push({ file, title: "Empty file", detail: "There is nothing in it. Choose another picture." });
    } else {
      accepted.push(file);
    }
  }
  return { accepted, refused, left: Math.max(0, files.length - maxFiles) };
}

/**
 * Why these files, each {name, type, size}, cannot be sent together; "" when they can. most: bytes in all.
 *
 * Several files must be pictures; a browser knows the type of most by the end of their name.
 */
export function unfit(files, most) {
  if (!files.length) return "Choose a file first.";
  const size = files.reduce((sum, file) => sum + file.size, 0);
  const what = files.length === 1 ? files[0].name : `${files.length} files`;
  if (size === 0) return `There is nothing in ${what}.`;
  if (size > most) return `${what} ${files.length === 1 ? "has" : "have"} ${megabytes(size)}; at most ${megabytes(most)} are taken.`;
  const other = files.length > 1 && files.find((file) => file.type && !file.type.startsWith("image/"));
  return other ? `${other.name} is no picture, so it must be the only file.` : "";
}

/** Bytes as megabytes with at most one decimal: "10 MB", "12.3 MB"; from a thousand of them on "1.5 GB". */
export function megabytes(bytes) {
  if (bytes >= 999_950_000) return `${Number((bytes / 1_000_000_000).toFixed(1))} GB`;
  return `${Number((bytes / 1_000_000).toFixed(1))} MB`;
}

/** How much of a large file is sent, and how long the rest takes once that can be told. Bytes; seconds since it began. */
export function sent(loaded, total, seconds) {
  const done = `${megabytes(loaded)} of ${megabytes(total)}`;
  const left = Math.ceil(((total - loaded) * seconds) / Math.max(loaded, 1));
  if (seconds < 1 || left < 2) return done;
  return `${done}, about ${left < 90 ? `${left} s` : `${Math.round(left / 60)} min`} left`;
}

/** The order of cards: "added" keeps the newest first, "confidence" the most certain; failed ones (-1) come last. */
export function inOrder(cards, order) {
  const key = order === "confidence" ? (card) => card.confidence : (card) => card.added;
  return [...cards].sort((one, other) => key(other) - key(one) || other.added - one.added);
}

/** Runs `work` on each item, `limit` at a time, in their order. Resolves when all are done. */
export async function eachOf(items, limit, work) {
  const waiting = [...items];
  const lane = async () => {
    while (waiting.length) await work(waiting.shift());
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, lane));
}
