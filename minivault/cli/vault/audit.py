"""`audit`: a random sample of the vault's answers, judged in one pass each."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minivault.cli.judging import exit_code, fields, limits_in, limits_option, opinions, outcomes, print_opinion
from minivault.cli.options import current_settings, examples, filter_options, json_option
from minivault.cli.show.output import print_json
from minivault.cli.show.terminal import note, write
from minivault.cli.vault.group import none_matches, opened
from minivault.cli.verdict import VerdictCommand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minivault.replay.tolerant import Opinion
    from minivault.vault.reader import Filter

LEVEL = 0.95
"""How sure the bound in the summary is."""


@click.command(
    cls=VerdictCommand, epilog=examples("vault audit --since 1d", "vault audit --sample 1000 --seed 7 --json")
)
@click.option("--sample", type=click.IntRange(min=1), default=200, show_default=True, help="At most so many answers.")
@click.option(
    "--seed", type=click.IntRange(min=0), help="Chooses the sample: the same seed, the same answers.  [default: drawn]"
)
@filter_options
@limits_option
@click.option("-v", "--verbose", is_flag=True, help="A line for every answer, not only for those that do not agree.")
@json_option
@click.pass_context
def audit(
    ctx: click.Context,
    *,
    sample: int,
    seed: int | None,
    wanted: Filter,
    limits_file: Path | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Judge a random sample of answers: could the recorded model, seed and parameters have given these tokens?

    Each answer takes one pass over its tokens, as `replay --tolerant` does, with the model that its record names if
    that is on this machine. The sample is that of the ids with the lowest SHA-256 of SEED:ID, so that others can draw
    it again; the seed is printed, and recorded with the reading.

    Exit codes of this command: 0 all that was judged agrees; 1 something does not; 3 nothing could be judged; 64 wrong
    usage, and nothing was judged.
    """
    limits = limits_in(limits_file)
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    with opened() as archive:
        records, num_matching = archive.sample(wanted, sample, seed)
    if not records:
        note(none_matches(wanted))
    found = opinions(current_settings(), records, limits) if records else []
    if as_json:
        counts = {"sample": len(found), "of": num_matching, "seed": seed, "counts": outcomes(found)}
        print_json({**counts, "bound": bound(found), "opinions": [fields(opinion) for opinion in found]})
    else:
        for opinion in found:
            if verbose or opinion.outcome == "inconsistent":
                print_opinion(opinion)
        _summarise(found, num_matching, seed)
    ctx.exit(exit_code(found))


def _summarise(found: Sequence[Opinion], num_matching: int, seed: int) -> None:
    write(f"{len(found)} of {num_matching} answers, drawn with --seed {seed}\n")
    for outcome, count in outcomes(found).items():
        if count:
            write(f"{count:>7} {outcome}\n")
    for reason, count in _reasons(found).items():
        write(f"        {count} {reason}\n")
    num_tokens, num_same = sum(o.num_tokens for o in found), sum(o.num_matching for o in found)
    if num_tokens:
        write(f"{num_same} of {num_tokens} tokens are those that are drawn here ({num_same / num_tokens:.2%})\n")
    if (most := bound(found)) is not None:
        write(f"at most {most:.1%} of the answers of this kind are inconsistent ({LEVEL:.0%} confidence)\n")


def _reasons(found: Sequence[Opinion]) -> dict[str, int]:
    """Why answers were not judged, without what is particular to one."""
    counts = dict[str, int]()
    for opinion in found:
        if opinion.outcome == "not comparable":
            counts[opinion.reason] = counts.get(opinion.reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def bound(found: Sequence[Opinion]) -> float | None:
    """The highest part of all answers that may be inconsistent, given what the sample shows (Clopper and Pearson,
    1934); None where nothing was judged."""
    counts = outcomes(found)
    num_bad = counts["inconsistent"]
    num = num_bad + counts["identical"] + counts["consistent"]
    if not num or num_bad == num:
        return None if not num else 1.0
    low, high = num_bad / num, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if _at_most(num_bad, num, middle) < 1 - LEVEL else (middle, high)
    return round(high, 6)


def _at_most(num_bad: int, num: int, part: float) -> float:
    """How likely a sample of `num` has no more than `num_bad` where `part` of all are."""
    term = total = (1 - part) ** num
    for k in range(num_bad):
        term *= (num - k) / (k + 1) * part / (1 - part)
        total += term
    return total
