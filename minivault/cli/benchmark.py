"""`benchmark`: the server under concurrent requests, with a live display on stderr."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from minivault.cli.client.answerer import SILENCE_S, Target, open_client
from minivault.cli.options import current_settings, examples, json_option, read_dash, sampling_options, server_options
from minivault.cli.show.output import print_json
from minivault.cli.show.terminal import note, write
from minivault.errors import GenerationFailed, Overloaded

if TYPE_CHECKING:
    from minivault.cli.client.load import Load, Tally

DEFAULT_MAX_TOKENS = 64
WARMUP_PROMPTS = ("Hello.",)
PROMPTS = (
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "Name three colours and say where each is seen.",
    "Explain in simple words why the sky is blue.",
    "Give me a short recipe for pancakes.",
    "What does a gardener do in spring?",
    "Tell a very short story about a fox.",
    "List five things to pack for a hike.",
)


@click.command(epilog=examples("benchmark", "benchmark -c 16 -n 64"))
@click.option(
    "-c", "--concurrency", type=click.IntRange(1, 4096), default=8, show_default=True, help="Clients at once."
)
@click.option("-n", "--requests", type=click.IntRange(min=1), help="Requests in all; as many as clients when absent.")
@click.option("-p", "--prompt", "prompts", multiple=True, help="Prompt to send; several are taken in turn.")
@click.option("--retry", is_flag=True, help="Try requests refused with 503 again, after the server's Retry-After.")
@click.option("--warmup", type=click.IntRange(min=0), default=1, show_default=True, help="Unmeasured requests before.")
@sampling_options
@server_options
@json_option
def benchmark(
    *,
    concurrency: int,
    requests: int | None,
    prompts: tuple[str, ...],
    retry: bool,
    warmup: int,
    sampling: dict[str, Any],
    target: Target,
    as_json: bool,
) -> None:
    """Measure the server under concurrent requests.

    Each client sends its next request when the one before has ended. Request N uses seed N (unless --seed is given), at
    most 64 tokens (unless --max-tokens is given) and one of eight short prompts in turn (unless -p is given), so two
    runs ask for the same answers. Refusals for overload are counted apart from errors. Exits with 0 when no request
    failed otherwise.
    """
    settings = current_settings()
    num_requests = requests or concurrency
    with open_client(settings, target) as client:
        model = client.health().get("model")
        ask = bodies([read_dash(prompt) for prompt in prompts] or PROMPTS, num_requests, sampling)
        for body in bodies(WARMUP_PROMPTS, warmup, sampling):
            deque(client.stream(body), maxlen=0)

    from minivault.cli.client.load import Load

    load = Load(
        client.address,
        ask,
        concurrency=concurrency,
        is_retrying=retry,
        api_key=settings.api_key,
        read_timeout_s=settings.deadline_s + SILENCE_S,
    )
    tally = _run(load)
    about = {"server": str(client.address), "model": model, "concurrency": concurrency, "max_tokens": _limit(sampling)}
    _print(about, tally, as_json=as_json)


def bodies(prompts: Sequence[str], num_requests: int, sampling: dict[str, Any]) -> list[dict[str, Any]]:
    """The requests of a run, the same each time."""
    fixed = {"max_tokens": _limit(sampling), **sampling}
    return [{"prompt": prompts[i % len(prompts)], "seed": i, **fixed} for i in range(num_requests)]


def _limit(sampling: dict[str, Any]) -> int:
    return int(sampling.get("max_tokens", DEFAULT_MAX_TOKENS))


def _run(load: Load) -> Tally:
    if not sys.stderr.isatty():
        return load.run()
    from minivault.cli.show.report import watching

    with watching(load.tally):
        return load.run()


def _print(about: dict[str, Any], tally: Tally, *, as_json: bool) -> None:
    from minivault.cli.show.report import render, summarise

    found = {**about, **summarise(tally)}
    if as_json:
        print_json(found)
    else:
        write(f"{found['model']} at {found['server']}: {found['concurrency']} clients, ")
        write(f"at most {found['max_tokens']} tokens an answer\n\n")
        for line in render(found):
            write(f"{line}\n")
    _judge(found)


def _judge(found: dict[str, Any]) -> None:
    if found["errors"]:
        kind, first = next(iter(found["errors"].items()))
        num_failed = sum(error["count"] for error in found["errors"].values())
        raise GenerationFailed(f"{num_failed} of {found['requests']} requests failed; {kind}: {first['message']}")
    if not found["answered"]:
        raise Overloaded("every request was refused: the server is overloaded")
    if found["overloaded"]:
        note(f"{found['overloaded']} requests were refused for overload; --retry tries them again.")
