"""Loops that are cut where functions of functions stand in them, and quotients that share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import symgrad as sg
from symgrad.backends.lowered import lowered
from symgrad.ir.graph import Graph
from symgrad.ir.types import FLOAT64, Array, DType
from symgrad.lower.statement import Statement
from symgrad.lower.strips import can_be_cut, cut
from symgrad.lower.vectormath import float64
from symgrad.tensor import Tensor
from tests.numeric import evaluate

SIZES = [1, 2, 255, 256, 257, 512, 700]


def statement(line: str) -> Statement:
    target, _, text = line.rpartition(" := ")
    return Statement(text, target, FLOAT64 if target else None)


def statements(*lines: str) -> list[Statement]:
    """Return statements; those that make a number are written with ``:=``."""
    return [statement(line) for line in lines]


def cut_up(*lines: str) -> list[list[str]]:
    names: list[str] = []

    def array(name: str, dtype: DType) -> str:
        assert dtype == FLOAT64
        names.append(name)
        return f"{name}{len(names)}"

    return [[s.line for s in body] for body in cut(statements(*lines), "step", array)]


def test_every_link_has_a_loop() -> None:
    assert cut_up(
        "t1 := exp_f64(x[i])",
        "t2 := t1 * t1",
        "t3 := near_sin_f64(t2)",
        "t4 := log_f64(t3)",
        "t5 := t4 + t2",
        "y[i] = t5",
    ) == [
        ["t1 = exp_f64(x[i])", "exp1[step] = t1"],
        [
            *("t1 = exp1[step]", "t2 = t1 * t1", "strip2[step] = t2"),
            *("t3 = near_sin_f64(t2)", "sin3[step] = t3"),
        ],
        ["t2 = strip2[step]", "t3 = sin3[step]", "t4 = log_f64(t3)", "t5 = t4 + t2", "y[i] = t5"],
    ]


def test_what_is_only_read_is_read_again() -> None:
    first, last = cut_up(
        "t1 := x[i] * z[i]",
        "t2 := exp_f64(t1)",
        "t3 := exp_f64(x[i])",
        "t4 := tanh_f64(t2 + t3)",
        "t5 := z[i] - x[i]",
        "far |= t1 > 3",
        "y[i] = t1 * t4 * t5",
    )
    assert first[0] == last[0] == "t1 = x[i] * z[i]"
    assert "far |= t1 > 3" in first
    assert last[-2:] == ["t5 = z[i] - x[i]", "y[i] = t1 * t4 * t5"]


@pytest.mark.parametrize("dear", ["np.arcsinh(x[i])", "x[i] / z[i]", "sin_f64(x[i])"])
def test_what_takes_long_is_kept(dear: str) -> None:
    bodies = cut_up(
        f"t1 := {dear}",
        "far |= np.abs(t1) >= 4096.0",
        "t2 := near_sin_f64(t1)",
        "t3 := exp_f64(t2)",
        "t4 := exp_f64(t3)",
        "y[i] = t4 - t1",
    )
    assert sum(dear in line for body in bodies for line in body) == 1


def test_long_chains_have_four_loops() -> None:
    lines = ["t1 := x[i]", *(f"t{k + 1} := tanh_f64(t{k})" for k in range(1, 15)), "y[i] = t15"]
    calls = [sum("tanh" in line for line in body if "step" not in line) for body in cut_up(*lines)]
    assert calls == [4, 4, 4, 2]


THREE = ("t1 := exp_f64(x[i])", "t2 := exp_f64(t1)", "t3 := exp_f64(t2)")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (THREE, True),
        (THREE[:2], False),
        ([line.replace("f64", "f32") for line in THREE], False),
        (["t1 := exp_f64(x[i])", "t2 := log_f64(x[i])", "t3 := tanh_f64(z[i])"], False),
        ([*THREE, "if t1 > 0:", "    raise IndexError('no')"], False),
        ([*THREE, "y[i] = t3"], True),
        ([f"t{k + 1} := tanh_f64(t{k})" for k in range(32)], True),
        ([f"t{k + 1} := tanh_f64(t{k})" for k in range(33)], False),
        ([], False),
    ],
)
def test_which_loops_are_cut(lines: list[str], expected: bool) -> None:
    assert can_be_cut(statements(*lines)) is expected


def code(inputs: list[Tensor], outputs: list[Any]) -> str:
    """Return the source of a program without comments, which show the lines of these tests."""
    lines = lowered(sg.optimize(Graph(inputs, outputs))).body.splitlines()
    return "\n".join(line for line in lines if not line.strip().startswith("#"))


def is_cut(inputs: list[Tensor], outputs: list[Any]) -> bool:
    return code(inputs, outputs).count("for step in") > 1


def test_loops_inside_loops_stay_whole() -> None:
    """An axis may turn out to have five elements: four loops over them would take longer."""
    x, w = sg.matrix("x", ("m", "n")), sg.vector("w", "n")
    links = np.tanh(np.tanh(np.tanh(x * w)))
    assert not is_cut([x, w], [links])
    v = sg.vector("v", "n")
    assert is_cut([v, w], [np.tanh(np.tanh(np.tanh(v * w)))])
    short = sg.vector("short", 256)
    assert not is_cut([short], [np.tanh(np.tanh(np.tanh(short)))])


MODELS: dict[str, Callable[[Any, Any], Any]] = {
    "three links": lambda x, z: np.tanh(np.exp(np.sin(x * z))),
    "three at once": lambda x, z: np.exp(np.sin(x) + np.cos(z) * np.tanh(x)),
    "both": lambda x, z: np.log(2 + np.sin(np.exp(-(x**2)))) * np.sin(np.exp(z)) + np.log(4 + x),
    "choices": lambda x, z: np.where(x > z, np.sin(np.exp(x)), np.exp(np.sin(z))),
    "neighbours": lambda x, z: np.sin(np.exp(np.tanh(x))) * np.tanh(z)[::-1],
    "shared divisors": lambda x, z: (
        np.sin(np.log(x + 9)) / np.exp(z) + x / np.log(x + 9) + z / np.exp(z)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_values_and_gradients(name: str) -> None:
    x, z = sg.vector("x", "n"), sg.vector("z", "n")
    y = MODELS[name](x, z)
    loss = np.sum(y * z)
    outputs = [y, loss, np.max(y), *sg.grad(loss, [x, z])]
    assert is_cut([x, z], outputs)
    f = sg.compile([x, z], outputs)
    rng = np.random.default_rng(0)
    for n in SIZES:
        values = [rng.normal(size=n) for _ in range(2)]
        for got, wanted in zip(f(*values), evaluate([x, z], outputs, *values), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(["sin", "tanh", "exp", "log1p"]), min_size=3, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.integers(1, 600),
)
def test_any_chain(functions: list[str], kept: list[bool], n: int) -> None:
    x = sg.vector("x", "n")
    value, outputs = x, []
    for name, keep in zip(functions, kept, strict=False):
        value = getattr(np, name)(np.absolute(value) if name == "log1p" else value * 0.5)
        if keep:
            outputs += [value * x, np.sum(value)]
    outputs += [value, sg.grad(np.sum(value**2), x)]
    given_x = np.linspace(-1.5, 2, n)
    got = sg.compile(x, outputs)(given_x)
    for found, wanted in zip(got, evaluate([x], outputs, given_x), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12)


NOT_FINITE = [np.inf, -np.inf, np.nan]


class TestSharedDivisors:
    @staticmethod
    def quotients(divisor: Callable[[Any], Any]) -> tuple[list[Tensor], list[Any]]:
        x, a, b = (sg.vector(name, "n") for name in "xab")
        return [x, a, b], [a / divisor(x), b / divisor(x), divisor(x)]

    def test_where(self) -> None:
        """Two quotients by one function's value in float64, and no others."""
        inputs, (first, second, _) = self.quotients(np.exp)
        assert "near_quotient" in code(inputs, [first, second])
        assert "near_quotient" not in code(inputs, [first])
        x, a, b = inputs
        assert "near_quotient" not in code(inputs, [a / x, b / x])
        assert "near_quotient" not in code(inputs, [a / (x + 1), b / (x + 1)])
        singles = [sg.vector(name, "n", "float32") for name in "xab"]
        x, a, b = singles
        assert "near_quotient" not in code(singles, [a / np.exp(x), b / np.exp(x)])

    @pytest.mark.parametrize("divisor", [np.exp, np.log, np.sin, np.tanh])
    @pytest.mark.parametrize("n", [3, 300])
    def test_within_an_ulp_and_a_half(self, divisor: Callable[[Any], Any], n: int) -> None:
        """Against the exact quotient by what the program itself has for the divisor."""
        inputs, outputs = self.quotients(divisor)
        f = sg.compile(inputs, outputs)
        rng = np.random.default_rng(n)
        x, a, b = rng.uniform(0.1, 3, n), rng.normal(size=n), np.exp(rng.uniform(-300, 300, n))
        first, second, d = f(x, a, b)
        for numerator, found in ((a, first), (b, second)):
            exact = numerator.astype(np.longdouble) / d
            error = np.abs(found - exact) / np.spacing(np.abs(found))
            assert np.max(error) <= 1.5

    def test_logarithms_to_a_base(self) -> None:
        """What one function has for two arguments is divided exactly: log(8)/log(2) is 3."""
        x, y, base = (sg.vector(name, "n") for name in ("x", "y", "base"))
        f = sg.compile([x, y, base], [np.log(x) / np.log(base), np.log(y) / np.log(base)])
        bases = np.repeat([2.0, 3.0, 5.0, 10.0], 15)
        powers = bases ** np.resize(np.arange(1.0, 16), 60)
        first, second = f(powers, bases, bases)
        log = sg.compile(base, np.log(base))
        np.testing.assert_array_equal(first, log(powers) / log(bases))
        assert np.all(second == 1)

    def test_others_beside_an_extreme_one(self) -> None:
        """What an element is does not depend on its neighbours, to the last bit."""
        inputs, outputs = self.quotients(np.exp)
        f = sg.compile(inputs, outputs)
        x, a = np.linspace(-3, 3, 700), np.linspace(1, 2, 700)
        expected = f(x, a, -a)
        for number in (-800.0, 800.0):
            beside = x.copy()
            beside[300] = number
            for found, wanted in zip(f(beside, a, -a), expected, strict=True):
                np.testing.assert_array_equal(np.delete(found, 300), np.delete(wanted, 300))

    def test_in_python(self) -> None:
        """The functions run without Numba, too, where Python's own division raises."""
        with np.errstate(all="ignore"):
            functions: list[Any] = [float64.near_quotient_f64, float64.quotient_f64]
            for function in functions:
                assert function(1.0, 0.0) == np.inf
                assert function(6.0, 2.0) == 3.0

    @pytest.mark.parametrize("where", ["first", "last", "alone"])
    def test_divisors_without_a_reciprocal(self, where: str) -> None:
        """Zeros, subnormal and huge numbers, infinities: exactly what division gives."""
        inputs, outputs = self.quotients(np.exp)
        f = sg.compile(inputs, outputs)
        hard = [-1e4, -745.0, -740.0, -720.0, -709.0, 708.5, 709.7, 800.0, np.inf, -np.inf]
        numerators = [0.0, -0.0, 1.0, -1e-300, 5e-324, 1e308, np.inf, -np.inf, np.nan]
        numerators += list(np.random.default_rng(0).normal(size=50))
        easy = np.linspace(-2, 2, 300) if where != "alone" else np.empty(0)
        for number in hard:
            x = np.concatenate([np.full(len(numerators), number), easy])
            a = np.resize(numerators, len(x))
            if where == "last":
                x, a = x[::-1], a[::-1]
            first, second, d = f(x, a, -a)
            with np.errstate(all="ignore"):
                for found, exact in ((first, a / d), (second, -a / d)):
                    np.testing.assert_array_equal(found[x == number], exact[x == number])
                    numbers = ~np.isnan(exact)
                    assert np.array_equal(np.signbit(found)[numbers], np.signbit(exact)[numbers])

    @pytest.mark.parametrize("divisor", [np.log, np.log2, np.log10, np.cos])
    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    def test_divisors_that_are_never_extreme(
        self, divisor: Callable[[Any], Any], dtype: type
    ) -> None:
        """They are zero or infinite at most, where a product by the reciprocal is right as well."""
        kind = np.dtype(dtype).name
        x, a, b = inputs = [sg.vector(name, "n", kind) for name in "xab"]
        outputs = [a / divisor(x), b / divisor(x), divisor(x)]
        assert "shared_quotient" in code(inputs, outputs)
        assert "extreme" not in code(inputs, outputs)
        info = np.finfo(dtype)
        ends = [0, info.smallest_subnormal, info.tiny, 1 - info.epsneg, 1, 1 + info.eps, info.max]
        half: Any = np.float64(np.pi / 2).astype(dtype)
        points = [*ends, *NOT_FINITE, -1, half, np.nextafter(half, dtype(2)), 2, 3, 8]
        others = [info.smallest_subnormal, info.max, *NOT_FINITE]
        numerators = [0.0, -0.0, 1, -2.5, *others]
        given_x: Array = np.repeat(np.array(points, dtype), len(numerators))
        given_a: Array = np.resize(np.array(numerators, dtype), len(given_x))
        first, second, d = sg.compile(inputs, outputs)(given_x, given_a, -given_a)
        with np.errstate(all="ignore"):
            exact = given_a.astype(np.longdouble) / d
            rounded = exact.astype(dtype)
            for found, sign in ((first, 1), (second, -1)):
                wanted = sign * rounded
                finite = np.isfinite(found) & np.isfinite(wanted)
                np.testing.assert_array_equal(found[~finite], wanted[~finite])
                error = np.abs(found - sign * exact)[finite] / np.spacing(np.abs(found[finite]))
                assert np.max(error) <= 1.5
                assert np.array_equal(np.signbit(found[finite]), np.signbit(wanted[finite]))


