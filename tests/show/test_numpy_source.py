"""Formulas as NumPy source: they run, and give what the formulas stand for."""

from __future__ import annotations

import zlib
from inspect import signature
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad import errors
from symgrad.ir.call import apply
from symgrad.ir.graph import graph_of
from symgrad.ir.op import Case, lookup, registered
from symgrad.ir.types import Array
from symgrad.tensor import Tensor
from tests.numeric import assert_close, declared, reference
from tests.show.gallery.entries import ENTRIES, Entry

WITHOUT = {"prod_others"}
OPS = [op.name for op in registered() if op.name not in WITHOUT]


def function(text: str) -> Any:
    space: dict[str, Any] = {}
    exec(text, space)
    return space["function"]


@pytest.mark.parametrize("name", OPS)
def test_every_op(name: str) -> None:
    op = lookup(name)
    for case in op.samples(np.random.default_rng(zlib.crc32(name.encode()))):
        if not case.smooth:
            continue
        inputs = declared(case)
        y = Tensor(apply(op, [x.node for x in inputs], case.attrs))
        graph = sg.optimize(sg.Graph(inputs, [y]))
        with np.errstate(all="ignore"):
            found = function(sg.numpy_source(graph))(*case.arrays)
        expected = reference(op, Case(case.arrays, case.attrs))
        assert np.shape(found) == expected.shape
        assert_close(np.asarray(found), expected, 1e-5 if expected.dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.expected)
def test_the_gallery(entry: Entry) -> None:
    value, wrt = entry.build()
    gradient = sg.grad(value, wrt)
    inputs = [Tensor(x) for x in sg.optimize(graph_of([gradient]), finite=True).inputs]
    f = function(sg.numpy_source(gradient))
    sizes = [SIZES[name] for name in list(signature(f).parameters)[len(inputs) :]]
    value_and_more = [Tensor(x) for x in graph_of([value, gradient]).inputs]
    rng = np.random.default_rng(0)
    everything = {str(x.node.name): sample(rng, x) for x in value_and_more}
    given = [everything[str(x.node.name)] for x in inputs]
    with np.errstate(all="ignore"):
        found = f(*given, *sizes)
        expected = sg.compile(value_and_more, gradient, backend="numpy")(*everything.values())
    assert_close(np.asarray(found), np.asarray(expected), 1e-9)


SIZES = {"n": 4, "d": 3, "k": 5}


def sample(rng: np.random.Generator, x: Tensor) -> Array:
    shape = [dim if isinstance(dim, int) else SIZES[str(dim)] for dim in x.shape]
    if x.dtype.kind == "i":
        return rng.integers(0, 3, shape)
    found: Array = np.asarray(rng.uniform(0.2, 0.8, shape))
    return found + np.eye(shape[0]) if len(shape) == 2 and shape[0] == shape[1] else found


def test_it_reads_like_what_a_person_writes() -> None:
    X, y, w = sg.matrix("X", ("n", "d")), sg.vector("y", "n"), sg.parameter("w", ("d",))
    residual = X @ w - y
    text = sg.numpy_source(sg.grad(sg.sum(residual**2) / 2, w))
    assert text == (
        "import numpy as np\n\n\n"
        "def function(X, y, w):\n"
        "    residual = X @ w - y\n"
        "    grad_w = X.T @ residual\n"
        "    return grad_w\n"
    )


def agrees(y: Any, *given: Any) -> None:
    inputs = [Tensor(x) for x in graph_of([y]).inputs]
    found = function(sg.numpy_source(y))(*given)
    expected = sg.compile(inputs, y, backend="numpy")(*given)
    assert_close(np.asarray(found, expected.dtype), np.asarray(expected), 1e-12)


def test_numbers_keep_their_type() -> None:
    x, given = sg.vector("x", "n"), np.linspace(-1, 1, 70_000)
    agrees(np.where(x > 0, 1.0, 2.0) ** -1.0, given)
    n = np.sum(sg.ones(x.shape))
    agrees(np.sum(x**2) / n**4, given)
    agrees(np.sum(x**2) * n**-2.0, given)
    u = sg.scalar("u")
    agrees(u**-2.0, 3)


def test_what_is_not_finite() -> None:
    x = sg.vector("x", 3)
    agrees(x + sg.constant([0.0, -np.inf, np.nan]), np.ones(3))
    agrees(np.maximum(x, -np.inf), np.ones(3))


def test_a_label_that_is_a_number() -> None:
    z = sg.vector("z", 3)
    agrees(sg.nn.cross_entropy(z, 2), np.array([0.1, 0.2, 0.3]))


def test_stable_forms_stay_stable() -> None:
    A = sg.matrix("A", ("n", "n"))
    agrees(sg.log(sg.linalg.det(A)), 10.0 * np.eye(400))


def test_what_numpy_cannot_say() -> None:
    x = sg.vector("x", 3)
    with pytest.raises(errors.UnsupportedError, match="prod_others: NumPy has no expression"):
        sg.numpy_source(sg.grad(sg.prod(x), x))
    with pytest.raises(errors.UnsupportedError, match="too large to be written out"):
        sg.numpy_source(x[0] * sg.constant(np.arange(100.0)))
