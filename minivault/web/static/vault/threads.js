// Which records are one conversation: each turn's prompt, as the model read it, begins with the turn before it.

const text = (record) => record.rendered_prompt ?? "";

const follows = (later, earlier) => earlier.seq < later.seq && earlier.key === later.key && text(earlier) !== "" &&
  text(later).length > text(earlier).length && text(later).startsWith(text(earlier)) && text(later).includes(earlier.response ?? "\0");

/** The turns that `record` is one of, oldest first, as far as `records` holds them. */
export function threadOf(record, records) {
  if (record.type !== "interaction" || !text(record)) return [record];
  const before = records.filter((one) => one.type === "interaction" && follows(record, one));
  const after = records.filter((one) => one.type === "interaction" && follows(one, record));
  return [...before, record, ...after].sort((one, other) => one.seq - other.seq);
}
