// What an answer can be held to: its record, checked in its place and run again.

import { get, post } from "../api.js";
import { button, copy, download, h, shortened } from "../dom.js";

/** What names the record: its id, the fingerprint of what made it and the seed. */
export function factsOf(answer) {
  const { fingerprint, seed } = answer.end ?? {};
  const id = (what, value) => [h("span", {}, what), button(shortened(value, 14), (event) => copy(value, event.currentTarget),
    { class: "id", title: `Copy ${value}`, "aria-label": `Copy the ${what} ${value}` })];
  return [...(answer.id ? id("record", answer.id) : []), ...(fingerprint ? id("fingerprint", fingerprint) : []),
    ...(seed ? id("seed", seed) : [])];
}

/** Buttons that verify and replay; the verdict is said in `verdict`. */
export const proofButtons = (answer, verdict) => [
  button("Verify", () => tell(verdict, "Verifying…", () => verify(answer.id)), { class: "quiet", title: "Is its record as it was written?" }),
  button("Replay", () => tell(verdict, "Running it again…", () => replay(answer.id)), { class: "quiet", title: "Does it come out the same?" }),
  button("Receipt", () => tell(verdict, "…", () => receipt(answer.id)), { class: "quiet", title: "A signed receipt, to keep elsewhere" }),
];

async function tell(verdict, waiting, act) {
  verdict.textContent = waiting;
  verdict.className = "verdict";
  try {
    const [kind, text] = await act();
    verdict.classList.add(kind);
    verdict.textContent = text;
  } catch (error) {
    verdict.classList.add("bad");
    verdict.textContent = error.message;
  }
  verdict.scrollIntoView({ block: "nearest" });
}

/** `[good | bad | unsure, words]` for a record in its place. */
export async function verify(id) {
  const found = await get(`vault/records/${encodeURIComponent(id)}/check`);
  if (found.verdict === "changed") return ["bad", `Changed: ${found.reason}`];
  const place = `record ${found.seq}, ${found.hash}`;
  return found.verdict === "redacted" ? ["unsure", `Redacted, and in its place: ${place}`] : ["good", `In its place: ${place}`];
}

/** The same for a record that is run again. */
export async function replay(id) {
  const found = await post(`vault/records/${encodeURIComponent(id)}/replay`);
  if (found.outcome === "identical") return ["good", `Identical: all ${found.num_tokens} ${found.unit}s came again`];
  if (found.outcome === "not comparable") return ["unsure", `Not comparable: ${found.reason}`];
  return ["bad", `Different: ${found.reason || `${found.unit} ${found.position} was ${found.recorded}, now ${found.replayed}`}`];
}

/** Hands out the signed receipt of an answer. */
export async function receipt(id) {
  download(`receipt-${id}.json`, JSON.stringify(await get(`receipts/${encodeURIComponent(id)}`), null, 2));
  return ["good", "The receipt is saved; `flask minivault receipt verify` says what it proves."];
}
