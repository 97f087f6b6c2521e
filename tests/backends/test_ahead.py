"""The first call is answered by NumPy while the kernel is compiled; all others by the kernel."""

from __future__ import annotations

import os
import textwrap
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad import errors
from symgrad.backends import blocks, cache, numba
from symgrad.compile import Compiled
from tests.process import python

Started = list[Callable[[], None]]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba, "SOON", (10**9, 10**9))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """What was to be compiled ahead, and is not."""
    found: Started = []

    def start(compile: Callable[[], None]) -> bool:
        found.append(compile)
        return True

    monkeypatch.setattr(numba, "compile_ahead", start)
    return found


def program(f: Compiled) -> numba.NumbaProgram:
    assert isinstance(f.program, numba.NumbaProgram)
    return f.program


def softmax() -> tuple[Compiled, Compiled]:
    x = sg.vector("x", "n")
    outputs = [sg.nn.softmax(x), sg.nn.logsumexp(x)]
    return sg.compile(x, outputs), sg.compile(x, outputs, backend="numpy")


def test_the_first_call_does_not_wait(started: Started) -> None:
    f, reference = softmax()
    given = np.linspace(-1.0, 2.0, 1000)
    for got, expected in zip(f(given), reference(given), strict=True):
        assert np.array_equal(got, expected)
    assert program(f).kernel is None
    assert started == [program(f).compile]


def test_the_second_call_does(started: Started) -> None:
    f, reference = softmax()
    given = np.linspace(-1.0, 2.0, 1000)
    for _ in range(3):
        for got, expected in zip(f(given), reference(given), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-13)
    assert program(f).kernel is not None
    assert program(f).fast is not None
    assert len(started) == 1


def test_it_is_compiled_meanwhile() -> None:
    f, _ = softmax()
    f([1.0, 2.0])
    for thread in threading.enumerate():
        if thread.name == "symgrad-compile":
            thread.join(60)
    assert program(f).kernel is not None


def test_nothing_is_answered_before_it_is_ready(started: Started) -> None:
    f, _ = softmax()
    assert f.ready() is f
    assert program(f).kernel is not None
    f([1.0, 2.0])
    assert program(f).fast is not None
    assert not started


def test_numpy_is_always_ready() -> None:
    _, reference = softmax()
    assert reference.ready() is reference


