"""The command: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine, report, timing
from benchmarks.peers import PEERS
from benchmarks.problem import Row
from benchmarks.rows import ROWS
from benchmarks.worker import COSTS, VALUE

RESULTS = Path(__file__).with_name("RESULTS.md")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the rows asked for, print the report, and write it if it is complete."""
    made = parser()
    options = made.parse_args(arguments)
    unknown = [peer for peer in options.peers or () if not any(_is(name, peer) for name in PEERS)]
    if unknown:
        made.error(f"no peer is called {unknown[0]!r}; there are: {', '.join(PEERS)}")
    facts = machine.described()
    measured = []
    for name in options.rows or ROWS:
        row = ROWS[name]
        results = timing.measure(row, contestants(row, options.peers), effort(options.quick))
        measured.append(report.Measured(row, results))
        print(report.section(measured[-1]), flush=True)
    print(report.summary(measured))
    print(*(f"{key}: {value}" for key, value in facts.items()), sep="\n")
    partial = options.rows or options.peers or options.quick
    if not (partial or options.no_write):
        RESULTS.write_text(report.document(facts, measured))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument("--rows", nargs="+", choices=ROWS, metavar="NAME", help=", ".join(ROWS))
    made.add_argument("--peers", nargs="+", metavar="NAME", help=", ".join(PEERS))
    made.add_argument("--quick", action="store_true", help="fewer and shorter blocks")
    made.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    return made


def effort(quick: bool) -> timing.Effort:
    return timing.QUICK if quick else timing.Effort()


def contestants(row: Row, wanted: Sequence[str] | None) -> list[str]:
    """Return who takes part: symgrad always, floors always, peers as asked for."""
    own = ["symgrad"]
    if row.kind == "steady" and "symgrad" not in row.builders:
        own += COSTS if row.trains else [VALUE]
    everyone = [*PEERS, *(name for name in row.builders if name not in PEERS)]
    peers = [
        name
        for name in everyone
        if name != "symgrad" and name not in row.without and _asked(name, row, wanted)
    ]
    return own + peers


def _asked(name: str, row: Row, wanted: Sequence[str] | None) -> bool:
    if wanted is None or name in row.floors:
        return True
    return any(_is(name, peer) for peer in wanted)


def _is(name: str, peer: str) -> bool:
    return name == peer or name.startswith(f"{peer}-")


if __name__ == "__main__":
    main()
