"""What guessing the next tokens gains an answer that quotes, and costs one that does not: alone, with and without.

    python -m benchmarks.guesses [--threads 2] [--tokens 150] [--kind Avx2]

In company nobody guesses, so there it costs nothing. Rounds of both take turns; look at the ratios.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks.engine import cpu, seconds, weights
from minivault.config import load_settings
from minivault.engine import Engine
from minivault.engine.exact import kinds
from minivault.engine.exact.runner import ExactRunner
from minivault.models import ModelStore
from minivault.models.tokenizer import load_tokenizer
from minivault.types import Job, SamplingParams, Tokenizer

TEXT = Path(__file__).with_name("quality.txt").read_text()[:1500]
PROMPTS = {
    "quotes": f"{TEXT}\n\nThe same text once more:\n\n{TEXT[:60]}",
    "tells": "Once upon a time there was a girl who",
}
TEMPERATURES = {"quotes": 0.0, "tells": 1.0}
ROUNDS = 3


def answer(runner: ExactRunner, tokenizer: Tokenizer, name: str, num_tokens: int) -> tuple[float, dict[str, int]]:
    """Tokens/s of an answer behind its first token, and what the engine counted."""
    engine = Engine(runner, tokenizer, max_running=1)
    prompt = tuple(tokenizer.encode(PROMPTS[name], add_special=True))
    params = SamplingParams(max_tokens=num_tokens, temperature=TEMPERATURES[name], seed=7, ignore_eos=True)
    engine.submit(Job(name, prompt, params))
    while not engine.stats["completion_tokens"]:
        engine.step()

    def rest() -> None:
        while engine.has_work:
            engine.step()

    return (num_tokens - 1) / seconds(rest), engine.stats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=150)
    parser.add_argument("--kind", help="kind of kernels (default: the CPU's best)")
    given = parser.parse_args()
    settings = load_settings()
    tokenizer = load_tokenizer(ModelStore(settings.models_dir).resolve(settings.model))
    with tempfile.TemporaryDirectory() as folder:
        runner = ExactRunner(
            weights(None, None, 8, Path(folder)),
            num_slots=1,
            context=1024,
            num_threads=given.threads,
            cache_dir=Path(folder),
            kind=getattr(kinds, given.kind) if given.kind else None,
        )
        most = runner.num_drafts
        print(f"{cpu()}, {given.threads} threads")
        for name in PROMPTS:
            rates: dict[int, list[float]] = {0: [], most: []}
            for _ in range(ROUNDS):
                for num, found in rates.items():
                    runner.num_drafts = num
                    rate, stats = answer(runner, tokenizer, name, given.tokens)
                    found.append(rate)
            without, guessing = (statistics.median(rates[num]) for num in (0, most))
            print(
                f"{name}: {guessing:.0f} tokens/s, without guesses {without:.0f}: {guessing / without:.2f}; "
                f"{stats['guessed_right']} of {stats['guessed']} guesses right"
            )
        runner.close()


if __name__ == "__main__":
    main()
