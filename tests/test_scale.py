"""Graphs of 100,000 nodes go through everything: no recursion, and work linear in their size."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.backends import program_for
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
    """tanh(tanh(... x)): each value feeds the next."""
    x, c = sg.scalar("x"), sg.scalar("c")
    y = c * x
    for _ in range(length):
        y = sg.tanh(y)
    return Graph([x, c], [y])


def fan(width: int) -> Graph:
    """One value with as many consumers, all of them different."""
    x, c = sg.scalar("x"), sg.scalar("c")
    total = c
    for k in range(width):
        total = total + x * (k + 2.0)
    return Graph([x, c], [total])


def join(width: int) -> Graph:
    """One op with many inputs."""
    x, c = sg.scalar("x"), sg.scalar("c")
    return Graph([x, c], [sg.sum(sg.stack([x * c for _ in range(width // 3)]))])


SHAPES = {"chain": chain, "fan": fan, "join": join}
cached: dict[tuple[str, int], Graph] = {}


def graph_of(shape: str, size: int) -> Graph:
    if (shape, size) not in cached:
        cached[shape, size] = SHAPES[shape](size)
    return cached[shape, size]


@pytest.fixture(params=["chain", "fan"])
def graph(request: pytest.FixtureRequest) -> Graph:
    return graph_of(request.param, SMALL)


def tensors(graph: Graph) -> tuple[Tensor, list[Tensor]]:
    return Tensor(graph.outputs[0]), [Tensor(x) for x in graph.inputs]


def test_the_graphs_are_large(graph: Graph) -> None:
    assert len(graph) >= SMALL
    verify(graph)


@pytest.mark.parametrize("stage", [cse, fold_constants, simplify, stabilize, factor, prune])
def test_passes(graph: Graph, stage: Pass) -> None:
    assert len(stage(graph)) <= len(graph)


@pytest.mark.parametrize("shape", ["chain", "fan"])
def test_full_size(shape: str) -> None:
    """A chain of 100,000, and a value with 100,000 consumers, from differentiating to running."""
    z, [x, c] = tensors(SHAPES[shape](LARGE))
    gradient = sg.grad(z, x)
    graph = Graph([x, c], [z, gradient])
    small = optimize(graph)
    assert LARGE <= len(small) < len(graph)
    assert graph_text(small).count("\n") >= LARGE
    assert sg.pretty(small, lines=None).count("\n") >= LARGE // 100
    assert len(pickle.loads(pickle.dumps(small))) == len(small)
    value, slope = program_for(small, "numpy").run([np.array(0.5), np.array(1.0)], {})
    if shape == "fan":
        assert value == pytest.approx(0.5 * slope + 1)
        assert slope == pytest.approx(LARGE * (LARGE + 3) / 2)
    else:
        # Near its fixed point 0, iterating tanh gives sqrt(3 / (2 n)), whatever the start.
        assert value == pytest.approx(np.sqrt(1.5 / LARGE), rel=1e-3)
        assert 0 < slope < 1e-3


def test_gradient_is_linear_in_nodes() -> None:
    nodes = []
    for size in (SMALL // 4, SMALL):
        z, inputs = tensors(graph_of("fan", size))
        nodes.append(len(Graph(inputs, [z, *sg.grad(z, inputs)])))
    assert nodes[1] <= 4 * nodes[0] + 10


def test_forward_mode() -> None:
    z, inputs = tensors(graph_of("chain", SMALL))
    pushed = sg.jvp(z, inputs, [1.0, 0.0])
    assert np.isfinite(run(Graph(inputs, [pushed]), 0.0, 1.0)[0])


def test_why_there_is_no_gradient(graph: Graph) -> None:
    z, _ = tensors(graph)
    with pytest.raises(sg.errors.GradientError, match="never used"):
        sg.grad(z, sg.scalar("other"), disconnected="raise")


def test_ir_text(graph: Graph) -> None:
    assert graph_text(graph).count("\n") >= SMALL


@pytest.mark.parametrize("shape", SHAPES)
def test_parsing_ir_text(shape: str) -> None:
    text = graph_text(SHAPES[shape](4_000))
    assert graph_text(parse_graph(text)).count("\n") == text.count("\n")


def test_pickle(graph: Graph) -> None:
    assert len(pickle.loads(pickle.dumps(graph))) == len(graph)
    tensor = pickle.loads(pickle.dumps(Tensor(graph.outputs[0])))
    assert tensor.type == graph.outputs[0].type


def test_numpy_backend(graph: Graph) -> None:
    assert np.isfinite(run(graph, 0.0, 1.0)[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_formula(shape: str) -> None:
    z, _ = tensors(SHAPES[shape](4_000))
    assert str(z)


def test_compiled_chain() -> None:
    """More nodes than have each function inlined."""
    z, inputs = tensors(SHAPES["chain"](4_000))
    assert sg.compile(inputs, z)(0.5, 1.0) == pytest.approx(np.sqrt(1.5 / 4_000), rel=1e-2)


# Linear: twice the graph is twice the work.


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


def _formula(graph: Graph) -> object:
    return str(tensors(graph)[0])


WORK: list[Callable[[Graph], object]] = [
    _gradient,
    _call,
    _formula,
    optimize,
    graph_text,
    pickle.dumps,
    verify,
]


@pytest.mark.parametrize("work", WORK, ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", SHAPES)
def test_work_is_linear(shape: str, work: Callable[[Graph], object]) -> None:
    graphs = [SHAPES[shape](size) for size in (400, 800, 1600)]
    # What is imported and compiled once is not counted.
    work(SHAPES[shape](10))
    few, some, many = (calls(lambda g=g: work(g)) for g in graphs)  # type: ignore[misc]
    assert many - some <= 2.3 * (some - few) + 1000


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
