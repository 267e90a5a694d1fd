// One record in full: who, when, what was asked and answered, its proof, and what may be done with it.

import { get, post } from "../api.js";
import { replay, verify } from "../ask/proof.js";
import { button, copy, h, shortened } from "../dom.js";
import { threadOf } from "./threads.js";

const FACTS = ["type", "seq", "id", "timestamp", "status", "finish_reason", "api", "model", "key", "client", "user_agent",
  "seed", "fingerprint", "hash", "prev", "by", "command", "reason", "target_seq", "refused", "since"];
const TEXTS = { prompt: "Prompt", reasoning: "Thoughts", response: "Answer" };

/** The element for a record; `open(seq)` shows another one, `changed()` is called after a redaction. */
export function recordView(record, others, { open, changed, close }) {
  const verdict = h("output", { class: "verdict" });
  const area = h("div", { class: "redaction" });
  const isAnswer = record.type === "interaction";
  const mark = record.redacted ?? record.reasoning_redacted;
  return h("article", { class: "record card", "aria-label": `Record ${record.seq}`, tabindex: "-1" },
    h("div", { class: "row" }, h("h2", {}, `Record ${record.seq}`), h("span", { class: "spring" }), button("Close", close, { class: "quiet" })),
    mark && h("p", { class: "fault" }, `Redacted by ${mark.by} at ${mark.at}: record ${mark.record} says why.`),
    ...Object.entries(TEXTS).filter(([name]) => record[name]).map(([name, label]) => h("section", { "aria-label": label },
      h("h3", {}, label), h("pre", { class: "text", tabindex: "0" }, record[name]))),
    threadView(threadOf(record, others), record, open),
    h("div", { class: "row tools" },
      button("Verify", () => tell(verdict, () => verify(record.id)), { class: "quiet" }),
      isAnswer && button("Replay", () => tell(verdict, () => replay(record.id)), { class: "quiet" }),
      button("Copy as JSON", (event) => copy(JSON.stringify(record, null, 2), event.currentTarget), { class: "quiet" }),
      record.content_sha256 && !record.redacted && button("Redact…", () => offerRedaction(record, area, changed), { class: "quiet" })),
    verdict, area, h("dl", {}, ...FACTS.filter((name) => record[name] !== undefined && record[name] !== null)
      .flatMap((name) => [h("dt", {}, name), h("dd", {}, String(record[name]))])),
    h("details", {}, h("summary", {}, "Everything, as it stands in the log"),
      h("pre", { class: "text", tabindex: "0" }, JSON.stringify(record, null, 2))));
}

async function tell(verdict, act) {
  verdict.className = "verdict";
  verdict.textContent = "…";
  const [kind, text] = await act().catch((error) => ["bad", error.message]);
  verdict.classList.add(kind);
  verdict.textContent = text;
}

function threadView(thread, record, open) {
  if (thread.length < 2) return null;
  return h("nav", { class: "threads", "aria-label": "Conversation" }, h("h3", {}, "Conversation"),
    h("ol", {}, ...thread.map((one) => h("li", {}, button(shortened(one.prompt ?? `record ${one.seq}`, 60), () => open(one.seq),
      { class: "quiet", "aria-current": one === record ? "true" : null })))));
}

/** Shows what would be erased, asks why, and does it. */
async function offerRedaction(record, area, changed) {
  const path = `vault/records/${encodeURIComponent(record.id)}/redaction`;
  const fault = h("p", { class: "fault", role: "alert" });
  try {
    const { erased, part, kept, refused } = await get(path);
    if (refused) throw new Error(`It may not be erased: ${refused}.`);
    const reason = h("input", { required: true, maxlength: 1000, "aria-label": "Reason" });
    const scope = h("select", { "aria-label": "What is erased" }, h("option", { value: "" }, "everything it holds"),
      part.length ? h("option", { value: "reasoning" }, "only what the model thought") : null);
    const told = h("p", {});
    const say = () => { told.textContent = `Erased for good: ${(scope.value ? part : erased).join(", ")}. Kept, so that the chain stays whole: ${kept.join(", ")}.`; };
    scope.addEventListener("change", say);
    say();
    area.replaceChildren(h("form", { class: "card danger-zone", onsubmit: async (event) => {
      event.preventDefault();
      try {
        await post(path, { reason: reason.value, ...(scope.value && { part: scope.value }) });
        changed(record.seq);
      } catch (error) {
        fault.textContent = error.message;
      }
    } }, h("h3", {}, "Redact this record"), told, h("label", {}, "Erase ", scope), h("label", {}, "Reason, which stays in the vault", reason), fault,
    h("div", { class: "row end" }, button("Cancel", () => area.replaceChildren()), h("button", { class: "danger" }, "Erase for good"))));
    reason.focus();
  } catch (error) {
    area.replaceChildren(fault);
    fault.textContent = error.message;
  }
}
