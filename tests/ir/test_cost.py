"""Costs: floating-point operations and bytes, as polynomials in the named sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.backends.lowered import lowered
from symgrad.ir.call import apply
from symgrad.ir.cost import cost_of, operations, total_cost
from symgrad.ir.graph import Graph
from symgrad.ir.op import registered
from symgrad.ir.size import evaluate
from symgrad.tensor import Tensor

X = sg.matrix("X", ("n", "m"))


@pytest.mark.parametrize(
    ("tensor", "flops", "moved"),
    [
        (X + X, "m*n", "16*m*n"),
        (X * 2, "m*n", "16*m*n + 8"),
        (sg.exp(X), "m*n", "16*m*n"),
        (X.sum(), "m*n", "8*m*n + 8"),
        (X.max(axis=1), "m*n", "8*m*n + 8*n"),
        (X @ X.T, "2*m*n*n", None),
        (X.T @ X, "2*m*m*n", None),
        (X @ sg.vector("v", "m"), "2*m*n", "8*m*n + 8*m + 8*n"),
        (sg.nn.softmax(X), "5*m*n", "16*m*n"),
        (X > 0, "0", "9*m*n + 8"),
        (sg.where(X > 0, X, X), "0", None),
        (X.T, "0", "0"),
        (X.reshape(-1), "0", "0"),
        (X.astype("float32"), "0", "12*m*n"),
        (sg.tensor("k", ("n",), "int64") * 2, "0", None),
    ],
)
def test_of_one_node(tensor: Tensor, flops: str, moved: str | None) -> None:
    found = cost_of(tensor.node)
    assert str(found.flops) == flops
    assert moved is None or str(found.bytes) == moved


def test_products_by_counting() -> None:
    """The pairs that NumPy's matmul really multiplies, counted by numbers that count."""
    count = 0

    class Counting:
        def __mul__(self, other: Any) -> Counting:
            nonlocal count
            count += 1
            return self

        def __add__(self, other: Any) -> Counting:
            return self

    for a, b in (((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 1)), ((4,), (4, 5))):
        count = 0
        full = [np.full(shape, Counting(), dtype=object) for shape in (a, b)]
        np.matmul(*full)
        product = sg.tensor("a", a) @ sg.tensor("b", b)
        assert operations(product.node) == 2 * count


def test_every_op_has_a_cost() -> None:
    """A whole number at known sizes, whatever the op: none asks for what a node has not."""
    rng = np.random.default_rng(0)
    for op in registered():
        for case in op.samples(rng):
            inputs = [sg.constant(array).node for array in case.arrays]
            found = cost_of(apply(op, inputs, case.attrs))
            assert int(str(evaluate(found.flops, {}))) >= 0
            assert int(str(evaluate(found.bytes, {}))) >= 0
            break


def test_fused_loops_move_less() -> None:
    x, y = sg.vector("x", "n"), sg.vector("y", "n")
    z = sg.sum(sg.tanh(x * y) + x)
    graph = sg.optimize(Graph([x, y], [z]))
    [step] = lowered(graph).steps
    assert str(step.cost.flops) == str(total_cost(graph.nodes).flops) == "4*n"
    assert str(step.cost.bytes) == "16*n + 8"
    assert str(total_cost(graph.nodes).bytes) == "72*n + 8"


def test_kernels_do_what_the_nodes_need() -> None:
    x, t = sg.tensor("x", ("n", 6)), sg.tensor("t", ("n",), "int64")
    W, b = sg.parameter("W", (6, 3)), sg.parameter("b", (3,))
    loss = sg.nn.cross_entropy(sg.tanh(x @ W) + b, t)
    graph = sg.optimize(Graph([x, t, W, b], [loss, *sg.grad(loss, [W, b])]))
    sizes = {"n": 1000}
    kernels = sum(int(str(evaluate(s.cost.flops, sizes))) for s in lowered(graph).steps)
    nodes = int(str(evaluate(total_cost(graph.nodes).flops, sizes)))
    assert nodes * 0.9 <= kernels <= nodes * 1.2
