"""Graphs of 100,000 nodes go through everything: no recursion, and work linear in their size."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.ir.graph import Graph, verify
from symgrad.ir.node import Node
from symgrad.ir.text import graph_text, parse_graph
from symgrad.passes.cse import cse
from symgrad.passes.factor import factor
from symgrad.passes.fold_constants import fold_constants
from symgrad.passes.pipeline import Pass, optimize
from symgrad.passes.prune import prune
from symgrad.passes.simplify import simplify
from symgrad.passes.stabilize import stabilize
from symgrad.tensor import Tensor
from tests.numeric import run

LARGE, SMALL = 100_000, 25_000


@pytest.fixture(autouse=True)
def default_recursion_limit() -> Any:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(before)


def chain(length: int) -> Graph:
    """x + c + c + ...: each value feeds the next."""
    x, c = sg.scalar("x"), sg.scalar("c")
    y = x
    for _ in range(length):
        y = y + c
    return Graph([x, c], [y])


def fan(width: int) -> Graph:
    """One value with many consumers, all of them different."""
    x, c = sg.scalar("x"), sg.scalar("c")
    total = c
    for _ in range(width // 2):
        total = total + x * total
    return Graph([x, c], [total])


SHAPES = {"chain": chain, "fan": fan}
cached: dict[tuple[str, int], Graph] = {}


def graph_of(shape: str, size: int) -> Graph:
    if (shape, size) not in cached:
        cached[shape, size] = SHAPES[shape](size)
    return cached[shape, size]


@pytest.fixture(params=SHAPES)
def graph(request: pytest.FixtureRequest) -> Graph:
    return graph_of(request.param, LARGE)


def tensors(graph: Graph) -> tuple[Tensor, list[Tensor]]:
    return Tensor(graph.outputs[0]), [Tensor(x) for x in graph.inputs]


def test_the_graphs_are_large(graph: Graph) -> None:
    assert len(graph) >= LARGE
    verify(graph)


@pytest.mark.parametrize("stage", [cse, fold_constants, simplify, stabilize, factor, prune])
def test_passes(graph: Graph, stage: Pass) -> None:
    assert len(stage(graph)) <= len(graph)


def test_pipeline(graph: Graph) -> None:
    assert len(optimize(graph)) <= len(graph)


def test_gradient(graph: Graph) -> None:
    z, inputs = tensors(graph)
    gradients = sg.grad(z, inputs)
    assert all(g.type == x.type for g, x in zip(gradients, inputs, strict=True))
    value, *found = run(Graph(inputs, [z, *gradients]), 0.0, 1.0)
    assert np.isfinite(value) and np.isfinite(found).all()


def test_forward_mode(graph: Graph) -> None:
    z, inputs = tensors(graph)
    pushed = sg.jvp(z, inputs, [1.0, 0.0])
    assert np.isfinite(run(Graph(inputs, [pushed]), 0.0, 1.0)[0])


def test_why_there_is_no_gradient(graph: Graph) -> None:
    z, _ = tensors(graph)
    with pytest.raises(sg.errors.GradientError, match="never used"):
        sg.grad(z, sg.scalar("other"), disconnected="raise")


def test_ir_text(graph: Graph) -> None:
    text = graph_text(graph)
    assert text.count("\n") >= LARGE
    assert graph_text(parse_graph(text)).count("\n") == text.count("\n")


def test_pickle(graph: Graph) -> None:
    assert len(pickle.loads(pickle.dumps(graph))) == len(graph)
    tensor = pickle.loads(pickle.dumps(Tensor(graph.outputs[0])))
    assert tensor.type == graph.outputs[0].type


def test_numpy_backend(graph: Graph) -> None:
    z, inputs = tensors(graph)
    f = sg.compile(inputs, z, backend="numpy")
    assert np.isfinite(f(0.0, 1.0))


def test_formula_of_a_deep_graph(graph: Graph) -> None:
    z, _ = tensors(graph)
    assert str(z)


def test_dropping_a_deep_graph_does_not_overflow_the_stack() -> None:
    graph = chain(LARGE)
    del graph


def test_deep_numba_program() -> None:
    """Too many nodes to compile: the program runs all the same."""
    graph = graph_of("chain", SMALL)
    z, inputs = tensors(graph)
    assert sg.compile(inputs, z)(0.0, 1.0) == SMALL


# Linear: four times the graph is four times the nodes, and four times the work.


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_have_linearly_many_nodes(shape: str) -> None:
    def nodes(size: int) -> int:
        z, inputs = tensors(graph_of(shape, size))
        return len(Graph(inputs, sg.grad(z, inputs)))

    assert nodes(LARGE) <= 4 * nodes(SMALL) + 10


def calls(function: Callable[[], object]) -> int:
    """Return how many Python functions are called meanwhile: work that no clock can blur."""
    count = 0

    def tick(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(tick)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def _gradient(graph: Graph) -> object:
    z, inputs = tensors(graph)
    return sg.grad(z, inputs)


def _call(graph: Graph) -> object:
    return run(graph, 0.0, 1.0)


@pytest.mark.parametrize(
    "work", [_gradient, _call, optimize, graph_text, pickle.dumps, verify], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("shape", SHAPES)
def test_work_is_linear(shape: str, work: Callable[[Graph], object]) -> None:
    few = calls(lambda: work(SHAPES[shape](1_000)))
    many = calls(lambda: work(SHAPES[shape](4_000)))
    assert many <= 4.2 * few + 1000


def test_consumers_of_one_value_are_added_once_each() -> None:
    """x with 10,000 consumers: its gradient is a sum of as many terms."""
    x, w = sg.scalar("x"), sg.vector("w", 10_000)
    total = sg.constant(0.0)
    for i in range(10_000):
        total = total + x * w[i]
    [g] = run(Graph([x, w], [sg.grad(total, x)]), 2.0, np.ones(10_000))
    assert g == 10_000


def test_nodes_are_small(graph: Graph) -> None:
    assert not hasattr(graph.nodes[-1], "__dict__")
    assert isinstance(graph.nodes[-1], Node)
