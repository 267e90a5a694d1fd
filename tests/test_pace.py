"""Tests hold on any machine: none asserts seconds, or a figure of one kind of CPU, and none sleeps until it "must be".

What is promised in seconds is measured by `benchmarks/` (docs/operations.md says which). A test waits for an event with
`tests.live.until`, whose patience is only a guard against hanging; a limit that stands for "never" or "any machine" is
`NEVER_S` or `GUARD_S`. The lines below are the exceptions, each with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent
CLOCKS = {"monotonic", "perf_counter", "time", "monotonic_ns", "perf_counter_ns", "time_ns", "process_time"}
WAITS = {"timeout", "timeout_s", "read", "read_timeout_s"}
PATIENT_S = 30

ALLOWED: dict[str, str] = {}


def places() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(TESTS.rglob("*.py")):
        yield path, ast.parse(path.read_text("utf-8"))


def is_clock(node: ast.AST) -> bool:
    """A call that reads a clock: `time.monotonic()`."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "time"
        and node.func.attr in CLOCKS
    )


def timed_names(tree: ast.AST) -> set[str]:
    """What holds a time, at first hand or later: variables, and functions that return one."""
    names: set[str] = set()
    while True:
        found = set(names)
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and is_timed(node.value, names):
                found |= {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
            elif isinstance(node, ast.Return) and node.value is not None and is_timed(node.value, names):
                found |= {f.name for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and node in ast.walk(f)}
            elif isinstance(node, ast.Call) and is_filled(node, names):
                found.add(node.func.value.id)  # type: ignore[attr-defined]
        if found == names:
            return names
        names = found


def is_timed(node: ast.AST, names: set[str]) -> bool:
    return any(is_clock(part) or (isinstance(part, ast.Name) and part.id in names) for part in ast.walk(node))


def is_filled(node: ast.Call, names: set[str]) -> bool:
    """`took.append(a time)`."""
    return (
        isinstance(node.func, ast.Attribute)
        and node.func.attr in ("append", "add", "extend")
        and isinstance(node.func.value, ast.Name)
        and any(is_timed(argument, names) for argument in node.args)
    )


def is_number(node: ast.AST, *, below: float) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value < below


def is_fraction(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, float) and node.value % 1 != 0


def compares_with_a_fraction(node: ast.AST) -> bool:
    return any(
        isinstance(part, ast.Compare)
        and any(isinstance(operator, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for operator in part.ops)
        and any(map(is_fraction, part.comparators))
        for part in ast.walk(node)
    )


def faults(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and rule of each offence."""
    names = timed_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) and is_timed(node.test, names):
            yield node.lineno, "asserts a time"
        elif isinstance(node, ast.Assert) and compares_with_a_fraction(node.test):
            yield node.lineno, "asserts a threshold"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep":
            yield node.lineno, "sleeps"
        elif isinstance(node, ast.Call) and is_impatient(node):
            yield node.lineno, "gives up early"


def is_impatient(node: ast.Call) -> bool:
    """A wait with a limit that a busy machine may need."""
    waits = [keyword.value for keyword in node.keywords if keyword.arg in WAITS]
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("wait", "join", "wait_for", "result", "communicate"):
        waits += node.args[:1]
    return any(is_number(value, below=PATIENT_S) for value in waits)


def test_no_test_asserts_a_time_or_a_threshold_of_one_kind_of_cpu() -> None:
    found = {}
    for path, tree in places():
        lines = path.read_text("utf-8").splitlines()
        for number, rule in faults(tree):
            found[f"{path.relative_to(TESTS)}: {lines[number - 1].strip()}"] = rule
    new = {place: rule for place, rule in found.items() if place not in ALLOWED}
    assert new == {}
    assert set(ALLOWED) <= set(found), "an exception that nothing needs"


def test_the_rule_sees_what_it_forbids() -> None:
    source = """
begun = time.monotonic()
took = time.monotonic() - begun
assert took < 3
times = []
times.append(took)
assert sorted(times)[2] < limit
def since(begun): return time.time() - begun
assert since(0) < 5
assert similarity > 0.97
time.sleep(1)
process.wait(10)
get(url, timeout=5)
"""
    rules = [rule for _, rule in faults(ast.parse(source))]
    assert rules == ["asserts a time"] * 3 + ["asserts a threshold", "sleeps"] + ["gives up early"] * 2
