"""`calibrate`: measure the limits that `replay --tolerant` and `vault audit` judge by."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minivault.cli.options import FileToWrite, current_settings, examples, json_option
from minivault.cli.show.output import print_json, print_table
from minivault.cli.show.terminal import note, write

if TYPE_CHECKING:
    from minivault.replay.calibration import Judged
    from minivault.replay.limits import Kind, Limits

NO_LINE = 1
_HEAD = ("JUDGED BY", "HONEST", "ANSWERS", "KIND", "TOKENS", "MATCH", "MEAN", "WORST", "WITHIN")


@click.command(epilog=examples("calibrate --out limits.json", "vault audit --limits limits.json"))
@click.option("--max-tokens", type=click.IntRange(8, 1024), default=96, show_default=True, help="Of each answer.")
@click.option("--out", type=FileToWrite(), help="Write the limits for --limits.")
@json_option
@click.pass_context
def calibrate(ctx: click.Context, *, max_tokens: int, out: Path | None, as_json: bool) -> None:
    """Measure what tells honest answers from others, on the model of the settings.

    The model gives 72 answers here, without recording them. Each is judged by the same model under other arithmetic
    (transformers in float32 and bfloat16), which is honest, and with another seed and with weights at 4 bits, which are
    not. The limits lie between the two, for the fewest tokens that tell them apart. They come from the first half of
    the answers; the other half, held out, shows how many stretches of so many tokens they judge rightly. Takes some
    minutes.

    Exit codes of this command: 0 there is a line between the two; 1 there is none, and no limits are written.
    """
    from minivault.replay.calibration import calibrate as measure
    from minivault.replay.calibration import line
    from minivault.replay.limits import as_json as in_json

    settings = current_settings()
    if settings.backend != "local":
        raise click.UsageError("A model of this machine is calibrated: set MINIVAULT_BACKEND=local.")
    runs = measure(settings, lambda what: note(f"{what} …"), max_tokens)
    limits = line(runs)
    measured = {"model": settings.model, "runs": [_fields(run, limits) for run in runs]}
    if as_json:
        print_json({"limits": None if limits is None else asdict(limits), "measured": measured})
    else:
        print_table(_HEAD, [row for run in runs for row in _rows(run, limits)], if_none="")
        if limits is not None:
            told = f"mean {limits.sampled:g} sampled, {limits.greedy:g} greedy, of at least {limits.num_tokens} tokens"
            write(f"limits: {told}; a single token {limits.worst:g}\n")
        else:
            write("no limits: what is honest and what is not come too close on this model\n")
    if limits is not None and out is not None:
        out.write_text(json.dumps(in_json(limits, measured), indent=2) + "\n", "utf-8")
    ctx.exit(NO_LINE if limits is None else 0)


def _fields(run: Judged, limits: Limits | None) -> dict[str, Any]:
    kinds: dict[str, Any] = {}
    for kind in _kinds(run):
        within = {} if limits is None else dict(zip(("within", "stretches"), run.num_within(kind, limits), strict=True))
        kinds[kind] = run.summary(kind) | within
    return {"judged_by": run.name, "honest": run.is_honest, "held_out": run.is_held_out, **kinds}


def _rows(run: Judged, limits: Limits | None) -> list[tuple[str, ...]]:
    rows = list[tuple[str, ...]]()
    for kind in _kinds(run):
        told = run.summary(kind)
        numbers = f"{told['match_rate']:.1%}", f"{told['mean']:.4f}", f"{told['worst']:.2f}"
        within = "" if limits is None else "{} of {}".format(*run.num_within(kind, limits))
        which = "yes" if run.is_honest else "no", "held out" if run.is_held_out else "line"
        rows.append((run.name, *which, kind, str(told["tokens"]), *numbers, within))
    return rows


def _kinds(run: Judged) -> list[Kind]:
    return [kind for kind in run.found if run.found[kind]]
