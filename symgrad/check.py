"""Gradients against finite differences: for models, and for anyone who adds an op."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symgrad.autodiff.reverse import differentiable
from symgrad.backends.numpy import NumpyProgram
from symgrad.bind import Signature
from symgrad.compile import compile
from symgrad.derivatives import grad, vjp
from symgrad.errors import ModelError
from symgrad.ir.call import apply
from symgrad.ir.graph import Graph, graph_of
from symgrad.ir.node import Node
from symgrad.ir.origin import using
from symgrad.ir.size import Size, evaluate
from symgrad.ir.types import FLOAT32, FLOAT64, Array
from symgrad.ir.walk import reachable
from symgrad.model import Model
from symgrad.ops.leaves import tensor
from symgrad.tensor import Tensor, constant

TOLERANCE = 1e-6
DIRECTIONS = 3
_SMALL_SIZES = (3, 4, 5, 6, 7)


@dataclass(frozen=True, slots=True)
class Row:
    """One gradient against central differences along random directions.

    ``error`` is the largest difference, relative to the size of the directional derivatives. It
    may pass the tolerance where rounding in the loss alone explains as much.
    """

    name: str
    error: float
    passed: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked, on which data, and how far formula and differences are apart.

    ``culprit`` names the first node whose own derivative is wrong, when a gradient is.
    """

    rows: tuple[Row, ...]
    data: str
    passed: bool
    culprit: str = ""


def check(model: Model, *, seed: int = 0, tolerance: float = TOLERANCE) -> Report:
    """Compare every gradient of ``model`` with central finite differences, in float64.

    The model's own data are used when it has any, else random data of small sizes. A float32
    model is checked in float64, where differences can tell a wrong formula from rounding.

    Args:
        model: The model to check.
        seed: For the random data, directions and initial values.
        tolerance: The largest relative error that passes.

    Raises:
        ModelError: if the loss is not finite, so that there is nothing to compare.
    """
    rng = np.random.default_rng(seed)
    values = _doubled(sample(model, rng))
    wide = in_float64([model.loss.node])
    declared = {str(n.attrs["name"]): n for n in reachable(wide) if n.is_input}
    arguments = [Tensor(node) for node in declared.values()]
    wanted = {name: Tensor(declared[name]) for name in model.differentiated if name in declared}
    loss = Tensor(wide[0])
    gradients = grad(loss, list(wanted.values()))
    value = compile(arguments, loss, backend="numpy")
    slopes = compile(arguments, gradients, backend="numpy")
    at = {name: values[name] for name in declared}
    if not np.isfinite(value.by_name(at)):
        raise ModelError(f"the loss is {value.by_name(at)} on the data, so nothing can be checked")
    found = slopes.by_name(at)
    found = found if isinstance(found, tuple) else (found,)
    rows = [
        _row(name, lambda v, name=name: float(value.by_name({**at, name: v})), at[name], g, rng,
             tolerance)
        for name, g in zip(wanted, found, strict=True)
    ]  # fmt: skip
    data = "the model's data" if model.data else "random data"
    passed = all(row.passed for row in rows)
    culprit = "" if passed else first_wrong(wide[0], at, rng, tolerance)
    return Report(tuple(rows), data, passed, culprit)


def first_wrong(output: Node, at: Mapping[str, Array], rng: np.random.Generator, tolerance: float
) -> str:  # fmt: skip
    """Return the first node, on the way from the inputs, whose own derivative is wrong.

    Each node is taken by itself: its reference is moved along a random direction of one input,
    and the change compared with what its reverse-mode rule says at these values.
    """
    graph = graph_of([output])
    signature = Signature(graph)
    arrays, sizes = signature.bind(signature.by_name(at))
    values = NumpyProgram(Graph(graph.inputs, graph.nodes)).run(arrays, sizes)
    known = dict(zip(graph.nodes, values, strict=True))
    for node in graph.nodes:
        attrs = {key: evaluate(value, sizes) for key, value in node.attrs.items()}
        inputs = [np.asarray(known[x]) for x in node.inputs]
        for position in range(len(inputs)):
            if differentiable(node, position) and not _agrees(
                node, attrs, inputs, position, rng, tolerance
            ):
                return f"{node.op.name}, made at {node.origin}"
    return "no single node: each agrees with its own differences at these values"


def _agrees(
    node: Node,
    attrs: Mapping[str, object],
    inputs: list[Array],
    position: int,
    rng: np.random.Generator,
    tolerance: float,
) -> bool:
    """Return whether one input's derivative rule agrees with differences of the reference."""
    local = [tensor(f"x{i}", array.shape, array.dtype) for i, array in enumerate(inputs)]
    out = Tensor(apply(node.op, [t.node for t in local], attrs))
    x = inputs[position]
    g = rng.standard_normal(tuple(int(str(dim)) for dim in out.shape))
    pulled = compile(local, vjp(out, local[position], constant(g)), backend="numpy")(*inputs)
    direction = rng.choice([-1.0, 1.0], size=x.shape)
    step = np.cbrt(np.finfo(np.float64).eps) * max(1.0, float(np.max(np.abs(x), initial=0.0)))

    def moved(sign: float) -> float:
        shifted = [*inputs[:position], x + sign * step * direction, *inputs[position + 1 :]]
        with np.errstate(all="ignore"):
            return float(np.sum(g * node.op.reference(*shifted, **attrs)))

    if not np.all(np.isfinite(pulled)):
        return False
    slope, difference = float(np.sum(pulled * direction)), (moved(1) - moved(-1)) / (2 * step)
    scale = max(abs(slope), abs(difference), 1e-8 + float(np.max(np.abs(pulled), initial=0.0)))
    return bool(abs(slope - difference) <= max(tolerance, 1e-6) * scale)


