"""The process of one contestant in one row: prepares, proves its answer, then times on demand.

    python -m benchmarks.worker ROW CONTESTANT

Messages are lines of JSON. It sends {"first": seconds} once it has a result, {"wrong": ...} when
that was compared with NumPy, and then for every line "seconds" it receives a list
[calls, seconds taken]. For a pass over batch sizes it sends the times instead.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any, TextIO

from benchmarks.peers import PEERS
from benchmarks.problem import (
    CHECKED_STEPS,
    Call,
    Problem,
    Row,
    changes,
    difference,
    flat,
    reference,
)

Answer = Callable[[], list[Any]]
VALUE, GRADIENT = "symgrad, value", "symgrad, value and gradient"
COSTS = {VALUE: "value", GRADIENT: "value_and_grad"}  # what a gradient costs


def prepare(row: Row, name: str, problem: Problem) -> tuple[Call, Answer]:
    """Return the call to time, and what gives its answers as the reference lists them."""
    made = built(row, name, problem)
    if callable(made):
        return made, lambda: flat(made())
    step, parameters = made

    def answer() -> list[Any]:
        for _ in range(CHECKED_STEPS - 2):  # two were made before
            loss = step()
        return [loss, *changes(problem, parameters())]

    return step, answer


def built(row: Row, name: str, problem: Problem) -> Any:
    """Return a contestant: a call, or for training a step and what gives the parameters."""
    if name in row.builders:
        return row.builders[name](problem)
    if name in COSTS:
        return getattr(PEERS["symgrad"].load(), COSTS[name])(row, problem)(problem)
    peer = PEERS[name]
    if row.trains:
        return peer.load().train(row, problem, **peer.options)
    return peer.load().value_and_grad(row, problem, **peer.options)(problem)


def steady(row: Row, name: str, send: Callable[[Any], None]) -> None:
    """Prepare, check, then time one block for each request until there are no more."""
    start = perf_counter()
    problem = row.problem()
    call, answer = prepare(row, name, problem)
    for ordinal in ("first", "second"):
        wait(call())
        send({ordinal: perf_counter() - start})
    send({"wrong": check(row, name, problem, answer)})
    calls = 1
    gc.collect()
    gc.disable()
    for line in sys.stdin:
        calls, seconds = block(call, calls, float(line))
        send([calls, seconds])
        gc.collect()


def check(row: Row, name: str, problem: Problem, answer: Answer) -> str:
    """Return what is wrong with the answers, or nothing; a floor may have none."""
    expected = reference(row, replace(problem, rate=None) if name in COSTS else problem)
    if name == VALUE:
        expected = expected[:1]
    answers = answer()
    if name in row.floors and answers == [None]:
        return ""
    return difference(problem, answers, expected, row.tolerance)


def block(call: Call, calls: int, least: float) -> tuple[int, float]:
    """Return how many calls took at least so long, and the time they took."""
    while True:
        start = perf_counter()
        for _ in range(calls - 1):
            call()
        wait(call())
        seconds = perf_counter() - start
        if seconds >= 0.5 * least:
            return calls, seconds
        calls = max(calls + 1, int(calls * min(10, least / max(seconds, 1e-9))))


def wait(result: Any) -> None:
    """Wait for a result that may still be on its way (JAX)."""
    if hasattr(result, "block_until_ready"):
        result.block_until_ready()


def over_sizes(row: Row, name: str, send: Callable[[Any], None]) -> None:
    """Send the time of the first call at each batch size, and of one of the size of that before.

    The latter are timed later, when everything is compiled.
    """
    from benchmarks.rows.batch_sizes import SIZES

    problems = [row.problem(size) for size in SIZES]
    peer = PEERS[name].load()
    start = perf_counter()
    bind = peer.value_and_grad(row, problems[0], **PEERS[name].options)
    calls, first, second, wrong = [], [], [], []
    for problem in problems:
        calls.append(bind(problem))
        result = calls[-1]()
        first.append(perf_counter() - start)
        wrong.append(check(row, name, problem, lambda result=result: flat(result)))
        start = perf_counter()
    for call in calls:
        call()
        start = perf_counter()
        call()
        second.append(perf_counter() - start)
    send({"first": first[0]})
    send({"wrong": next(filter(None, wrong), "")})
    send([first, second])


def main() -> None:
    replies = _own_stdout()

    def send(message: Any) -> None:
        print(json.dumps(message), file=replies, flush=True)

    from benchmarks.rows import ROWS

    row, name = ROWS[sys.argv[1]], sys.argv[2]
    try:
        (over_sizes if row.kind == "sizes" else steady)(row, name, send)
    except ModuleNotFoundError as error:
        send({"missing": str(error.name)})
    except Exception as error:
        traceback.print_exc()
        words = (str(error).strip() or type(error).__name__).splitlines()
        send({"failed": f"{type(error).__name__}: {words[0]}"[:200]})


def _own_stdout() -> TextIO:
    """Return what was stdout; whatever a library prints goes to stderr."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return replies


if __name__ == "__main__":
    main()
