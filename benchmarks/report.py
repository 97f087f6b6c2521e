"""Results as Markdown: a summary of all rows, then a table for each."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import title
from benchmarks.problem import Row
from benchmarks.timing import Result
from benchmarks.worker import COSTS, GRADIENT, VALUE

NOTES = Path(__file__).with_name("NOTES.md")
"""What the numbers of the last complete run come from, by hand: part of the report."""
SUMMARY = ("row", "symgrad", "fastest peer", "", "/ peer", "/ floor", "target", "met", "∇ / value")


@dataclass
class Measured:
    """A row with its results, in the order they were asked for."""

    row: Row
    results: list[Result]

    def result(self, name: str) -> Result | None:
        """Return the result of a contestant, if it has times."""
        found = [r for r in self.results if r.name == name and not r.trouble]
        return found[0] if found else None

    @property
    def fastest_peer(self) -> Result | None:
        """The fastest contestant that is neither symgrad nor a bound."""
        apart = {"symgrad", *COSTS, *self.row.floors}
        peers = [r for r in self.results if r.name not in apart and not r.trouble]
        return min(peers, key=lambda r: r.median, default=None)

    @property
    def floor(self) -> Result | None:
        """The bound, if the row has one."""
        return next(filter(None, map(self.result, self.row.floors)), None)

    @property
    def gradient_cost(self) -> str:
        """The cost of value and gradient, relative to the value alone."""
        value = self.result(VALUE)
        both = self.result(GRADIENT) or self.result("symgrad")
        return _ratio(both, value)


def document(machine: dict[str, str], rows: Sequence[Measured]) -> str:
    """Return the whole report."""
    facts = "\n".join(f"- {key}: {value}" for key, value in machine.items())
    tables = "\n".join(section(measured) for measured in rows)
    notes = f"{NOTES.read_text(encoding='utf-8')}\n" if NOTES.is_file() else ""
    return f"# Benchmarks\n\n{facts}\n\n{summary(rows)}\n{notes}{tables}"


def summary(rows: Iterable[Measured]) -> str:
    """Return a line per row: symgrad, the fastest peer, floor and target, a gradient's price."""
    return f"## Summary\n\n{table(SUMMARY, map(_summary_line, rows))}"


def _summary_line(measured: Measured) -> list[str]:
    own, peer = measured.result("symgrad"), measured.fastest_peer
    return [
        f"`{measured.row.name}`",
        duration(own.median) if own else "",
        title(peer.name) if peer else "",
        duration(peer.median) if peer else "",
        _ratio(own, peer),
        _ratio(own, measured.floor),
        *_target(measured),
        measured.gradient_cost,
    ]


def _target(measured: Measured) -> tuple[str, str]:
    row, own = measured.row, measured.result("symgrad")
    if row.kind != "steady":
        return "", ""
    limits = [(row.target, measured.fastest_peer, "")]
    if row.target_to_floor is not None:
        limits.append((row.target_to_floor, measured.floor, " of floor"))
    met = [own.median <= limit * other.median for limit, other, _ in limits if own and other]
    text = ", ".join(f"{limit:.2f}{of}" for limit, _, of in limits)
    return text, ("yes" if all(met) else "no") if met else ""


def section(measured: Measured) -> str:
    """Return the table of a row, and what it comes to in words."""
    row = measured.row
    head, line = TABLES[row.kind]
    own = measured.result("symgrad")
    timed = [result for result in measured.results if not result.trouble]
    lines = table(("contestant", *head), [[title(r.name), *line(r, own)] for r in timed])
    checked = f"Answers agree with NumPy's in float64 to {row.tolerance:.0e}."
    return f"## {row.name}\n\n{row.title}. {checked}\n\n{lines}{_notes(measured)}"


def _steady(result: Result, own: Result | None) -> tuple[str, ...]:
    low, high = _quartiles(result.times)
    spread = f"{duration(low)} to {duration(high)}"
    least = duration(min(result.times))
    return duration(result.median), least, spread, _ratio(result, own), duration(result.ready)


def _sizes(result: Result, own: Result | None) -> tuple[str, ...]:
    first, second = result.passes
    more = statistics.median(a - b for a, b in zip(first[2:], second[2:], strict=True))
    times = (sum(first), *first[:2], sum(first[2:]), more)
    return *map(duration, times), _ratio(result, own)


def _startup(result: Result, own: Result | None) -> tuple[str, ...]:
    cells = []
    for caches, times in result.starts.items():
        first, second = map(statistics.median, zip(*times, strict=True))
        ours = statistics.median(first for first, _ in own.starts[caches]) if own else first
        cells += [duration(first), _quotient(first, ours), duration(second)]
    return tuple(cells)


TABLES = {
    "steady": (("median", "least", "quartiles", "/ symgrad", "first result after"), _steady),
    "sizes": (
        ("all sizes", "first", "second", "others", "each more than if known", "/ symgrad"),
        _sizes,
    ),
    "startup": (
        ("caches empty", "/ symgrad", "second", "caches filled", "/ symgrad", "second"),
        _startup,
    ),
}


def _notes(measured: Measured) -> str:
    troubled = {r.name: r.trouble for r in measured.results if r.trouble}
    reasons = {**measured.row.without, **troubled}
    lines = [f"- {title(name)} is not timed: {why}." for name, why in reasons.items()]
    lines += _verdict(measured)
    return "\n" + "\n".join(lines) + "\n" if lines else ""


def _verdict(measured: Measured) -> list[str]:
    own, peer, floor = measured.result("symgrad"), measured.fastest_peer, measured.floor
    lines = []
    if own and peer:
        lines.append(f"- symgrad / fastest peer ({title(peer.name)}): **{_ratio(own, peer)}**.")
    if own and floor:
        lines.append(f"- symgrad / floor ({title(floor.name)}): {_ratio(own, floor)}.")
    if measured.gradient_cost:
        lines.append(f"- Value and gradient / value: {measured.gradient_cost} (bound: 4).")
    again = sum(result.again for result in measured.results)
    if again:
        turns = sum(len(result.times) for result in measured.results)
        why = "since the host had taken the processor"
        lines.append(f"- Blocks timed again, {why}: {again}, in {turns} turns.")
    return lines


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns, numbers to the right."""
    rows = [list(head), *map(list, lines)]
    widths = [max(3, *(len(row[k]) for row in rows)) for k in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    sides = "<" + ">" * (len(head) - 1)
    padded = [
        [f"{cell:{side}{w}}" for cell, side, w in zip(row, sides, widths, strict=True)]
        for row in [rows[0], rule, *rows[1:]]
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in padded)


def duration(seconds: float) -> str:
    """Return a time with three digits and its unit."""
    scales = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
    unit, size = next((scale for scale in scales if seconds >= scale[1]), scales[-1])
    number = seconds / size
    return f"{number:.{max(0, 3 - len(str(int(number))))}f} {unit}"


def _ratio(a: Result | None, b: Result | None) -> str:
    return _quotient(a.median, b.median) if a and b else ""


def _quotient(a: float, b: float) -> str:
    quotient = a / b
    if quotient < 0.1:
        return f"{quotient:.1g}"
    return f"{quotient:.2f}" if quotient < 100 else f"{quotient:.0f}"


def _quartiles(times: list[float]) -> tuple[float, float]:
    if len(times) < 2:
        return times[0], times[0]
    low, _, high = statistics.quantiles(times, n=4, method="inclusive")
    return low, high
