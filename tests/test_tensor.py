"""Tensors do what arrays do: operators, NumPy's functions, promotion, indexing, sizes."""

from __future__ import annotations

import itertools
import operator
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import symgrad as sg
from symgrad.ir.size import Size
from symgrad.ir.types import DTYPES, Array
from symgrad.tensor import FUNCTIONS, Tensor
from tests.numeric import assert_close, evaluate

steady = settings(derandomize=True, deadline=None, max_examples=60)
RNG = np.random.default_rng(5)
A, B = RNG.uniform(0.2, 2, (3, 4)), RNG.uniform(0.2, 2, (3, 4))
M, V = RNG.normal(size=(4, 2)), RNG.normal(size=4)
COUNTS = RNG.integers(1, 6, (3, 4))
T = RNG.normal(size=(2, 3, 4))


def agree(function: Callable[..., Any], *arrays: Array) -> None:
    """Assert that ``function`` does to tensors what it does to arrays, dtype included."""
    inputs = [sg.tensor(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
    with np.errstate(all="ignore"):
        got, expected = function(*inputs), function(*arrays)
    several = isinstance(expected, list | tuple)
    outputs, results = (list(got), expected) if several else ([got], [expected])
    for t, value, result in zip(outputs, evaluate(inputs, outputs, *arrays), results, strict=True):
        assert isinstance(t, Tensor)
        result = np.asarray(result)
        assert (t.shape, t.dtype) == (result.shape, result.dtype)
        assert_close(value, result, 1e-13 if result.dtype != np.float32 else 1e-6)


BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    operator.pow,
    operator.eq,
    operator.ne,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
]


@pytest.mark.parametrize("function", BINARY)
def test_binary_operators(function: Callable[[Any, Any], Any]) -> None:
    agree(function, A, B)
    agree(function, A, V)
    if function is not operator.pow:
        agree(function, COUNTS, COUNTS[0])
    agree(lambda a: function(a, 2), A)
    agree(lambda a: function(2, a), A)
    agree(lambda a: function(a, B), A)
    agree(lambda a: function(B, a), A)
    agree(lambda a: function(np.float32(2), a), A.astype(np.float32))


@pytest.mark.parametrize("function", [operator.neg, operator.pos, abs, round])
def test_unary_operators(function: Callable[[Any], Any]) -> None:
    agree(
        lambda a: function(a) if function is not round or isinstance(a, Tensor) else np.round(a), A
    )


@pytest.mark.parametrize("function", [operator.and_, operator.or_, operator.xor])
def test_logical_operators(function: Callable[[Any, Any], Any]) -> None:
    agree(lambda a, b: function(a > 1, b > 1), A, B)
    agree(lambda a: function(a > 1, B > 1), A)
    agree(lambda a: function(B > 1, a > 1), A)
    agree(lambda a: function(True, a > 1), A)
    agree(lambda a: ~(a > 1), A)


@pytest.mark.parametrize(
    ("a", "b"), [(A, M), (V, M), (A, V), (V, V), (T, M), (A, T.swapaxes(1, 2)), (COUNTS, COUNTS.T)]
)
def test_matrix_product(a: Array, b: Array) -> None:
    agree(operator.matmul, a, b)
    agree(lambda x: x @ b, a)
    agree(lambda y: a @ y, b)


ONE: list[Callable[[Any], Any]] = [
    np.sum,
    np.mean,
    np.max,
    np.min,
    np.prod,
    np.var,
    np.std,
    np.any,
    np.all,
    np.argmax,
    np.argmin,
    np.average,
    np.amax,
    np.amin,
    np.exp,
    np.exp2,
    np.expm1,
    np.log,
    np.log2,
    np.log10,
    np.log1p,
    np.sqrt,
    np.cbrt,
    np.square,
    np.reciprocal,
    np.sin,
    np.cos,
    np.tan,
    np.arctan,
    np.sinh,
    np.cosh,
    np.tanh,
    np.arcsinh,
    np.abs,
    np.fabs,
    np.sign,
    np.negative,
    np.floor,
    np.ceil,
    np.trunc,
    np.rint,
    np.round,
    np.isnan,
    np.isinf,
    np.isfinite,
    np.transpose,
    np.ravel,
    np.flip,
    np.zeros_like,
    np.ones_like,
    np.linalg.norm,
    lambda a: np.sum(a, axis=0),
    lambda a: np.sum(a, 1),
    lambda a: np.sum(a, axis=(0, 1)),
    lambda a: np.sum(a, axis=-1, keepdims=True),
    lambda a: np.mean(a, axis=(0, -1), keepdims=True),
    lambda a: np.max(a, axis=0, keepdims=True),
    lambda a: np.var(a, axis=1, ddof=1),
    lambda a: np.std(a, axis=0, ddof=1, keepdims=True),
    lambda a: np.argmax(a, axis=1),
    lambda a: np.argmin(a, axis=0, keepdims=True),
    lambda a: np.argmax(a, keepdims=True),
    lambda a: np.any(a > 1, axis=0),
    lambda a: np.all(a > 1, axis=1, keepdims=True),
    lambda a: np.sum(a > 1),
    lambda a: np.mean(a > 1),
    lambda a: np.prod(a > 1),
    lambda a: np.max(a > 1),
    lambda a: np.round(a, 1),
    lambda a: np.clip(a, 0.5, 1.5),
    lambda a: np.clip(a, None, 1),
    lambda a: np.clip(a, 1, None),
    lambda a: np.clip(a, min=1),
    lambda a: np.reshape(a, (2, 6)),
    lambda a: np.reshape(a, -1),
    lambda a: np.reshape(a, (-1, 2)),
    lambda a: np.swapaxes(a, 0, 1),
    lambda a: np.moveaxis(a, 0, -1),
    lambda a: np.matrix_transpose(a),
    lambda a: np.expand_dims(a, 0),
    lambda a: np.expand_dims(a, (0, 2)),
    lambda a: np.squeeze(np.expand_dims(a, (0, 2))),
    lambda a: np.squeeze(np.expand_dims(a, 1), axis=1),
    lambda a: np.atleast_1d(a),
    lambda a: np.atleast_2d(a[0]),
    lambda a: np.broadcast_to(a, (2, 3, 4)),
    lambda a: np.flip(a, 1),
    lambda a: np.flip(a, (0, 1)),
    lambda a: np.concatenate([a, B]),
    lambda a: np.concatenate([a, a], axis=1),
    lambda a: np.concatenate([a, B], axis=None),
    lambda a: np.stack([a, B], axis=1),
    lambda a: np.stack([a, B], axis=-1),
    lambda a: np.vstack([a, a[0]]),
    lambda a: np.hstack([a, a]),
    lambda a: np.hstack([a[0], V]),
    lambda a: np.column_stack([a[:, 0], a[:, 1], a]),
    lambda a: np.split(a, 2, axis=1),
    lambda a: np.full_like(a, 2),
    lambda a: np.take(a, [0, 2], axis=0),
    lambda a: np.take(a, [5, -1]),
    lambda a: np.take(a, 1, axis=1),
    lambda a: np.take_along_axis(a, COUNTS[:, :2] % 4, axis=1),
    lambda a: np.where(a > 1, a, 0),
    lambda a: np.where(a > 1, 1, 0),
    lambda a: np.where(a > 1, a, B),
    lambda a: np.trace(a[:, :3]),
    lambda a: np.diagonal(a[:, :3]),
    lambda a: np.linalg.norm(a, axis=1),
    lambda a: np.power(a, 3),
    lambda a: np.float_power(a, 2),
]  # fmt: skip


def identity(index: int) -> str:
    return getattr(ONE[index], "__name__", "").replace("<lambda>", f"call{index}")


@pytest.mark.parametrize("index", range(len(ONE)), ids=identity)
def test_numpy_functions_of_one_tensor(index: int) -> None:
    agree(ONE[index], A)


@pytest.mark.parametrize("index", range(len(ONE)), ids=identity)
def test_numpy_functions_of_an_integer_tensor(index: int) -> None:
    if ONE[index] is np.reciprocal:
        return  # NumPy's is 0 for all integers but 1 and -1; ours is the reciprocal.
    agree(ONE[index], COUNTS)


@pytest.mark.parametrize("index", range(len(ONE)), ids=identity)
def test_numpy_functions_of_a_float32_tensor(index: int) -> None:
    agree(ONE[index], A.astype(np.float32))


@pytest.mark.parametrize(
    "function",
    [
        np.add,
        np.subtract,
        np.multiply,
        np.divide,
        np.true_divide,
        np.floor_divide,
        np.remainder,
        np.mod,
        np.power,
        np.maximum,
        np.minimum,
        np.arctan2,
        np.hypot,
        np.logaddexp,
        np.equal,
        np.not_equal,
        np.less,
        np.less_equal,
        np.greater,
        np.greater_equal,
        np.logical_and,
        np.logical_or,
        np.logical_xor,
    ],
)
def test_numpy_functions_of_two_tensors(function: Callable[[Any, Any], Any]) -> None:
    agree(function, A, B)
    agree(function, A, V)
    agree(lambda a: function(a, B), A)
    agree(lambda a: function(B, a), A)
    if function is not np.power:
        agree(function, COUNTS, COUNTS + 1)
    agree(function, A.astype(np.float32), B)


@pytest.mark.parametrize(
    ("function", "a", "b"),
    [
        (np.dot, A, M),
        (np.dot, V, V),
        (np.dot, A, V),
        (np.dot, np.array(2.0), A),
        (np.matmul, T, M),
        (np.inner, A, B),
        (np.inner, V, V),
        (np.outer, V, V),
        (np.outer, A, V),
        (np.vdot, A, B),
    ],
)
def test_numpy_products(function: Callable[[Any, Any], Any], a: Array, b: Array) -> None:
    agree(function, a, b)


METHODS: list[Callable[[Any], Any]] = [
    lambda a: a.T,
    lambda a: a.mT,
    lambda a: a.sum(),
    lambda a: a.sum(0),
    lambda a: a.mean(axis=1, keepdims=True),
    lambda a: a.max(axis=-1),
    lambda a: a.min(),
    lambda a: a.prod(axis=0),
    lambda a: a.var(ddof=1),
    lambda a: a.std(axis=1),
    lambda a: a.argmax(),
    lambda a: a.argmin(axis=0),
    lambda a: a.any(),
    lambda a: a.all(axis=0),
    lambda a: a.reshape(2, 6),
    lambda a: a.reshape((4, -1)),
    lambda a: a.reshape(-1),
    lambda a: a.ravel(),
    lambda a: a.flatten(),
    lambda a: a.transpose(),
    lambda a: a.transpose(1, 0),
    lambda a: a.transpose((1, 0)),
    lambda a: a.swapaxes(0, 1),
    lambda a: a.reshape(1, 3, 4).squeeze(),
    lambda a: a.reshape(3, 1, 4).squeeze(1),
    lambda a: a.astype("float32"),
    lambda a: a.astype(np.int64),
    lambda a: a.astype(bool),
    lambda a: a.dot(M),
    lambda a: a.clip(0.5, 1.5),
    lambda a: a.clip(min=1),
    lambda a: a.round(1),
    lambda a: a.copy(),
    lambda a: list(a),
    lambda a: list(reversed(a)),
]


@pytest.mark.parametrize("index", range(len(METHODS)))
def test_methods_of_arrays(index: int) -> None:
    agree(METHODS[index], A)


def test_attributes_of_arrays() -> None:
    x = sg.tensor("x", ("n", 4), "float32")
    assert (x.ndim, x.dtype, x.name) == (2, np.dtype("float32"), "x")
    assert str(x.size) == "4*n"
    assert np.shape(x) == x.shape and np.ndim(x) == 2 and np.size(x, 1) == 4
    assert np.size(x) == x.size
    assert len(sg.tensor("y", (3, 4))) == 3
    assert "x: float32[n, 4], made at test_tensor.py" in repr(x)
    assert x is x.copy() and hash(x) == hash(x)


def test_special_functions_agree_with_scipy() -> None:
    import scipy.special

    for name in sg.special.__all__:
        ours, theirs = getattr(sg.special, name), getattr(scipy.special, name, None)
        if name == "logaddexp":
            continue
        x = sg.tensor("x", A.shape)
        assert_close(evaluate([x], [ours(x)], A)[0], theirs(A), 1e-13)  # type: ignore[misc]
    for axis, keepdims in itertools.product([None, 0, (0, 1)], [False, True]):
        y = sg.special.logsumexp(x, axis=axis, keepdims=keepdims)
        expected = scipy.special.logsumexp(A, axis=axis, keepdims=keepdims)
        assert_close(evaluate([x], [y], A)[0], np.asarray(expected), 1e-13)


# Promotion

SCALARS: list[Any] = [2, 2.5, True, np.float32(2), np.float64(2), np.int32(2), np.int64(2)]


@pytest.mark.parametrize(
    "function",
    [np.add, np.multiply, np.divide, np.maximum, np.power, np.floor_divide, np.remainder],
)
def test_promotion_follows_numpy(function: np.ufunc) -> None:
    for a, b in itertools.product(DTYPES.values(), repeat=2):
        check_promotion(function, np.ones(3, a), np.ones(3, b))
    for a, scalar in itertools.product(DTYPES.values(), SCALARS):
        check_promotion(function, np.ones(3, a), scalar)


def check_promotion(function: np.ufunc, a: Array, b: Any) -> None:
    x = sg.tensor("x", a.shape, a.dtype)
    y = sg.tensor("y", b.shape, b.dtype) if isinstance(b, np.ndarray) else b
    try:
        expected = function(a, b).dtype
        swapped = function(b, a).dtype
    except TypeError:
        return
    known = expected.name in DTYPES and (
        expected.kind != "b" or function not in (np.add, np.multiply)
    )
    if function is np.power and expected.kind == "i":
        return  # An integer power that may be negative is an error, whatever the dtypes.
    if not known:
        with pytest.raises(sg.errors.DtypeError):
            function(x, y)
        return
    assert function(x, y).dtype == expected
    assert function(y, x).dtype == swapped


@pytest.mark.parametrize("scalar", [2, 2.5])
def test_python_numbers_are_weak(scalar: float) -> None:
    x = sg.tensor("x", (3,), "float32")
    for result in (
        x + scalar,
        scalar * x,
        x**scalar,
        np.maximum(x, scalar),
        np.where(x > 0, x, scalar),
    ):
        assert result.dtype == np.float32
    assert (x + np.float64(2)).dtype == np.float64


def test_sums_of_small_integers_are_int64() -> None:
    for dtype in ("int32", "int64", "bool"):
        array = np.ones((3, 4), dtype)
        agree(np.sum, array)
        agree(lambda a: np.sum(a, axis=0), array)
        agree(np.prod, array)
        agree(np.max, array)
        agree(np.mean, array)


# Indexing

ARRAY = np.arange(3 * 4 * 5, dtype=np.float64).reshape(3, 4, 5)
rows, columns = np.array([2, 0, 1, -1]), np.array([[1], [0]])
KEYS: list[Any] = [
    0,
    -1,
    (1, 2),
    (1, 2, 3),
    (-1, -2, -3),
    slice(None),
    slice(1, 3),
    slice(None, None, 2),
    slice(None, None, -1),
    slice(2, None, -2),
    slice(5, 1),
    slice(-2, None),
    slice(-100, 100),
    slice(3, 3),
    (slice(None), 1),
    (slice(1, None), slice(None, -1), slice(None, None, 2)),
    Ellipsis,
    (Ellipsis, 0),
    (0, Ellipsis),
    (0, Ellipsis, 1),
    (Ellipsis, slice(1, 3)),
    None,
    (None, 0),
    (0, None),
    (slice(None), None, 1),
    (Ellipsis, None),
    (None, Ellipsis, None, 0),
    rows,
    [2, 0],
    (rows, rows),
    (rows, 1),
    (1, rows),
    (rows, slice(None), 1),
    (slice(None), rows),
    (slice(None), rows, 1),
    (slice(None), 1, rows),
    (1, slice(None), rows),
    (Ellipsis, rows),
    (rows, Ellipsis),
    (rows, slice(None), rows),
    (columns, rows),
    (slice(None), columns, rows),
    (columns, slice(1, 3), rows),
    (None, rows),
    (rows, None),
    (rows, None, rows),
    (None, rows, None, slice(None), rows, None),
    (slice(None, None, -1), rows),
    np.array([True, False, True]),
    (slice(None), np.array([True, False, True, True])),
    np.int64(1),
    np.array(1),
    (np.array(1), 2),
    np.empty(0, dtype=int),
    [],
    (),
    (0, 0, 0, None),
    (rows, 0, 0),
    (0, rows, None, 0),
    (0, None, rows),
]


@pytest.mark.parametrize("index", range(len(KEYS)))
def test_indexing(index: int) -> None:
    agree(lambda a: a[KEYS[index]], ARRAY)


@given(hnp.basic_indices((3, 4, 5), allow_newaxis=True))
@steady
def test_basic_indexing(key: Any) -> None:
    agree(lambda a: a[key], ARRAY)


parts = st.one_of(
    st.integers(-3, 2),
    st.slices(3),
    st.none(),
    hnp.arrays(
        np.int64,
        st.sampled_from([(), (1,), (2,), (1, 1), (3, 1), (3, 2)]),
        elements=st.integers(-3, 2),
    ),
)


@given(st.lists(parts, max_size=5), st.none() | st.integers(0, 5))
@settings(steady, max_examples=300)
def test_advanced_indexing(key: list[Any], ellipsis: int | None) -> None:
    while sum(part is not None for part in key) > 3:
        key = key[:-1]
    if ellipsis is not None:
        key = [*key[:ellipsis], Ellipsis, *key[ellipsis:]]
    agree(lambda a: a[tuple(key)], ARRAY)


def test_indexing_by_tensors() -> None:
    agree(lambda a, i: a[i], ARRAY, rows)
    agree(lambda a, i: a[:, i], ARRAY, rows)
    agree(lambda a, i, j: a[i, j], ARRAY, columns, rows)
    agree(lambda a, i: a[i, 1:, None], ARRAY, np.array([1, 0], dtype=np.int32))
    i = sg.tensor("i", (4,), "int64")
    agreed = sg.constant(ARRAY)[i]
    assert_close(evaluate([i], [agreed], rows)[0], ARRAY[rows], 0)


@pytest.mark.parametrize("index", range(len(KEYS)))
def test_gradient_of_indexing_adds_where_it_was_read(index: int) -> None:
    x = sg.tensor("x", ARRAY.shape)
    y = x[KEYS[index]]
    expected = np.zeros(ARRAY.shape)
    np.add.at(expected, KEYS[index], 1)
    [found] = evaluate([x], [sg.grad(sg.sum(y), x)], ARRAY)
    assert_close(found, expected, 0)


# Named sizes


def sizes(*shape: Any) -> Tensor:
    return sg.tensor("x", shape)


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        (slice(None), "n, 4"),
        (slice(1, None), "n - 1, 4"),
        (slice(None, -1), "n - 1, 4"),
        (slice(1, -1), "n - 2, 4"),
        (slice(None, None, -1), "n, 4"),
        (slice(-2, None), "2, 4"),
        (slice(1, 3), "2, 4"),
        (slice(None, None, 2), "((n + 1) // 2), 4"),
        (0, "4"),
        (-1, "4"),
        ((-1, 1), ""),
        ((Ellipsis, 1), "n"),
        ((None, slice(None, -2)), "1, n - 2, 4"),
        (slice(-3, -1), "2, 4"),
        (slice(None, None, -2), "((n + 1) // 2), 4"),
    ],
)
def test_slices_of_named_sizes(key: Any, shape: str) -> None:
    x = sizes("n", 4)
    y = x[key]
    assert ", ".join(map(str, y.shape)) == shape
    for n in (5, 6):
        array = RNG.normal(size=(n, 4))
        found, gradient = evaluate([x], [y, sg.grad(sg.sum(y), x)], array)
        assert_close(found, array[key], 0)
        expected = np.zeros((n, 4))
        expected[key] = 1
        assert_close(gradient, expected, 0)


