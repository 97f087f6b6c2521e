"""Symbolic sizes are integer polynomials: their arithmetic is that of the integers behind."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from symgrad import errors
from symgrad.ir.size import (
    Dim,
    Size,
    add,
    divide,
    evaluate,
    evaluator,
    floordiv,
    grows_faster,
    multiply,
    names_in,
    product,
    shape_text,
)
from tests.dags import steady

N, M, K = Size.named("n"), Size.named("m"), Size.named("k")
VALUES = {"n": 7, "m": 3, "k": 11}


def number(dim: Dim) -> int:
    return dim.value(VALUES) if isinstance(dim, Size) else dim


def _pairs(inner: st.SearchStrategy[Dim]) -> st.SearchStrategy[Dim]:
    return st.one_of(
        st.builds(add, inner, inner),
        st.builds(multiply, inner, inner),
        st.builds(lambda a: multiply(a, -1), inner),
        st.builds(floordiv, inner, st.integers(1, 4)),
    )


dims: st.SearchStrategy[Dim] = st.recursive(
    st.one_of(st.sampled_from([N, M, K]), st.integers(-4, 4)), _pairs, max_leaves=6
)


@given(dims, dims)
@steady
def test_arithmetic_is_that_of_integers(a: Dim, b: Dim) -> None:
    assert number(a + b) == number(a) + number(b)
    assert number(a - b) == number(a) - number(b)
    assert number(a * b) == number(a) * number(b)
    assert number(-a) == -number(a)


@given(dims, dims, dims)
@steady
def test_equal_polynomials_are_equal_values(a: Dim, b: Dim, c: Dim) -> None:
    assert a + b == b + a
    assert a * b == b * a
    assert (a + b) + c == a + (b + c)
    assert (a * b) * c == a * (b * c)
    assert a * (b + c) == a * b + a * c
    assert a - a == 0
    assert hash(a + b) == hash(b + a)


@given(dims, st.integers(1, 9))
@steady
def test_floor_division_is_that_of_integers(a: Dim, divisor: int) -> None:
    assert number(floordiv(a, divisor)) == number(a) // divisor
    assert floordiv(multiply(a, divisor), divisor) == a


@given(dims, dims)
@steady
def test_division_is_exact_or_none(a: Dim, b: Dim) -> None:
    quotient = divide(a, b)
    if quotient is not None:
        assert multiply(quotient, b) == a


@given(dims, st.sampled_from([N, M, multiply(N, K), 2, multiply(3, N)]))
@steady
def test_division_undoes_multiplication_by_one_term(a: Dim, b: Dim) -> None:
    assert divide(multiply(a, b), b) == a


@given(dims)
@steady
def test_pickling_keeps_equality(a: Dim) -> None:
    copy = pickle.loads(pickle.dumps(a))
    assert copy == a and hash(copy) == hash(a) and str(copy) == str(a)


@given(dims, dims)
@steady
def test_what_grows_faster_is_larger_for_large_sizes(a: Dim, b: Dim) -> None:
    assume(names_in(a) | names_in(b) and "//" not in f"{a}{b}")
    if grows_faster(a, b):
        large = {"n": 10**6, "m": 10**6, "k": 10**6}
        assert evaluate(a, large) > evaluate(b, large)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("dim", "text"),
    [
        (N, "n"),
        (N + 1, "n + 1"),
        (1 + N, "n + 1"),
        (N - 1, "n - 1"),
        (2 * N, "2*n"),
        (-N, "-n"),
        (3 - N, "-n + 3"),
        (N * M, "m*n"),
        (N * N, "n*n"),
        (N // 2, "((n) // 2)"),
        ((N + 1) // 2 + M, "m + ((n + 1) // 2)"),
        (N - N + 4, "4"),
        (N + M - N, "m"),
        (2 * N // 2, "n"),
    ],
)
def test_text(dim: Dim, text: str) -> None:
    assert sorted(str(dim).split(" + ")) == sorted(text.split(" + "))


@given(dims, dims)
@steady
def test_a_compiled_evaluator_gives_the_same(a: Dim, b: Dim) -> None:
    value = (a, (b, 1, a), (), (b,), -2, floordiv(a, 3))
    compiled = evaluator(value)
    for sizes in (VALUES, {"n": 1, "m": 50, "k": 2, "other": 4}):
        assert compiled(sizes) == evaluate(value, sizes)


def test_names_product_and_shape_text() -> None:
    assert names_in((N, (M + 1, 3), N // 2)) == {"n", "m"}
    assert names_in(((N * K + 1) // 2,)) == {"n", "k"}
    assert product([N, 3, M]) == 3 * N * M
    assert product([]) == 1
    assert shape_text((N, 64)) == "n, 64"
    assert evaluate((N, (M, "text"), 2), VALUES) == (7, (3, "text"), 2)


@pytest.mark.parametrize(
    "use",
    [
        int,
        float,
        bool,
        range,
        lambda n: [0] * n,
        lambda n: 1 / n,
        lambda n: n / 2,
        lambda n: [1, 2, 3][n],
        lambda n: "yes" if n else "no",
    ],
)
def test_a_size_is_no_number_before_a_call(use: Callable[[Dim], object]) -> None:
    with pytest.raises(errors.SymbolicError, match=r"the size n has no value before a call"):
        use(N)


def test_a_size_divides_by_positive_integers_only() -> None:
    for divisor in (0, -2):
        with pytest.raises(errors.ShapeError, match="positive integer"):
            N // divisor


def test_comparison_of_sizes_is_by_value() -> None:
    assert (N == 3) is False
    assert N != M
    assert {N + 1: "a"}[1 + N] == "a"
    with pytest.raises(TypeError):
        N < 3  # type: ignore[operator]  # noqa: B015
