"""The derivatives people ask for: grad, vjp, jvp, jacobian, hessian, hvp.

Common subexpressions are merged and the expression is brought into its stable form first, so that
each value gets one gradient and the stable form is what gets differentiated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from symgrad import errors
from symgrad.autodiff import reverse
from symgrad.autodiff.forward import push_forward
from symgrad.autodiff.why import why_disconnected
from symgrad.ir.graph import Derivative, Graph, graph_of
from symgrad.ir.node import Node
from symgrad.ir.origin import here
from symgrad.ops.shape import concatenate, expand_dims, reshape
from symgrad.passes.cse import cse
from symgrad.passes.stabilize import stabilize
from symgrad.tensor import Tensor, as_tensor, constant


def _one_or_many(value: Any, what: str) -> tuple[list[Tensor], bool]:
    """Return ``value`` as a list of tensors, and whether it was a single one."""
    single = isinstance(value, Tensor)
    listed = [value] if single else list(value) if isinstance(value, list | tuple) else None
    if listed is None or not all(isinstance(x, Tensor) for x in listed):
        raise errors.ArgumentError(
            errors.worded(f"{what} is a tensor or a list of tensors, got {value!r}", made_at=here())
        )
    return listed, single


def _shaped(results: list[Tensor], single: bool) -> Any:
    return results[0] if single else results


def _real(tensors: Sequence[Tensor], what: str) -> None:
    for tensor in tensors:
        if not tensor.type.is_float:
            raise errors.GradientError(
                errors.worded(
                    f"{what} {tensor!r} is not a real number, so no derivative exists",
                    made_at=here(),
                    fix="declare it as float64 or float32, or use .astype('float64')",
                )
            )


# NumPy's annotations say that np.mean(tensor) is a float, so z is Any; what it is is checked.


@overload
def grad(z: Any, wrt: Tensor, *, disconnected: str = "zeros", stabilize: bool = True) -> Tensor: ...
@overload
def grad(
    z: Any, wrt: Sequence[Tensor], *, disconnected: str = "zeros", stabilize: bool = True
) -> list[Tensor]: ...
def grad(z: Any, wrt: Any, *, disconnected: str = "zeros", stabilize: bool = True) -> Any:
    """Return the gradient of a scalar with respect to one tensor or several.

    The result is an ordinary expression in the same graph (Deep Learning, Algorithms 6.5 and
    6.6): print it, compile it, differentiate it again.

    Args:
        z: A float tensor without axes.
        wrt: A float tensor, or a list of them: anything that z may depend on.
        disconnected: What to do for a tensor that z does not depend on: "zeros", or "raise" an
            error that says where the path ends.
        stabilize: Whether forms that overflow or cancel, such as log(1 + exp(x)), are replaced by
            ones that do not before they are differentiated.

    Returns:
        One tensor in, one out; a list in, a list out; each of the shape and dtype of its tensor.

    Raises:
        GradientError: if z is no real scalar, a tensor of ``wrt`` is not real, or the path ends
            and ``disconnected`` is "raise".
    """
    targets, single = _one_or_many(wrt, "wrt")
    [z], _ = _one_or_many(z, "z")
    _real([z], "the tensor to differentiate,")
    _real(targets, "wrt:")
    if z.shape != ():
        raise errors.GradientError(
            errors.worded(
                f"grad: only a scalar has a gradient, got {z!r}",
                made_at=here(),
                fix="sum or average it first, or use sg.vjp or sg.jacobian",
            )
        )
    seeds = {z.node: reverse.ones(z.node)}
    return _shaped(_gradients(seeds, targets, disconnected, of=z, stable=stabilize), single)


def why_zero(z: Any, wrt: Tensor) -> str:
    """Return why the gradient of z by a tensor is zero, as the paths from it and where they end.

    Where the gradient is not zero by the form of the graph, the paths it flows along are named.

    Args:
        z: Any tensor.
        wrt: What z may depend on.
    """
    [output], _ = _one_or_many(z, "z")
    [target], _ = _one_or_many(wrt, "wrt")
    return why_disconnected([output.node], target.node)


def stable_form(outputs: Sequence[Node], targets: Sequence[Node]) -> Graph:
    """Return the graph that is differentiated: merged, and stable. It computes both lists."""
    merged = cse(graph_of([*outputs, *targets]), keep=frozenset(targets))
    kept = frozenset(merged.provenance[target] for target in targets)
    return stabilize(merged, keep=kept)


def moved_in(stable: Graph) -> dict[Node, Node]:
    """Return, for nodes that the stable form moves, where they are in it."""
    return {a: b for a, b in stable.provenance.items() if a is not b}


def _gradients(
    seeds: dict[Node, Node],
    targets: list[Tensor],
    disconnected: str,
    of: Tensor | None,
    stable: bool = True,
) -> list[Tensor]:
    """Return the gradients of the seeded nodes, in the stable form of their graph."""
    moved = moved_in(stable_form(list(seeds), [t.node for t in targets])) if stable else {}
    images = [moved.get(t.node, t.node) for t in targets]
    table = reverse.build_grad({moved.get(z, z): g for z, g in seeds.items()}, images)
    if disconnected not in ("zeros", "raise"):
        raise errors.ArgumentError(f"disconnected must be 'zeros' or 'raise', got {disconnected!r}")
    results = []
    for target, image in zip(targets, images, strict=True):
        node = table.get(image)
        if node is None and disconnected == "raise":
            reason = why_disconnected(list(seeds), target.node)
            raise errors.GradientError(errors.worded(reason, made_at=here()))
        if node is None:
            node = reverse.zeros(target.node)
        results.append(Tensor(node, None if of is None else _derivative(of, target, moved)))
    return results


def _derivative(z: Tensor, target: Tensor, moved: dict[Node, Node]) -> Derivative:
    """Return what a gradient is a gradient of; a gradient's gradient counts its order."""
    if z.derivative is None:
        return Derivative(z.node, (target.node,), moved)
    known = z.derivative
    return Derivative(known.of, (*known.wrt, target.node), {**known.moved, **moved})


