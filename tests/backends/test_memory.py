"""Memory of large results is used again only when nobody can see it."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.backends import blocks, memory, numba
from symgrad.backends.memory import LARGE_RESULT, Results
from symgrad.ir.types import FLOAT32, FLOAT64, Array

N = LARGE_RESULT // 8


def address(array: Array) -> int:
    return int(array.ctypes.data)


class TestResults:
    def test_what_was_let_go_of_is_used_again(self) -> None:
        results = Results()
        first = address(results.empty("a", (N,), FLOAT64))
        assert address(results.empty("a", (N,), FLOAT64)) == first

    def test_what_is_held_is_not(self) -> None:
        results = Results()
        held = results.empty("a", (N,), FLOAT64)
        assert address(results.empty("a", (N,), FLOAT64)) != address(held)

    @pytest.mark.parametrize(
        "hold",
        [
            lambda a: a[3:5], lambda a: a.reshape(2, -1), lambda a: a.T, memoryview,
            lambda a: a.view(np.int64), lambda a: [a], lambda a: np.asarray(a)[..., None],
            lambda a: a.flat, lambda a: (i for i in [a]), lambda a: a.base,
            lambda a: a.base[100:200], lambda a: memoryview(a[::2]),
        ],
    )  # fmt: skip
    def test_nor_what_is_seen_through_something_else(self, hold: Any) -> None:
        results = Results()
        array = results.empty("a", (N,), FLOAT64)
        array[:] = 1.0
        holder, before = hold(array), address(array)
        del array
        other = results.empty("a", (N,), FLOAT64)
        assert address(other) != before
        del holder

    def test_shapes_and_dtypes_that_differ_get_their_own(self) -> None:
        results = Results()
        for shape, dtype in [((N,), FLOAT64), ((2 * N,), FLOAT64), ((2 * N,), FLOAT32)]:
            array = results.empty("a", shape, dtype)
            assert (array.shape, array.dtype) == (shape, dtype)
            array[:] = 1

    @pytest.mark.parametrize("change", ["shape", "writeable", "dtype"])
    def test_what_its_owner_has_changed(self, change: str) -> None:
        results = Results()
        array: Any = results.empty("a", (N,), FLOAT64)
        if change == "shape":
            array.shape = (2, -1)
        elif change == "dtype":
            array.dtype = np.int64
        else:
            array.flags.writeable = False
        del array
        fresh = results.empty("a", (N,), FLOAT64)
        assert (fresh.shape, fresh.dtype, fresh.flags.writeable) == ((N,), FLOAT64, True)

    def test_what_is_watched(self) -> None:
        """Somebody may find it by a weak reference, or wait for its end."""
        results = Results()
        cache: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
        array = results.empty("a", (N,), FLOAT64)
        cache["a"] = array
        del array
        other = results.empty("a", (N,), FLOAT64)
        assert "a" not in cache or address(cache["a"]) != address(other)

    def test_memory_that_is_watched(self) -> None:
        results = Results()
        array = results.empty("a", (N,), FLOAT64)
        room = weakref.ref(array.base)
        del array
        other = results.empty("a", (N,), FLOAT64)
        assert room() is None or room() is not other.base

    @pytest.mark.parametrize("shape", [(2 * N,), (2 * N + 3,), (7, N + 1)])
    def test_large_ones_begin_a_line_of_the_cache(self, shape: tuple[int, ...]) -> None:
        results = Results()
        held = [results.empty(name, shape, FLOAT32) for name in "abc" for _ in range(3)]
        assert not any(address(array) % 64 for array in held)
        assert all(array.flags.c_contiguous and array.flags.aligned for array in held)

    def test_small_ones_are_not_kept(self) -> None:
        results = Results()
        results.empty("a", (10,), FLOAT64)
        assert not results.arrays

    def test_without_a_common_lock_nothing_is_kept(self) -> None:
        results = Results()
        results.counted = False
        results.empty("a", (N,), FLOAT64)
        assert not results.arrays


@pytest.mark.parametrize("in_blocks", [False, True])
class TestCalls:
    @pytest.fixture(autouse=True)
    def small(self, in_blocks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        if in_blocks:
            monkeypatch.setattr(blocks, "LARGE", 1)
            monkeypatch.setattr(numba, "LARGE", 1)

    def function(self) -> sg.Compiled:
        x = sg.vector("x", "n")
        return sg.compile(x, [np.sin(x) + 1, np.sum(x)])

    def test_results_that_are_held_stay_as_they_are(self, in_blocks: bool) -> None:
        f = self.function()
        given = [np.full(N, float(i)) for i in range(4)]
        held = [f(x)[0] for x in given]
        for x, y in zip(given, held, strict=True):
            np.testing.assert_allclose(y, np.sin(x) + 1)
        assert len({address(y) for y in held}) == 4
        assert isinstance(f.program, numba.NumbaProgram)
        assert (f.program.blocks is not None) == in_blocks

    def test_memory_is_used_again(self, in_blocks: bool) -> None:
        f = self.function()
        f(np.ones(N))
        seen = {address(f(np.full(N, float(i)))[0]) for i in range(5)}
        assert len(seen) == 1

    def test_a_result_may_be_an_argument(self, in_blocks: bool) -> None:
        f = self.function()
        x = expected = np.linspace(0, 1, N)
        for _ in range(5):
            x, expected = f(x)[0], np.sin(expected) + 1
        np.testing.assert_allclose(x, expected)

    def test_several_threads(self, in_blocks: bool) -> None:
        f = self.function()
        f(np.ones(N))
        wrong: list[float] = []

        def work(value: float) -> None:
            for _ in range(20):
                y = f(np.full(N, value))[0]
                if not np.allclose(y, np.sin(value) + 1):
                    wrong.append(value)

        threads = [threading.Thread(target=work, args=(float(i),)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []

    def test_no_more_than_the_latest_is_kept(self, in_blocks: bool) -> None:
        f = self.function()
        watched = []
        for _ in range(3):
            y = f(np.ones(N))[0]
            watched.append(weakref.ref(y))
            other = f(np.ones(N))[0]
            del y, other
        assert sum(ref() is not None for ref in watched) <= 1


def test_the_counts_of_this_interpreter() -> None:
    arrays: dict[Any, Array] = {0: memory.aligned([(1,)], [FLOAT64])[0]}
    objects, views = memory._UNUSED
    assert memory._references(arrays, 0)[1] == (objects, views)
    held = memory.aligned([(1,)], [FLOAT64])[0]
    assert memory._references({0: held}, 0)[1] == (objects + 1, views)
    seen = held[:]
    assert memory._references({0: held}, 0)[1] == (objects + 1, views + 1)
    assert seen.base is held.base