def test_a_large_first_call_waits(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    for limits in ((10**9, 1000), (100, 10**9)):
        monkeypatch.setattr(numba, "SOON", limits)
        f, _ = softmax()
        f(np.ones(1000))
        assert program(f).kernel is not None
    assert not started


def test_where_it_would_run_in_blocks(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_BLOCK", 1)
    monkeypatch.setattr(blocks, "LARGE", 1)
    monkeypatch.setattr(numba, "LARGE", 1)
    x = sg.vector("x", "n")
    f = sg.compile(x, sg.sum(sg.exp(x)))
    first, *others = (f(np.linspace(0.0, 1.0, 500)) for _ in range(3))
    found = program(f).blocks
    assert found is not None
    assert started == [found.part.compile]
    np.testing.assert_allclose(others, [first] * 2, rtol=1e-14)
    assert program(f).kernel is None


def test_where_numpy_has_no_routine(started: Started) -> None:
    x, k = sg.vector("x", "n"), sg.matrix("k", ("n", "n"), "int64")
    sg.compile(x, sg.grad(np.prod(x), x))(np.ones(10))
    sg.compile(k, k @ k)(np.ones((10, 10), int))
    assert not started


def test_one_thread_for_all() -> None:
    for _ in range(10):
        f, _ = softmax()
        f([1.0, 2.0])
        assert [thread.name for thread in threading.enumerate()].count("symgrad-compile") <= 1


def test_filters_of_warnings_are_left_alone() -> None:
    """They belong to the process, and Numba would set them for each line that it looks at."""
    before = warnings.filters[:]
    f, _ = softmax()
    f([1.0, 2.0])
    thread = next((t for t in threading.enumerate() if t.name == "symgrad-compile"), None)
    while thread is not None and thread.is_alive():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            time.sleep(0.001)
    assert warnings.filters == before
    assert program(f).kernel is not None


def test_training(started: Started) -> None:
    x, w, b = sg.matrix("x", ("n", 3)), sg.parameter("w", 3), sg.parameter("b", ())
    model = sg.Model(sg.mean((x @ w + b - 1) ** 2))
    given = np.random.default_rng(0).normal(size=(20, 3))
    trained = [
        model.compile(update=sg.optim.adam(0.1), parameters={"w": np.ones(3)}, backend=backend)
        for backend in ("numba", "numpy")
    ]
    held = trained[0].parameters["w"]
    for _ in range(5):
        ours, reference = (step(x=given) for step in trained)
        np.testing.assert_allclose(ours, reference, rtol=1e-12)
    assert trained[0].steps == 5
    assert trained[0].parameters["w"] is held
    np.testing.assert_allclose(held, trained[1].parameters["w"], rtol=1e-12)
    assert len(started) == 1
    again = model.compile(update=sg.optim.sgd(0.1))
    assert again.ready() is again
    again(x=given)
    assert len(started) == 1


def test_a_wrong_label(started: Started) -> None:
    x, t = sg.matrix("x", ("n", 3)), sg.tensor("t", ("n",), "int64")
    f = sg.compile([x, t], sg.nn.cross_entropy(x, t))
    for _ in range(2):
        with pytest.raises(errors.ValueRangeError):
            f(np.ones((2, 3)), np.array([0, 3]))
    assert f(np.ones((2, 3)), np.array([0, 2])) == pytest.approx(np.log(3))


def test_what_does_not_compile_is_said_by_the_second_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_text: str) -> Any:
        raise RuntimeError("no")

    monkeypatch.setattr(cache, "load", fail)
    f, reference = softmax()
    np.testing.assert_array_equal(f([1.0, 2.0])[0], reference([1.0, 2.0])[0])
    for _ in range(2):
        with pytest.raises(errors.BackendError):
            f([1.0, 2.0])


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    for thread in threading.enumerate():
        if thread.name == "symgrad-compile":
            thread.join()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    f, _ = softmax()
    f([1.0, 2.0])
    assert program(f).kernel is not None


class TestProcesses:
    SCRIPT = """
        import os, sys
        import numpy as np
        import symgrad as sg

        x = sg.vector("x", "n")

        def made(k):
            return sg.compile(x, [sg.sum(sg.exp(x * k)), sg.grad(sg.sum(sg.exp(x * k)), x)])

        f = made(1.0)
    """

    def run(self, folder: Path, *lines: str) -> str:
        (folder / "use.py").write_text("\n".join([textwrap.dedent(self.SCRIPT), *lines]))
        done = python("use.py", cwd=folder, SYMGRAD_CACHE_DIR=str(folder / "cache"))
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        return done.stdout

    def test_what_was_begun_is_there_for_the_next_process(self, tmp_path: Path) -> None:
        lines = "print(f([0.0])[0])", "while 'numba.core.compiler' not in sys.modules: pass"
        assert self.run(tmp_path, *lines) == "1.0\n"
        assert list((tmp_path / "cache").rglob("*.nbi"))

    def test_many_programs_called_once(self, tmp_path: Path) -> None:
        """All but the one that is being compiled are left alone when the process ends."""
        lines = "fs = [made(float(k)) for k in range(30)]", "print(sum(f([0.0])[0] for f in fs))"
        assert self.run(tmp_path, *lines) == "30.0\n"
        assert len(list((tmp_path / "cache").rglob("*.nbi"))) < 15

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
    def test_forked_while_compiling(self, tmp_path: Path) -> None:
        """The child has no such thread, but must not wait for it."""
        out = self.run(
            tmp_path,
            "print(f([0.0])[0], flush=True)",
            "child = os.fork()",
            "found = f([0.0])[0], made(2.0)([0.0])[0]",
            "assert not child or os.waitpid(child, 0)[1] == 0  # and then prints: not both at once",
            "print(*found, flush=True)",
        )
        assert out.splitlines() == ["1.0", "1.0 1.0", "1.0 1.0"]

    def test_the_same_bits_in_every_process(self, tmp_path: Path) -> None:
        """Whether kernels have to be compiled or not, and however long that takes."""
        lines = "v = np.linspace(-1, 2, 999)", "for _ in range(3): print(f(v)[0].hex())"
        first, second = self.run(tmp_path, *lines), self.run(tmp_path, *lines)
        assert first == second