def test_reshape_of_named_sizes() -> None:
    x = sizes("n", "m", 6)
    assert [str(d) for d in x.reshape(-1).shape] == ["6*m*n"]
    assert [str(d) for d in x.reshape(-1, 6).shape] == ["m*n", "6"]
    assert [str(d) for d in x.reshape("n", -1).shape] == ["n", "6*m"]
    assert [str(d) for d in x.reshape(x.shape[0], -1, 2).shape] == ["n", "3*m", "2"]
    assert x.reshape(x.shape) is x
    array = RNG.normal(size=(2, 3, 6))
    y = x.reshape(x.shape[0] * x.shape[1], 2, -1)
    assert_close(evaluate([x], [y], array)[0], array.reshape(6, 2, 3), 0)
    with pytest.raises(sg.errors.ShapeError, match="does not divide"):
        x.reshape(-1, 4, 5)


def test_joining_named_sizes() -> None:
    x, y = sg.tensor("x", ("n", 2)), sg.tensor("y", ("m", 2))
    z: Any = np.concatenate([x, y])
    assert str(z.shape[0]) == "m + n"
    a, b = RNG.normal(size=(3, 2)), RNG.normal(size=(4, 2))
    found, gradient = evaluate([x, y], [z, sg.grad(sg.sum(z * z), y)], a, b)
    assert_close(found, np.concatenate([a, b]), 0)
    assert_close(gradient, 2 * b, 0)


