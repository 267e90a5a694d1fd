// An answer's figures in words.

const perSecond = (number, ms) => (ms > 0 ? `${(number * 1000 / ms).toFixed(1)} tokens/s` : null);
const seconds = (ms) => (ms < 995 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

/** Speed, time to first token and context, as it runs and at its end. */
export function figuresOf(answer, context) {
  const usage = answer.end?.usage;
  const now = answer.tookMs ?? Date.now() - answer.begun;
  const first = answer.firstAfterMs;
  const made = usage?.completion_tokens ?? answer.pieces;
  const speed = made > 1 && first !== null ? perSecond(made - 1, now - first) : null;
  const used = usage ? `${usage.prompt_tokens} + ${made} tokens` : made ? `${made} tokens` : null;
  const cached = usage?.cached_tokens ? `${usage.cached_tokens} cached` : null;
  return [speed, first === null ? null : `first after ${seconds(first)}`, used && context && usage
    ? `${used} of ${context.toLocaleString("en")}` : used, cached].filter(Boolean);
}

const FINISH = { length: "Cut: the most tokens were reached", deadline: "Cut: it took longer than the server allows",
  shutdown: "Cut: the server stopped", cancelled: "Stopped" };

/** How an answer ended, where that is not by itself. */
export function endOf(answer) {
  if (answer.state === "stopped") return "Stopped. The record holds what was sent.";
  if (answer.state === "cut") return "Cut: the connection ended before the answer did. The record holds what was sent.";
  if (answer.state === "failed") return answer.error.message;
  const dropped = answer.end?.dropped ? `${answer.end.dropped} earlier messages did not fit and were left out` : "";
  return [FINISH[answer.end?.finish], dropped].filter(Boolean).join(". ");
}
