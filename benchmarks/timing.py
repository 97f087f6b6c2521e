"""Measuring side by side: one process per contestant, asked in turn for a block of calls."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from benchmarks.machine import stolen
from benchmarks.problem import Row

ROOT = Path(__file__).resolve().parent.parent
PREPARING_AT_MOST = 300.0
PAUSE = 0.5
"""Seconds after each block. Threads spin on after their work and slow down whoever is
next: the second one of OpenBLAS for 0.12 s where this was written."""
ATTEMPTS = 3
"""So many blocks are timed in a turn at most, until one is not disturbed: a virtual machine counts
the time for which its host gave the processor to others. Two threads that wait for each other lose
it twice, so that a disturbed block says more about the neighbours than about the contestant."""


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds, seconds per block, and seconds per contestant at most."""

    rounds: int = 11
    block: float = 0.1
    at_most: float = 10.0
    starts: int = 3


QUICK = Effort(rounds=5, block=0.02, at_most=2.0, starts=1)


@dataclass
class Result:
    """What became of a contestant.

    Attributes:
        name: The contestant.
        trouble: Why there are no times, or nothing.
        times: Seconds per call, one for each turn; or one for each process.
        again: How many blocks were timed again, because the machine was disturbed.
        ready: Seconds to the first result, imports included, and compiling if it waits for that.
        second: Seconds to the second one.
        passes: For batch sizes: seconds of each first call, then of one when the size is known.
        starts: For starts: seconds to the first result and to the second one, in each process,
            with caches on disk empty, and with filled ones.
    """

    name: str
    trouble: str = ""
    times: list[float] = field(default_factory=list)
    again: int = 0
    ready: float = 0.0
    second: float = 0.0
    passes: list[list[float]] = field(default_factory=list)
    starts: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """The middle time, in seconds."""
        return statistics.median(self.times)


class Worker:
    """A contestant's process. Its caches on disk are in ``folder``."""

    def __init__(self, row: Row, name: str, folder: Path):
        self.started = perf_counter()
        self.log = folder / "stderr"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.worker", row.name, name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=folder,
                env=os.environ | _caches_in(folder, row.kind == "startup"),
            )

    def receive(self, at_most: float) -> Any:
        """Return the next message; give up after so many seconds."""
        timer = threading.Timer(at_most, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timed_out = not timer.is_alive()
        timer.cancel()
        if line:
            return json.loads(line)
        if timed_out:
            return {"failed": f"gave up after {at_most:.0f} s"}
        return {"failed": f"process ended with {self.process.wait()}"}

    def prepared(self) -> Result:
        """Wait until the first result is there and compared with NumPy's."""
        result = Result(self.process.args[-1])
        message = self.receive(PREPARING_AT_MOST)
        result.ready = perf_counter() - self.started
        if "first" in message:
            message = self.receive(PREPARING_AT_MOST)
            result.second = perf_counter() - self.started
        if "second" in message:
            message = self.receive(PREPARING_AT_MOST)
        result.trouble = trouble(message)
        return result

    def block(self, seconds: float) -> float | None:
        """Return seconds per call, measured for about ``seconds``."""
        print(seconds, file=self.process.stdin, flush=True)
        reply = self.receive(PREPARING_AT_MOST)
        return reply[1] / reply[0] if isinstance(reply, list) else None

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


def trouble(message: dict[str, str]) -> str:
    """Return a worker's message about its preparation in words, or nothing if all is well."""
    if "missing" in message:
        return f"{message['missing']} is not installed"
    if "failed" in message:
        return message["failed"]
    return f"wrong answer: {message['wrong']}" if message["wrong"] else ""


def measure(row: Row, names: list[str], effort: Effort) -> list[Result]:
    """Return the results of these contestants in a row."""
    how = {"steady": _side_by_side, "sizes": _passes, "startup": _starts}[row.kind]
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        return how(row, names, effort, Path(folder))


def _side_by_side(row: Row, names: list[str], effort: Effort, folder: Path) -> list[Result]:
    results, running = [], []
    try:
        for name in names:
            worker = Worker(row, name, _fresh(folder))
            running.append(worker)
            results.append(worker.prepared())
            _say(row, results[-1])
        pairs = [pair for pair in zip(running, results, strict=True) if not pair[1].trouble]
        for worker, _ in pairs:
            worker.block(effort.block)  # warms up, and finds the number of calls
        for turn in range(effort.rounds):
            first = turn % max(len(pairs), 1)
            for worker, result in pairs[first:] + pairs[:first]:
                _take_turn(worker, result, effort)
    finally:
        for worker in running:
            worker.end()
    return results


def _take_turn(worker: Worker, result: Result, effort: Effort) -> None:
    spent = sum(max(time, effort.block) for time in result.times)
    if result.trouble or (spent > effort.at_most and len(result.times) >= 3):
        return
    for attempt in range(ATTEMPTS):
        before = stolen()
        time = worker.block(effort.block)
        undisturbed = stolen() == before
        sleep(PAUSE)
        if time is None:
            result.trouble = "stopped while it was timed"
            return
        result.again += attempt > 0
        if undisturbed:
            break
    result.times.append(time)


def _passes(row: Row, names: list[str], effort: Effort, folder: Path) -> list[Result]:
    results = []
    for name in names:
        runs = []
        for _ in range(effort.starts):
            worker = Worker(row, name, _fresh(folder))
            result = worker.prepared()
            if not result.trouble:
                result.passes = worker.receive(PREPARING_AT_MOST)
                result.times = [sum(result.passes[0])]
            worker.end()
            runs.append(result)
            if result.trouble:
                break
        results.append(sorted(runs, key=lambda run: sum(run.times))[len(runs) // 2])
        _say(row, results[-1])
    return results


def _starts(row: Row, names: list[str], effort: Effort, folder: Path) -> list[Result]:
    results = []
    for name in names:
        result = Result(name, starts={"empty": [], "filled": []})
        for _ in range(effort.starts):
            caches = _fresh(folder)
            for times in result.starts.values():
                worker = Worker(row, name, caches)
                once = worker.prepared()
                worker.end()
                times.append((once.ready, once.second))
                result.trouble = result.trouble or once.trouble
            if result.trouble:
                break
        result.times = [first for first, _ in result.starts["empty"]]
        results.append(result)
        _say(row, result)
    return results


def _fresh(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=folder))


def _caches_in(folder: Path, restarted: bool) -> dict[str, str]:
    """Return an environment in which nothing is cached but by earlier processes in the folder.

    JAX keeps nothing unless asked to: that is for processes that are started again.
    """
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "PYTHONDONTWRITEBYTECODE": "",
        "SYMGRAD_CACHE_DIR": str(folder / "symgrad"),
        "JAX_ENABLE_COMPILATION_CACHE": str(restarted).lower(),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "torch"),
        "PYTENSOR_FLAGS": f"base_compiledir={folder / 'pytensor'}",
        "NUMBA_CACHE_DIR": str(folder / "numba"),
    }


def _say(row: Row, result: Result) -> None:
    width = shutil.get_terminal_size().columns - 1
    words = result.trouble or f"ready after {result.ready or result.median:.1f} s"
    print(f"  {row.name}: {result.name}: {words}"[:width], file=sys.stderr, flush=True)
