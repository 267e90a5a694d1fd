// The chain's light: what the verifier last said, when, and the head to keep elsewhere.

import { get } from "../api.js";
import { button, copy, h, shortened } from "../dom.js";

const KINDS = { 0: "good", 1: "unsure", 2: "bad", 3: "bad" };

/** `{element, refresh}`. */
export function lightView() {
  const lamp = h("span", { class: "lamp", "aria-hidden": "true" });
  const words = h("p", { class: "words", role: "status" }, "…");
  const place = h("p", { class: "hint place" });
  const verifyButton = button("Verify now", verify, { class: "primary" });
  const element = h("section", { class: "card light", "aria-label": "Integrity" },
    lamp, h("div", {}, words, place), verifyButton);

  function tell(kind, text) {
    lamp.className = `lamp ${kind}`;
    words.className = `words ${kind}`;
    words.textContent = text;
  }

  async function refresh() {
    const { seq, head, verified, checkpoint } = await get("vault/light");
    place.replaceChildren(`${seq} records; head `, button(shortened(head, 20), (event) => copy(head, event.currentTarget),
      { class: "id", "aria-label": `Copy the head ${head}` }), checkpoint ? ` signed up to record ${checkpoint.seq}, ${when(checkpoint.timestamp)}` : "");
    if (!verified) return tell("unsure", "Not verified yet");
    const news = seq > verified.seq ? `, ${seq - verified.seq} records since` : "";
    const bad = verified.first_bad_seq === null ? "" : `, first at record ${verified.first_bad_seq}`;
    return tell(KINDS[verified.exit_code], `${capital(verified.verdict)}${bad}: verified ${when(verified.at)}, ${verified.num_records} records${news}`);
  }

  async function verify() {
    verifyButton.disabled = true;
    tell("unsure", "Verifying every record…");
    try {
      const report = await get("vault/verify");
      const [finding] = report.findings;
      await refresh();
      if (finding) words.append(`. ${finding.message}`);
    } catch (error) {
      tell("bad", error.message);
    } finally {
      verifyButton.disabled = false;
    }
  }

  return { element, refresh };
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1).toLowerCase();

const when = (timestamp) => new Date(timestamp).toLocaleString();
