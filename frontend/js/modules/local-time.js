/** On hover: the exact time in the reader's own zone, in place of UTC. */
export function mount(element) {
  const moment = new Date(element.dateTime);
  element.title = moment.toLocaleString("en-GB", { dateStyle: "long", timeStyle: "long" });
}