def _matching(values: Any, like: list[Tensor], single: bool, what: str) -> list[Tensor]:
    listed = [values] if single else list(values)
    if len(listed) != len(like):
        raise errors.ArgumentError(
            errors.worded(f"{len(like)} {what} are needed, got {len(listed)}", made_at=here())
        )
    out = []
    for value, x in zip(listed, like, strict=True):
        tensor = as_tensor(value, None if isinstance(value, Tensor) else x.dtype)
        if tensor.shape != x.shape or tensor.dtype != x.dtype:
            raise errors.ShapeError(
                errors.worded(f"{what}: {tensor!r} does not match {x!r}", made_at=here())
            )
        out.append(tensor)
    return out


def _seeds(nodes: list[Node], values: list[Tensor]) -> dict[Node, Node]:
    """Return the value for each node; those of a node that is listed twice are added."""
    seeds: dict[Node, Node] = {}
    for node, value in zip(nodes, values, strict=True):
        known = seeds.get(node)
        seeds[node] = value.node if known is None else (Tensor(known) + value).node
    return seeds


def vjp(y: Any, wrt: Any, cotangents: Any, *, disconnected: str = "zeros") -> Any:
    """Return the vector-Jacobian product: cotangents pulled back from ``y`` to ``wrt``.

    Args:
        y: A float tensor of any shape, or a list of them.
        wrt: A float tensor, or a list.
        cotangents: For each ``y``, a tensor or array of its shape and dtype.
        disconnected: As for `grad`.

    Returns:
        One tensor or a list, as ``wrt`` is.
    """
    outputs, one_output = _one_or_many(y, "y")
    targets, single = _one_or_many(wrt, "wrt")
    _real(outputs, "the tensor to differentiate,")
    _real(targets, "wrt:")
    given = _matching(cotangents, outputs, one_output, "cotangents")
    seeds = _seeds([output.node for output in outputs], given)
    return _shaped(_gradients(seeds, targets, disconnected, of=None), single)


def jvp(y: Any, wrt: Any, tangents: Any) -> Any:
    """Return the Jacobian-vector product: tangents pushed forward from ``wrt`` to ``y``.

    Args:
        y: A float tensor of any shape, or a list of them.
        wrt: A float tensor, or a list.
        tangents: For each of ``wrt``, a tensor or array of its shape and dtype.

    Returns:
        One tensor or a list, as ``y`` is; zeros where ``y`` does not depend on ``wrt``.
    """
    outputs, one_output = _one_or_many(y, "y")
    targets, single = _one_or_many(wrt, "wrt")
    _real(outputs, "the tensor to differentiate,")
    _real(targets, "wrt:")
    given = _matching(tangents, targets, single, "tangents")
    moved = moved_in(stable_form([o.node for o in outputs], [t.node for t in targets]))
    seeds = _seeds([moved.get(x.node, x.node) for x in targets], given)
    images = [moved.get(o.node, o.node) for o in outputs]
    pushed = push_forward(images, seeds)
    results = [Tensor(pushed.get(o) or reverse.zeros(o)) for o in images]
    return _shaped(results, one_output)


def hvp(z: Any, wrt: Any, v: Any) -> Any:
    """Return Hessian-vector products of a scalar, at about the cost of two gradients.

    Forward over reverse: the tangent of the gradient in the direction ``v`` (Pearlmutter, 1994).

    Args:
        z: A float tensor without axes.
        wrt: A float tensor, or a list.
        v: For each of ``wrt``, a tensor or array of its shape and dtype.

    Returns:
        One tensor or a list, as ``wrt`` is.
    """
    return jvp(grad(z, wrt), wrt, v)


def jacobian(y: Any, wrt: Any) -> Any:
    """Return all partial derivatives of ``y``: the shape is ``y.shape + wrt.shape``.

    One reverse sweep for each element of ``y``, whose sizes must therefore be known integers.

    Raises:
        ShapeError: if a size of ``y`` is symbolic.
    """
    targets, single = _one_or_many(wrt, "wrt")
    [y], _ = _one_or_many(y, "y")
    shape = _known_shape(y)
    count = math.prod(shape)
    rows: list[list[Tensor]] = []
    for i in range(count):
        unit = np.zeros(count, dtype=y.dtype)
        unit[i] = 1
        rows.append(vjp(y, targets, constant(unit.reshape(shape))))
    results = [
        reshape(concatenate([expand_dims(row[k], 0) for row in rows], 0), (*shape, *target.shape))
        for k, target in enumerate(targets)
    ]
    return _shaped(results, single)


def _known_shape(y: Tensor) -> tuple[int, ...]:
    sizes = tuple(dim for dim in y.shape if isinstance(dim, int))
    if len(sizes) != y.ndim:
        raise errors.ShapeError(
            errors.worded(
                f"jacobian: {y!r} has a size that is not known before a call",
                made_at=here(),
                fix="declare the size as an integer, or use sg.vjp, sg.jvp or sg.hvp",
            )
        )
    return sizes


def hessian(z: Any, wrt: Tensor) -> Tensor:
    """Return the second derivatives of a scalar: the shape is ``wrt.shape + wrt.shape``.

    Raises:
        ShapeError: if a size of ``wrt`` is symbolic; `hvp` has no such limit.
    """
    result: Tensor = jacobian(grad(z, wrt), wrt)
    return result