def test_sums_of_neighbours() -> None:
    """They are computed under a condition, which no loop over a strip has in it."""
    x, y, z, w = (sg.vector(name, "n") for name in "xyzw")
    a, b, c, d = (v[1:] - v[:-1] for v in (x, y, z, w))
    pairs = np.tanh(a - b) * np.exp(c - d) - np.sinh(a - c) * np.log1p(b - d)
    total = np.sum(pairs - np.expm1(a - d) * np.arctan(b - c))
    outputs = [total, np.sum(x)]
    assert "if i < n - 1:" in code([x, y, z, w], outputs)
    values = [np.random.default_rng(k).uniform(0, 0.4, 300) for k in range(4)]
    found = sg.compile([x, y, z, w], outputs)(*values)
    for got, wanted in zip(found, evaluate([x, y, z, w], outputs, *values), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-12)


def test_memory_is_a_few_strips() -> None:
    """Neither the size of the data makes more of it, nor the number of loops."""
    x = sg.vector("x", "n")
    h: Any = x
    for _ in range(3):
        h = np.tanh(np.exp(np.sin(h)))
        h /= np.sum(h)
    values = np.linspace(0, 1, 1000)
    expected = values
    for _ in range(3):
        expected = np.tanh(np.exp(np.sin(expected)))
        expected /= np.sum(expected)
    np.testing.assert_allclose(sg.compile(x, h)(values), expected, rtol=1e-12)
    source = lowered(sg.optimize(Graph([x], [h])))
    assert source.body.count("for step") == 12  # the first three again with full forms
    strips = [a for a in source.allocations if a.shape == (256,)]
    assert len(strips) == 2