def test_arithmetic_with_sizes() -> None:
    x = sg.tensor("x", ("n",))
    n = x.shape[0]
    assert isinstance(n, Size)
    y = np.sum(x) / n + n * x[0] - (n - 1)
    array = np.array([1.0, 2.0, 6.0])
    assert evaluate([x], [y], array)[0] == 3 + 3 - 2
    assert evaluate([x], [sg.mean(x)], array)[0] == 3
    f = sg.tensor("f", ("n",), "float32")
    assert (np.sum(f) / f.shape[0]).dtype == np.float32
    assert sg.mean(f).dtype == np.float32


@pytest.mark.parametrize("make", [sg.zeros, sg.ones])
def test_filled_tensors_of_named_sizes(make: Callable[..., Tensor]) -> None:
    x = sg.tensor("x", ("n",))
    y = make(("n", 2)) + x[:, None]
    assert evaluate([x], [y], [1.0, 2.0])[0].shape == (2, 2)
    assert_close(evaluate([x], [sg.arange("n") + x], [1.0, 2.0])[0], np.array([1.0, 3.0]), 0)


def test_unnamed_sizes_are_their_own() -> None:
    x, y = sg.vector("x"), sg.vector("y")
    assert x.shape != y.shape
    assert evaluate([x, y], [sg.sum(x) + sg.sum(y)], [1.0], [2.0, 3.0])[0] == 6