def _row(
    name: str, value: Any, at: Array, gradient: Array, rng: np.random.Generator, tolerance: float
) -> Row:
    step = np.cbrt(np.finfo(np.float64).eps) * max(1.0, float(np.max(np.abs(at), initial=0.0)))
    worst, passed = 0.0, bool(np.all(np.isfinite(gradient)))
    scale = 1e-8 + float(np.max(np.abs(gradient), initial=0.0))
    for _ in range(DIRECTIONS):
        # A random sign for each element: every entry of the gradient counts.
        direction = rng.choice([-1.0, 1.0], size=at.shape)
        with np.errstate(all="ignore"):
            slope = float(np.sum(gradient * direction))
        above, below = value(at + step * direction), value(at - step * direction)
        difference = (above - below) / (2 * step)
        size = max(abs(slope), abs(difference), scale)
        rounding = 10 * np.finfo(np.float64).eps * max(abs(above), abs(below)) / step
        error = abs(slope - difference) / size if math.isfinite(slope) else math.inf
        # Written so that a NaN anywhere does not pass.
        passed = passed and error <= max(tolerance, rounding / size)
        worst = error if not error <= worst else worst
    return Row(name, worst, passed)


def in_float64(outputs: list[Node]) -> list[Node]:
    """Return the same expressions with every float32 made float64, declared tensors included."""
    image: dict[Node, Node] = {}
    for node in reachable(outputs):
        attrs = {key: _wide(value) for key, value in node.attrs.items()}
        with using(node.origin):
            image[node] = apply(node.op, [image[x] for x in node.inputs], attrs)
    return [image[node] for node in outputs]


def _wide(value: object) -> object:
    if isinstance(value, np.ndarray) and value.dtype == FLOAT32:
        return value.astype(FLOAT64)
    return FLOAT64 if isinstance(value, np.dtype) and value == FLOAT32 else value


def _doubled(values: Mapping[str, Array]) -> dict[str, Array]:
    return {
        name: value.astype(FLOAT64) if value.dtype == FLOAT32 else value
        for name, value in values.items()
    }


def sample(model: Model, rng: np.random.Generator) -> dict[str, Array]:
    """Return values for all inputs and parameters: the model's data, else small random arrays."""
    sizes = {} if model.data else random_sizes(model)
    values = dict(model.data) or _random_inputs(model, rng, sizes)
    initial = model.initial(int(rng.integers(2**31)), **sizes)
    for name, value in initial.items():
        # Zeros hide mistakes: every parameter is moved off its start.
        noise = 0.1 * rng.standard_normal(value.shape)
        values[name] = (value + noise).astype(value.dtype) if value.dtype.kind == "f" else value
    return values


def random_sizes(model: Model) -> dict[str, int]:
    """Return a small value for each named size of the model: different ones where they may be.

    Raises:
        ModelError: if the sizes must satisfy more than that some of them are equal.
    """
    tensors = model.arguments
    names = sorted({str(dim) for t in tensors for dim in t.shape if isinstance(dim, Size)})
    different = {name: _SMALL_SIZES[i % len(_SMALL_SIZES)] for i, name in enumerate(names)}
    constraints = Graph(tensors, [model.loss, *model.outputs.values()]).constraints
    for sizes in (different, *(dict.fromkeys(names, size) for size in (4, 6, 12))):
        if all(constraint.holds(sizes) for constraint in constraints):
            return sizes
    raise ModelError("no small random sizes fit the model; give it data=")


def _random_inputs(
    model: Model, rng: np.random.Generator, sizes: Mapping[str, int]
) -> dict[str, Array]:
    bounds = integer_bounds(model.loss.node, sizes)
    values: dict[str, Array] = {}
    for name, x in model.inputs.items():
        shape = tuple(d.value(sizes) if isinstance(d, Size) else d for d in x.shape)
        if x.dtype.kind == "f":
            values[name] = rng.uniform(0.1, 0.9, shape).astype(x.dtype)
        else:
            values[name] = rng.integers(0, bounds.get(name, 2), shape).astype(x.dtype)
    return values


def integer_bounds(output: Node, sizes: Mapping[str, int]) -> dict[str, int]:
    """Return, for integer inputs that index something, how many values they may take."""
    found: dict[str, int] = {}
    for node in graph_of([output]).nodes:
        for index in node.inputs[1:] if node.op.name in ("pick", "gather") else node.inputs:
            if not index.is_input:
                continue
            dim = _indexed_size(node)
            if dim is not None:
                count = dim.value(sizes) if isinstance(dim, Size) else dim
                name = str(index.attrs["name"])
                found[name] = min(count, found.get(name, count))
    return found


def _indexed_size(node: Node) -> Any:
    match node.op.name:
        case "pick":
            return node.inputs[0].type.shape[-1]
        case "one_hot":
            return node.attrs["size"]
        case "gather":
            return node.inputs[0].type.shape[node.attrs["axis"]]
        case _:
            return None
