"""The entry of a kernel: what it takes as it lies, what it refuses, what it returns."""

from __future__ import annotations

import gc
import pickle
import sys
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad import errors
from symgrad.backends import numba
from symgrad.backends.memory import Results
from symgrad.ir.types import Array

n = 3
N = 200_000
"""So many numbers are a large result."""


@pytest.fixture(autouse=True, params=["one function", "steps"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Programs of any length are entered as one function, or as a table of steps."""
    if request.param == "steps":
        monkeypatch.setattr(numba, "LARGEST", 0)
    return str(request.param)


@pytest.fixture
def total() -> sg.Compiled:
    """Σ (s A + v) for a number, a matrix and a vector; called once, so that it is compiled."""
    s, A, v = sg.scalar("s"), sg.matrix("A", ("m", "n")), sg.vector("v", "n")
    f = sg.compile([s, A, v], sg.sum(s * A + v))
    f(2.0, np.ones((2, n)), np.ones(n))
    return f


def fast(f: sg.Compiled) -> Callable[..., Any]:
    assert f.program.fast is not None
    return f.program.fast


A, V = np.arange(6.0).reshape(2, n), np.arange(3.0)
EXPECTED = 2 * A.sum() + 2 * V.sum()


def unaligned(array: Array) -> Array:
    raw = np.zeros(array.nbytes + 1, np.uint8)
    found = raw[1:].view(array.dtype).reshape(array.shape)
    found[...] = array
    return found


class Own(np.ndarray[Any, Any]):
    """An array of a class of its own."""


def read_only(array: Array) -> Array:
    found = array.copy()
    found.flags.writeable = False
    return found


FITTING: dict[str, Callable[[Array], Array]] = {
    "as it is": lambda a: a,
    "read only": read_only,
    "one that was pickled": lambda a: pickle.loads(pickle.dumps(a)),
    "a part in one piece": lambda a: np.concatenate([a, a])[len(a) :],
    "memory of something else": lambda a: np.frombuffer(a.tobytes()).reshape(a.shape),
}
OTHERS: dict[str, Callable[[Array], Any]] = {
    "lists": lambda a: a.tolist(),
    "integers": lambda a: a.astype(np.int64),
    "float32": lambda a: a.astype(np.float32),
    "the other byte order": lambda a: a.astype(">f8"),
    "unaligned": unaligned,
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "backwards": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "a class of its own": lambda a: a.view(Own),
}


class TestArrays:
    @pytest.mark.parametrize("kind", FITTING)
    def test_that_fit_are_read_where_they_lie(self, total: sg.Compiled, kind: str) -> None:
        made = FITTING[kind]
        assert fast(total)(2.0, made(A), made(V)) == EXPECTED

    @pytest.mark.parametrize("kind", OTHERS)
    def test_others_are_refused_and_converted(self, total: sg.Compiled, kind: str) -> None:
        made = OTHERS[kind]
        with pytest.raises(TypeError):
            fast(total)(2.0, A, made(V))
        assert total(2.0, A, made(V)) == EXPECTED
        assert total(2.0, made(A), V) == EXPECTED

    def test_by_columns(self, total: sg.Compiled) -> None:
        with pytest.raises(TypeError):
            fast(total)(2.0, np.asfortranarray(A), V)
        assert total(2.0, np.asfortranarray(A), V) == EXPECTED

    @pytest.mark.parametrize("wrong", [V[0], V[None], np.float64(1), None, "v", len])
    def test_of_another_rank_or_none(self, total: sg.Compiled, wrong: Any) -> None:
        with pytest.raises(TypeError):
            fast(total)(2.0, A, wrong)
        with pytest.raises(errors.SymgradError):
            total(2.0, A, wrong)

    def test_sizes_that_differ(self, total: sg.Compiled) -> None:
        with pytest.raises(TypeError):
            fast(total)(2.0, A, np.ones(n + 1))
        with pytest.raises(errors.ShapeError):
            total(2.0, A, np.ones(n + 1))

    @pytest.mark.parametrize("dtype", ["q", np.dtype("int64", metadata={"unit": "m"}), np.int64])
    def test_dtypes_by_another_name(self, dtype: Any) -> None:
        x = sg.tensor("x", ("n",), "int64")
        f = sg.compile(x, sg.sum(x * x))
        for given in (np.array([1, 2, 3], dtype), np.array([1, 2, 3], dtype)[::-1]):
            assert f(given) == 14
            assert f(given) == 14

    @pytest.mark.parametrize("values", [(), (2.0,), (2.0, A), (2.0, A, V, V)])
    def test_too_few_or_many(self, total: sg.Compiled, values: tuple[Any, ...]) -> None:
        with pytest.raises(TypeError):
            fast(total)(*values)
        with pytest.raises(errors.ArgumentError):
            total(*values)

    def test_by_name_in_the_fast_way(self, total: sg.Compiled) -> None:
        with pytest.raises(TypeError):
            fast(total)(s=2.0, A=A, v=V)

    def test_of_no_elements(self, total: sg.Compiled) -> None:
        # NumPy calls it contiguous whatever its strides are.
        for given in (np.ones((0, n)), np.ones((5, n))[:0:2]):
            assert total(2.0, given, V) == 0.0
            assert fast(total)(2.0, given, V) == 0.0

    def test_one_row_of_any_stride(self, total: sg.Compiled) -> None:
        row = np.ones((5, n))[::7]
        assert row.strides[0] == 7 * 8 * n
        assert total(2.0, row, V) == 2.0 * n + V.sum()
        assert fast(total)(2.0, row, V) == 2.0 * n + V.sum()


class TestNumbers:
    @pytest.mark.parametrize("number", [2.0, np.float64(2), np.array(2.0)])
    def test_that_fit(self, total: sg.Compiled, number: Any) -> None:
        assert fast(total)(number, A, V) == EXPECTED

    @pytest.mark.parametrize(
        "number",
        [
            2,
            np.float32(2),
            np.int64(2),
            np.array(2),
            np.array(2.0, ">f8"),
            unaligned(np.array(2.0)),
        ],
    )
    def test_others_are_refused_and_converted(self, total: sg.Compiled, number: Any) -> None:
        with pytest.raises(TypeError):
            fast(total)(number, A, V)
        assert total(number, A, V) == EXPECTED

    @pytest.mark.parametrize("wrong", [True, 1j, "2", None, [2.0, 2.0], np.ones(1), object()])
    def test_what_is_no_number(self, total: sg.Compiled, wrong: Any) -> None:
        with pytest.raises(TypeError):
            fast(total)(wrong, A, V)

    @pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "bool"])
    def test_of_every_dtype(self, dtype: str) -> None:
        x = sg.tensor("x", (), dtype)
        y = sg.where(x, 1.0, 2.0) if dtype == "bool" else x + x
        f = sg.compile(x, [y, x])
        kind = np.dtype(dtype).type
        for value in (0, 1):
            f(kind(value))
            for number in (kind(value), np.array(value, dtype)):
                doubled, same = fast(f)(number)
                assert (type(doubled), type(same)) == (np.dtype(y.dtype).type, kind)
                assert doubled == (2.0 - value if dtype == "bool" else 2 * value)
                assert same == value

    def test_the_whole_range_of_an_integer(self) -> None:
        x = sg.tensor("x", (), "int64")
        f = sg.compile(x, x + 0)
        for value in (2**63 - 1, -(2**63), 2**53 + 1):
            assert f(value) == value
            assert fast(f)(np.int64(value)) == value


class TestSizes:
    def test_that_are_computed_of_others(self) -> None:
        """A temporary of (3 n - 5) // 2 elements, for every small n."""
        x = sg.vector("x", "n")
        y = sg.concatenate([x, x, x])[:-5:2]
        total = sg.sum(sg.exp(y) / sg.sum(sg.exp(y)))
        f = sg.compile(x, total)
        for count in (2, 3, 4, 5, 8, 9):
            assert f(np.zeros(count)) == pytest.approx(1)
            assert fast(f)(np.zeros(count)) == pytest.approx(1)
            with pytest.raises(TypeError):
                fast(f)(np.zeros(count + 2))

    def test_relations(self) -> None:
        x, y = sg.vector("x", "n"), sg.vector("y", "m")
        f = sg.compile([x, y], sg.sum(x[1:] * y))
        assert f(np.ones(4), np.ones(3)) == 3
        with pytest.raises(TypeError):
            fast(f)(np.ones(4), np.ones(4))
        with pytest.raises(errors.ShapeError):
            f(np.ones(4), np.ones(4))

    def test_what_is_read_lies_apart_from_what_is_written(self) -> None:
        x, w = sg.vector("x", "n"), sg.parameter("w", (4,), init=np.ones(4))
        train = sg.Model(sg.sum(x) * sg.sum(w)).compile(update=sg.optim.sgd(1.0))
        held = train.parameters["w"]
        assert train(x=np.ones(2)) == 8
        assert train.program.fast is not None
        for inside in (held, held[:1], held[1:3], held[3:]):
            # Steps are entered with the sizes of the call before.
            train(x=np.zeros(len(inside)))
            before = held.copy()
            with pytest.raises(TypeError):
                train.program.fast(inside, 1.0, held)
            assert (held == before).all()
            expected = inside.sum() * held.sum()
            assert train(x=inside) == expected
        assert train(x=held[:0]) == 0
        joined = np.ones(8)
        train(x=np.zeros(4))
        assert train.program.fast(joined[:4], 1.0, joined[4:]) == 16

    def test_what_is_read_lies_apart_from_a_number_that_is_written(self) -> None:
        x, w = sg.vector("x", "n"), sg.parameter("w", init=3.0)
        train = sg.Model(sg.sum(x) * w).compile(update=sg.optim.sgd(1.0))
        held = train.parameters["w"]
        assert train(x=np.ones(1)) == 3
        assert train.program.fast is not None
        with pytest.raises(TypeError):
            train.program.fast(held.reshape(1), 1.0, held)
        assert held == 2
        assert train(x=held.reshape(1)) == 4
        assert held == 0
        joined = np.ones(2)
        assert train.program.fast(joined[:1], 1.0, joined[1:].reshape(())) == 1


def test_nothing_is_kept_of_arguments_and_results(total: sg.Compiled) -> None:
    number = np.float64(2)
    counts = [sys.getrefcount(x) for x in (number, A, V)]
    other = np.float64(3)
    own = sys.getrefcount(other)
    for values in [(number, A, V)] * 50 + [(number, A, V[:2])] * 50 + [(number, V, A)] * 50:
        try:
            result = fast(total)(*values)
        except TypeError:
            continue
        assert sys.getrefcount(result) == own
    del values
    assert [sys.getrefcount(x) for x in (number, A, V)] == counts


def test_a_function_outlives_its_program() -> None:
    """With its temporaries, and the large constants, which nothing else refers to any more."""
    x = sg.vector("x", 1000)
    f = sg.compile(x, np.exp(x) / sg.sum(np.exp(x)) * sg.constant(np.arange(1000.0)))
    f(np.zeros(1000))
    assert len(f.program.constants) == 1  # type: ignore[attr-defined]
    call = fast(f)
    del f, x
    gc.collect()
    overwriting = [np.full(1000, np.nan) for _ in range(100)]
    np.testing.assert_allclose(call(np.zeros(1000)), np.arange(1000.0) / 1000, rtol=1e-14)
    assert len(overwriting) == 100


def test_steps_are_entered_with_the_sizes_of_the_call_before(way: str) -> None:
    x, w = sg.matrix("x", ("n", 3)), sg.matrix("w", (3, "m"))
    f = sg.compile([x, w], [x @ w, sg.sum(x)])
    for size in (4, 5, 0, 4):
        given = np.ones((size, 3)), np.ones((3, size))
        for got in (f(*given), fast(f)(*given)):
            assert got[0].shape == (size, size)
            assert (got[0] == 3).all()
            assert got[1] == 3 * size
        if way == "steps":
            with pytest.raises(TypeError):
                fast(f)(np.ones((size + 1, 3)), given[1])


def test_large_results_are_kept_by_the_program() -> None:
    x = sg.vector("x", "n")
    f = sg.compile(x, [x + 1, x.reshape((1, -1)) * 2, sg.sum(x)])
    given = np.ones(N)
    f(given)
    held = fast(f)(given)
    addresses = {a.ctypes.data for a in held[:2]}
    latest = fast(f)(given)
    assert not {a.ctypes.data for a in latest[:2]} & addresses
    addresses = {a.ctypes.data for a in latest[:2]}
    del latest
    again = fast(f)(given)
    assert {a.ctypes.data for a in again[:2]} == addresses
    assert (again[0] == 2).all() and again[1].shape == (1, N) and (again[1] == 2).all()
    assert again[2] == N


def test_a_call_while_another_one_makes_its_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps the memory of large results is Python code: another thread may take over."""
    x, s = sg.vector("x", "n"), sg.scalar("s")
    f = sg.compile([x, s], [x * s, x + s, sg.sum(x)])
    small, large = np.full(N, 1.0), np.full(N, 5.0)
    inside: list[Any] = []
    empty = Results.empty

    def interrupted(self: Results, *arguments: Any) -> Array:
        if not inside:
            inside.append(None)
            inside[0] = f(large, 3.0)
        return empty(self, *arguments)

    monkeypatch.setattr(Results, "empty", interrupted)
    for _ in range(3):
        inside.clear()
        first, second, total = f(small, 2.0)
        assert (first == 2).all() and (second == 3).all() and total == N
        first, second, total = inside[0]
        assert (first == 15).all() and (second == 8).all() and total == 5 * N


def test_a_call_while_objects_are_collected() -> None:
    """Until Python 3.12, to make a tuple may run the collector, and that any code."""
    x = sg.vector("x", "n")
    f = sg.compile(x, [x * 2.0, sg.sum(x)])
    small, large = np.ones(3), np.full(3, 5.0)
    f(small)
    call = fast(f)
    kept: list[Any] = []

    def collected(phase: str, _info: Any) -> None:
        if phase == "start":
            gc.callbacks.remove(collected)
            kept.append(call(large))

    before = gc.get_threshold()
    gc.set_threshold(5, 1, 1)
    try:
        for _ in range(500):
            if collected not in gc.callbacks:
                gc.callbacks.append(collected)
            result = call(small)
            kept.append(result)
            assert result[0][0] == 2.0
            assert result[1] == 3.0
    finally:
        gc.set_threshold(*before)
        if collected in gc.callbacks:
            gc.callbacks.remove(collected)


def test_errors_inside_leave_nothing_behind() -> None:
    x, k = sg.vector("x", "n"), sg.tensor("k", ("m",), "int64")
    f = sg.compile([x, k], [sg.exp(x), x[k]])
    given, right, wrong = np.ones(1000), np.array([1, 2]), np.array([1, 1000])
    f(given, right)
    for _ in range(3):
        tracemalloc.start()
        for _ in range(20):
            with pytest.raises(IndexError, match="index of k"):
                fast(f)(given, wrong)
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert held < given.nbytes
    with pytest.raises(errors.ValueRangeError, match="1000"):
        f(given, wrong)
    assert fast(f)(given, right)[1].tolist() == [1.0, 1.0]


def test_another_size_binds_the_same_entry_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the kernel's types again would take longer than most calls."""
    x = sg.vector("x", "n")
    f = sg.compile(x, sg.exp(x) / sg.sum(sg.exp(x)))
    f(np.zeros(3))
    made: list[object] = []
    monkeypatch.setattr("symgrad.backends.entry.entry", lambda *given: made.append(given))
    for size in (4, 5, 4, 3):
        assert f(np.zeros(size)).tolist() == [1 / size] * size
    assert made == []


def test_a_program_that_is_let_go_of_is_gone() -> None:
    """Its temporaries and results may be large; Python's collector does not see how large."""
    x = sg.vector("x", "n")
    f = sg.compile(x, [sg.exp(x) / sg.sum(sg.exp(x)), x * 2.0])
    f(np.zeros(4))
    f(np.zeros(4))
    gone = weakref.ref(f.program)
    gc.disable()
    try:
        del f
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("name", ["w", "b"])
def test_parameters_that_are_read_only(name: str) -> None:
    x, w, b = sg.vector("x", "n"), sg.parameter("w", (2,)), sg.parameter("b", ())
    loss = sg.sum((sg.sum(w) * x + b) ** 2)
    train = sg.Model(loss).compile(update=sg.optim.sgd(0.1))
    for _ in range(2):
        train(x=np.ones(3))
    train.parameters[name].flags.writeable = False
    before = {name: array.copy() for name, array in train.parameters.items()}
    with pytest.raises(errors.ArgumentError, match=f"{name} is read-only") as caught:
        train(x=np.ones(3))
    assert "test_entry.py" in str(caught.value)
    assert caught.value.__context__ is None
    assert train.steps == 2
    for name, array in train.parameters.items():
        assert (array == before[name]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_arrays_are_made_in_every_dtype_and_shape(dtype: str) -> None:
    A = sg.tensor("A", ("n", 3), dtype)
    given = np.arange(6).reshape(2, 3).astype(dtype)
    outputs = [A, A.T, A.reshape(-1), A[:0], A[None, :, None], A[0, 0]]
    f = sg.compile(A, outputs)
    for _ in range(3):
        found = f(given)
        expected = [given, given.T, given.reshape(-1), given[:0], given[None, :, None], given[0, 0]]
        for got, wanted in zip(found, expected, strict=True):
            assert got.dtype == wanted.dtype and got.shape == wanted.shape
            assert np.array_equal(got, wanted)
            assert not np.may_share_memory(got, given)


def test_what_a_step_writes_must_be_writeable() -> None:
    x, w = sg.scalar("x"), sg.parameter("w", (2,), init=np.ones(2))
    train = sg.Model(sg.sum(w * w) * x).compile(update=sg.optim.sgd(0.25))
    assert train(x=1.0) == 2.0
    assert train.program.fast is not None
    held = read_only(np.ones(2))
    with pytest.raises(TypeError):
        train.program.fast(1.0, 1.0, held)
    assert held.tolist() == [1.0, 1.0]


def test_sizes_that_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporaries are made once for each of the latest sizes, if they are small."""
    x, w = sg.matrix("x", ("n", 3)), sg.matrix("w", (3, 3))
    f = sg.compile([x, w], sg.sum(sg.tanh(x @ w) @ w, axis=0))
    program: Any = f.program
    made: list[int] = []
    make = program.made

    def counted(sizes: dict[str, int]) -> Any:
        made.append(sizes["n"])
        return make(sizes)

    monkeypatch.setattr(program, "made", counted)
    given_w = np.arange(9.0).reshape(3, 3) / 10

    def call(n: int) -> None:
        given = np.linspace(0, 1, 3 * n).reshape(n, 3)
        expected = (np.tanh(given @ given_w) @ given_w).sum(0)
        np.testing.assert_allclose(f(given, given_w), expected, rtol=1e-12, atol=1e-14)

    for n in (4, 5, 4, 6, 5, 4):
        call(n)
    assert made == [4, 5, 6]
    for n in range(10, 42):
        call(n)
    call(41)
    call(4)
    assert made == [4, 5, 6, *range(10, 42), 4]
    assert len(program.latest) == 32
    made.clear()
    for n in (50_000, 4, 50_000):
        call(n)
    assert made == [50_000, 50_000]
    assert (("n", 50_000),) not in program.latest