def test_named_sizes_never_broadcast() -> None:
    x, y = sg.tensor("x", ("n",)), sg.tensor("y", ("m",))
    with pytest.raises(sg.errors.ShapeError, match="n == m"):
        sg.compile([x, y], x + y, backend="numpy")([1.0], [1.0, 2.0])


def test_constants_are_snapshots() -> None:
    array = np.ones(3)
    t = sg.constant(array)
    array[0] = 5
    assert_close(evaluate([], [t])[0], np.ones(3), 0)
    assert sg.constant(t) is t
    assert sg.constant([1, 2]).dtype == np.int64
    assert sg.constant(2.0, "float32").dtype == np.float32
    assert sg.constant(np.asfortranarray(A)).shape == A.shape


def test_results_belong_to_the_caller(backend: str) -> None:
    x = sg.tensor("x", (3,))
    f = sg.compile([x], [x, x.reshape(3, 1), sg.constant([1.0, 2.0])], backend=backend)
    array = np.ones(3)
    results = f(array)
    for result in results:
        result += 1
    assert array.tolist() == [1, 1, 1]
    assert f(array)[2].tolist() == [1, 2]


def test_every_numpy_function_that_is_known_is_tested() -> None:
    """The table above calls each NumPy function that tensors implement."""
    named = {getattr(f, "__name__", f) for f in FUNCTIONS}
    assert len(named) > 80
    assert all(callable(f) for f in FUNCTIONS.values())


def test_pickling() -> None:
    x = sg.tensor("x", ("n",))
    g = sg.grad(sg.sum(np.sin(x) * x), x)
    restored = pickle.loads(pickle.dumps([x, g]))
    assert restored[1].type == g.type
    assert restored[1].derivative is not None


def test_fix_rounds_towards_zero() -> None:
    with warnings.catch_warnings():
        # Newer NumPy advises np.trunc; the old name still works on tensors.
        warnings.simplefilter("ignore", DeprecationWarning)
        agree(np.fix, A)
        agree(np.fix, A.astype(np.float32))
        agree(np.fix, COUNTS)
