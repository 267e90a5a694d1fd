"""How well marked answers are found, by length, and what the mark costs.

Detection at given false positives, of texts that the tokenizer reads anew; perplexity of answers by the model's own
log-probabilities; how much answers of other seeds differ; tokens a second.

    python -m benchmarks.watermark [--answers 64] [--tokens 400] [--temperature 0.7]

The parameters are the server's (top-k 40, top-p 0.95); answers are drawn 16 at a time, each marked by a key of its own,
and once without. Other texts: the unmarked answers, and `quality.txt`, which people wrote.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import and_, eq
from pathlib import Path

import numpy as np

from benchmarks.engine import cpu
from minivault.config import load_settings
from minivault.engine import Engine
from minivault.engine.detection import detect
from minivault.engine.runner import Runner
from minivault.service.backends import load_local
from minivault.types import Delta, Job, Message, SamplingParams, Tokenizer
from minivault.watermark import Mark

TOPICS = (
    "the sea", "bread", "a lost key", "winter", "the first railway", "bees", "a city at night", "chess",
    "glass", "the moon", "an old teacher", "volcanoes", "tea", "a lighthouse", "maps", "music",
)  # fmt: skip
WAYS = ("Write an essay about {}.", "Tell a story about {}.", "Explain {} to a child.", "Write a letter about {}.")
LENGTHS = (25, 50, 100, 200, 400)
LEVELS = (0.01, 1e-6)
OTHERS = Path(__file__).with_name("quality.txt").read_text()
AT_ONCE = 16


@dataclass(slots=True)
class Answer:
    tokens: list[int]
    text: str
    logprobs: list[float]


def key(number: int) -> Mark:
    return Mark(number.to_bytes(32, "big"))


def answers(
    runner: Runner, tokenizer: Tokenizer, jobs: Sequence[tuple[str, int]], params: SamplingParams, mark: Mark | None
) -> list[Answer]:
    """Of (prompt, seed), in order, all in one batch."""
    engine = Engine(runner, tokenizer, max_running=AT_ONCE, mark=mark)
    found = {str(number): Answer([], "", []) for number in range(len(jobs))}
    for number, (prompt, seed) in enumerate(jobs):
        read = tokenizer.read_chat([Message("user", prompt)])
        drawn = replace(params, seed=seed, watermark=mark.name if mark else None)
        engine.submit(Job(str(number), read.tokens, drawn))
    while engine.has_work:
        for job_id, event in engine.step():
            if isinstance(event, Delta):
                found[job_id].tokens += event.token_ids
                found[job_id].text += event.text
                found[job_id].logprobs += (entry.logprob for entry in event.logprobs)
    return list(found.values())


def batches(num: int) -> Iterator[list[tuple[str, int]]]:
    """Prompts and seeds, as many as run at once."""
    jobs = [(WAYS[n // len(TOPICS) % len(WAYS)].format(TOPICS[n % len(TOPICS)]), n) for n in range(num)]
    for start in range(0, num, AT_ONCE):
        yield jobs[start : start + AT_ONCE]


def found_share(texts: Sequence[tuple[Mark, list[int]]], length: int) -> str:
    """Of texts of at least so many tokens, their first ones: how many there are, and the part that is found."""
    values = [detect(mark, tokens[:length]).p_value for mark, tokens in texts if len(tokens) >= length]
    if not values:
        return "0 | " + " | ".join("" for _ in LEVELS)
    return f"{len(values)} | " + " | ".join(f"{np.mean(np.array(values) <= level):.1%}" for level in LEVELS)


def unmarked(
    tokenizer: Tokenizer, plain: Sequence[Answer], length: int, num_keys: int = 20
) -> Iterator[tuple[Mark, list[int]]]:
    """Texts that no key has to do with, each beside several keys."""
    human = tokenizer.encode(OTHERS, add_special=False)
    windows = [human[at : at + length] for at in range(0, len(human) - length + 1, length)]
    windows += [read for answer in plain if len(read := tokenizer.encode(answer.text, add_special=False)) >= length]
    for number, window in enumerate(windows):
        for other in range(num_keys):
            yield key(10**6 + 1000 * number + other), window


def perplexity(found: Sequence[Answer]) -> str:
    """Over all tokens, and by how much it may be off (one standard error, by answers)."""
    means = np.array([-np.mean(answer.logprobs) for answer in found if answer.logprobs])
    sizes = np.array([len(answer.logprobs) for answer in found if answer.logprobs], float)
    mean = float((means * sizes).sum() / sizes.sum())
    error = float(np.sqrt(((means - mean) ** 2 * sizes**2).sum()) / sizes.sum())
    return f"{math.exp(mean):.3f} ± {math.exp(mean) * error:.3f} ({int(sizes.sum())} tokens, {len(means)} answers)"


def distinct(runner: Runner, tokenizer: Tokenizer, params: SamplingParams, mark: Mark | None) -> str:
    """Sixteen seeds of one prompt: how many answers differ, and how many tokens two of them begin with alike."""
    found = answers(runner, tokenizer, [("What is a volcano?", seed) for seed in range(AT_ONCE)], params, mark)
    pairs = [(one.tokens, other.tokens) for n, one in enumerate(found) for other in found[:n]]
    alike = np.mean([sum(itertools.accumulate(map(eq, one, other), and_)) for one, other in pairs])
    shared = np.mean(
        [len(runs(one) & runs(other)) / max(1, min(len(runs(one)), len(runs(other)))) for one, other in pairs]
    )
    num = len({tuple(one.tokens) for one in found})
    return f"{num} of {AT_ONCE} differ; two begin alike for {alike:.1f} tokens and share {shared:.1%} of runs of five"


def runs(tokens: Sequence[int]) -> set[tuple[int, ...]]:
    """Every five tokens that stand together."""
    return {tuple(tokens[at : at + 5]) for at in range(len(tokens) - 4)}


def report(runner: Runner, tokenizer: Tokenizer, num: int, params: SamplingParams) -> None:
    marked, plain, seconds = list[tuple[Mark, Answer]](), list[Answer](), {True: 0.0, False: 0.0}
    for number, jobs in enumerate(batches(num)):
        for mark in (key(number), None):
            began = time.perf_counter()
            found = answers(runner, tokenizer, jobs, params, mark)
            seconds[mark is not None] += time.perf_counter() - began
            if mark is None:
                plain += found
            else:
                marked += ((mark, answer) for answer in found)
    read = [(mark, tokenizer.encode(answer.text.strip(), add_special=False)) for mark, answer in marked]
    print("| tokens | marked answers | found at p <= 0.01 | at 1e-6 | other texts x keys | found at 0.01 | at 1e-6 |")
    print("|---|---|---|---|---|---|---|")
    for length in LENGTHS:
        others = found_share(list(unmarked(tokenizer, plain, length)), length)
        print(f"| {length} | {found_share(read, length)} | {others} |", flush=True)
    print(f"\nperplexity: marked {perplexity([answer for _, answer in marked])}, unmarked {perplexity(plain)}")
    for name, mark in (("marked", key(7)), ("unmarked", None)):
        print(f"sixteen seeds, {name}: {distinct(runner, tokenizer, params, mark)}")
    tokens = {True: sum(len(a.tokens) for _, a in marked), False: sum(len(a.tokens) for a in plain)}
    print(f"tokens/s: marked {tokens[True] / seconds[True]:.0f}, unmarked {tokens[False] / seconds[False]:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--temperature", type=float, default=0.7)
    given = parser.parse_args()
    settings = load_settings({**os.environ, "MINIVAULT_WATERMARK_KEY_FILE": ""})
    loaded = load_local(settings)
    params = SamplingParams(max_tokens=given.tokens, temperature=given.temperature, logprobs=0)
    print(f"{cpu()}, {loaded.info.name}, temperature {given.temperature}\n")
    report(loaded.runner, loaded.tokenizer, given.answers, params)
    loaded.runner.close()


if __name__ == "__main__":
    main()
