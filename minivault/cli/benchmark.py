"""`benchmark`: servers under concurrent requests, with a live display on stderr and a chart where one is wanted."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minivault.cli.client.answerer import SILENCE_S, Target, open_client
from minivault.cli.exits import INTERRUPTED
from minivault.cli.options import (
    FileToWrite,
    current_settings,
    examples,
    json_option,
    read_dash,
    sampling_options,
    server_options,
)
from minivault.cli.show.output import print_json
from minivault.cli.show.terminal import note, write
from minivault.errors import GenerationFailed, Overloaded

if TYPE_CHECKING:
    from minivault.cli.client.load import Load, Server

DEFAULT_MAX_TOKENS = 64
MAX_CLIENTS = 4096
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


class Counts(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Numbers of clients by comma: `1,4,16`."""

    name = "clients"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers, as they were given."""
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
            self.fail(f"{value!r} is no number of clients; write 8 or 1,4,16", param, ctx)
        counts = tuple(map(int, parts))
        if not all(1 <= count <= MAX_CLIENTS for count in counts):
            self.fail(f"{value!r}: each must be 1 to {MAX_CLIENTS}", param, ctx)
        return counts


class Chart(FileToWrite):
    """A file that a chart can be written to, told by its ending."""

    def __init__(self, *endings: str) -> None:
        super().__init__()
        self._endings = endings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        if Path(value).suffix not in self._endings:
            self.fail(f"{value!r} must end in {' or '.join(self._endings)}", param, ctx)
        return super().convert(value, param, ctx)


@click.command(
    epilog=examples(
        "benchmark",
        "benchmark -c 1,4,16 --plot speed.svg",
        "benchmark -c 8 --against http://127.0.0.1:11434 --dialect ollama",
    )
)
@click.option(
    "-c", "--concurrency", type=Counts(), default="8", show_default=True, help="Clients at once; 1,4,16 is three runs."
)
@click.option(
    "-n", "--requests", type=click.IntRange(min=1), help="Requests of each run.  [default: as many as clients]"
)
@click.option("-p", "--prompt", "prompts", multiple=True, help="Prompt to send; several are taken in turn.")
@click.option(
    "--retry/--no-retry",
    default=True,
    show_default=True,
    help="Try requests refused with 503 again, after the server's Retry-After.",
)
@click.option("--warmup", type=click.IntRange(min=0), default=1, show_default=True, help="Unmeasured requests before.")
@click.option("--against", metavar="URL", help="Measure another server beside this one, with the same requests.")
@click.option(
    "--dialect",
    type=click.Choice(["openai", "ollama", "llama"]),
    default="openai",
    show_default=True,
    help="What the other server speaks (llama: llama-server).",
)
@click.option("--against-model", help="The other server's model.  [default: the first that it lists]")
@click.option("--against-key", default="", help="The other server's key; it never gets MINIVAULT_API_KEY.")
@click.option("--plot", type=Chart(".svg", ".png", ".html"), help="Write a chart: FILE.svg, .png or .html.")
@sampling_options
@server_options
@json_option
@click.pass_context
def benchmark(
    ctx: click.Context,
    *,
    concurrency: tuple[int, ...],
    requests: int | None,
    prompts: tuple[str, ...],
    retry: bool,
    warmup: int,
    against: str | None,
    dialect: str,
    against_model: str | None,
    against_key: str,
    plot: Path | None,
    sampling: dict[str, Any],
    target: Target,
    as_json: bool,
) -> None:
    """Measure the server under concurrent requests.

    Each client sends its next request when the one before has ended. Request N uses seed N (unless --seed is given), at
    most 64 tokens (unless --max-tokens is given) and one of eight short prompts in turn (unless -p is given), so two
    runs ask for the same answers. Refusals for overload are counted apart from errors. Ctrl-C ends it and keeps what
    was measured. Exits with 0 when no request failed otherwise.
    """
    if plot is not None:
        from minivault.cli.show.plot import ensure_can_plot

        ensure_can_plot()
    servers = _servers(target, against, dialect, against_model, against_key)
    texts = [read_dash(prompt) for prompt in prompts] or PROMPTS
    found: list[dict[str, Any]] = []
    is_interrupted = False
    for num_clients in concurrency:
        for server in servers:
            asked = (bodies(texts, requests or num_clients, sampling), bodies(WARMUP_PROMPTS, warmup, sampling))
            is_interrupted = _measure(server, num_clients, *asked, is_retrying=retry, found=found)
            if is_interrupted:
                break
            warmup = warmup if num_clients == concurrency[0] else 0
        if is_interrupted:
            break
    _print(found, _limit(sampling), as_json=as_json)
    if plot is not None and found:
        from minivault.cli.show.plot import write_chart

        write_chart(found, plot)
        note(f"The chart is {plot}.")
    if is_interrupted:
        note("Stopped: these are the requests that had ended.")
        ctx.exit(INTERRUPTED)
    _judge(found)


def bodies(prompts: Sequence[str], num_requests: int, sampling: dict[str, Any]) -> list[dict[str, Any]]:
    """The requests of a run, the same each time."""
    fixed = {"max_tokens": _limit(sampling), **sampling}
    return [{"prompt": prompts[i % len(prompts)], "seed": i, **fixed} for i in range(num_requests)]


def _limit(sampling: dict[str, Any]) -> int:
    return int(sampling.get("max_tokens", DEFAULT_MAX_TOKENS))


def _servers(target: Target, against: str | None, dialect: str, model: str | None, key: str) -> list[Server]:
    from minivault.cli.client.address import parse_address
    from minivault.cli.client.client import request_headers
    from minivault.cli.client.foreign import DIALECTS, NATIVE, first_model
    from minivault.cli.client.load import Server

    settings = current_settings()
    with open_client(settings, target) as client:
        own = Server("minivault", client.address, NATIVE, str(client.health().get("model")), settings.api_key)
    if against is None:
        return [own]
    address, speech = parse_address(against), DIALECTS[dialect]
    name = model or first_model(speech, address, request_headers(key))
    return [own, Server(dialect, address, speech, name, key)]


def _measure(
    server: Server,
    num_clients: int,
    asked: list[dict[str, Any]],
    warmup: list[dict[str, Any]],
    *,
    is_retrying: bool,
    found: list[dict[str, Any]],
) -> bool:
    """One run, added to `found` as far as it came; True where it was interrupted."""
    from minivault.cli.client.load import Load
    from minivault.cli.show.report import summarise

    patience_s = current_settings().deadline_s + SILENCE_S
    load = Load(server, asked, concurrency=num_clients, is_retrying=is_retrying, read_timeout_s=patience_s)
    try:
        error = Load(server, warmup, concurrency=1, read_timeout_s=patience_s).run().first_error
        if error is not None:
            raise error
        is_interrupted = _run(load)
    except KeyboardInterrupt:
        return True
    if load.tally.samples:
        about = {"name": server.name, "server": str(server.address), "model": server.model}
        found.append({**about, "concurrency": num_clients, **summarise(load.tally)})
    return is_interrupted


def _run(load: Load) -> bool:
    from contextlib import nullcontext

    from minivault.cli.show.report import watching

    try:
        with watching(load.tally) if sys.stderr.isatty() else nullcontext():
            load.run()
    except KeyboardInterrupt:
        return True
    return False


def _print(found: list[dict[str, Any]], max_tokens: int, *, as_json: bool) -> None:
    from minivault.cli.show.report import compare, render

    if as_json:
        print_json({"max_tokens": max_tokens, "runs": found})
        return
    for run in found:
        clients = "1 client" if run["concurrency"] == 1 else f"{run['concurrency']} clients"
        write(f"{run['model']} at {run['server']}: {clients}, at most {max_tokens} tokens an answer\n\n", style="bold")
        write("".join(f"{line}\n" for line in render(run)) + "\n")
    if len(found) > 1:
        write("".join(f"{line}\n" for line in compare(found)))


def _judge(found: list[dict[str, Any]]) -> None:
    for run in found:
        if run["errors"]:
            kind, first = next(iter(run["errors"].items()))
            num_failed = sum(error["count"] for error in run["errors"].values())
            raise GenerationFailed(f"{num_failed} of {run['requests']} requests failed; {kind}: {first['message']}")
        if not run["answered"]:
            raise Overloaded("every request was refused: the server is overloaded")
        if run["overloaded"]:
            note(f"{run['overloaded']} requests were refused for overload; without --no-retry they are tried again.")
