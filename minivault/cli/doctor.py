"""`doctor`: looks at everything a server needs on this machine, and says what to do about what is missing."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from minivault.cli.options import examples, json_option
from minivault.cli.show.output import print_json
from minivault.cli.show.terminal import note, write

_STYLES = {"ok": "green", "note": "yellow", "fault": "red"}


@click.command(epilog=examples("doctor", "doctor --json"))
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Look at this machine and say what a server lacks.

    Settings, packages, model, engine, vault, address, keys, clock, memory, disk and limits. Nothing is changed, loaded
    or sent.

    Exit codes of this command: 0 a server can run here (a `note` may still be worth reading); 1 something is in its
    way.
    """
    from minivault.cli.checkup import CHECKS, run

    findings = []
    for check in CHECKS:
        for finding in run(check):
            findings.append(finding)
            if not as_json:
                write(f"{finding.verdict:<6}", style=_STYLES[finding.verdict])
                write(f"{finding.about:<9}{finding.found}\n")
                if finding.advice:
                    write(f"{'':<15}{finding.advice}\n")
    num_faults = sum(finding.verdict == "fault" for finding in findings)
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings], "faults": num_faults})
    elif num_faults:
        note(f"{num_faults} things are in the way of a server here.", "red" if sys.stderr.isatty() else "")
    else:
        note("A server can run here.", "green" if sys.stderr.isatty() else "")
    ctx.exit(1 if num_faults else 0)
