"""The op record: all that symgrad knows about one operation, in one place, and the registry.

Names in derivative rules: ``g`` is the cotangent of the output, ``y`` the output, ``x`` (or
``a``, ``b``) the inputs, ``t`` a tangent. Rules are written on tensors, with the operators and
functions that users have, so that a derivative is an ordinary expression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from symgrad.errors import GraphError
from symgrad.ir.size import Dim
from symgrad.ir.types import Array, TensorType

if TYPE_CHECKING:
    from symgrad.ir.call import Call

Rule = Callable[..., Any]
"""A derivative rule; ``(g, y, *x, **attrs) -> Tensor`` for reverse mode."""

Samples = Callable[[np.random.Generator], Iterator["Case"]]


@dataclass(frozen=True, slots=True)
class Case:
    """Arguments on which an op is tested: arrays, attributes, and whether it is smooth there."""

    arrays: tuple[Array, ...]
    attrs: Mapping[str, object] = field(default_factory=dict)
    smooth: bool = True


def no_samples(_rng: np.random.Generator) -> Iterator[Case]:
    """Return no test cases: for leaves, which have no inputs."""
    return iter(())


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One operation: type, meaning, derivatives, kernel code, printed form, test cases.

    Attributes:
        name: The op's name in IR text.
        infer: The type rule: the output's type from a `Call`, or an error.
        reference: The meaning, on NumPy arrays: ``(*arrays, **attrs) -> array``.
        bprop: One rule for each input, None where there is no derivative. With ``variadic``,
            one rule ``(g, y, *x, index=i, **attrs)`` for all.
        linear: ``"each"`` when the op is linear in each differentiable input by itself,
            ``"jointly"`` when it is linear in all of them together; the forward-mode rule
            follows.
        jvp: The forward-mode rule otherwise: ``(tangents, y, *x, **attrs)``, with None for a
            zero tangent. Elementwise ops need neither: theirs follows from ``partials``.
        partials: For elementwise ops, the partial derivatives ``(y, *x) -> Tensor``.
        elementwise: Whether the op maps elements to elements, with NumPy's broadcasting.
        view: Whether each element is one of the only input's, where the sizes and attributes say.
        floats: Whether integer arguments are made float64 first, as NumPy does for ``exp``.
        scalar: For elementwise ops, one element as a Python expression over ``{0}``, ``{1}``.
        kernel: For ops that NumPy and Numba compute matrix by matrix, the call, over ``{0}``,
            ``{1}``: contiguous matrices, or a vector.
        text: The printed form as a template over ``{0}``, ``{1}``; by default a call.
        latex: The LaTeX template; by default made from ``text``.
        why_zero: Why the derivative is zero or missing, for reports.
        kinks: The value chosen where the derivative does not exist, for readers.
        commutative: Whether the two inputs may change places.
        variadic: Whether the op takes any number of inputs.
        steepest: For elementwise ops of one input, the largest absolute value of the derivative.
        flops: How many floating-point operations a node takes, as a polynomial in the sizes. An
            elementwise op without it takes one for each element.
        samples: Test cases that cover the domain.
    """

    name: str
    infer: Callable[[Call], TensorType]
    reference: Callable[..., Any]
    bprop: tuple[Rule | None, ...] = ()
    linear: str = ""
    jvp: Rule | None = None
    partials: tuple[Rule | None, ...] = ()
    elementwise: bool = False
    view: bool = False
    floats: bool = False
    scalar: str = ""
    kernel: str = ""
    text: str = ""
    latex: str = ""
    why_zero: str = ""
    kinks: str = ""
    commutative: bool = False
    variadic: bool = False
    steepest: float | None = None
    flops: Callable[[Any], Dim] | None = None
    samples: Samples = no_samples
    summary: str = ""

    @property
    def arity(self) -> int | None:
        """How many inputs the op takes; None for any number."""
        return None if self.variadic else len(self.partials) or len(self.bprop)

    def bprop_for(self, index: int) -> Rule | None:
        """Return the reverse-mode rule for input ``index``, or None."""
        if self.variadic:
            return self.bprop[0] if self.bprop else None
        return self.bprop[index] if index < len(self.bprop) else None

    def __repr__(self) -> str:
        return f"Op({self.name})"

    def __reduce__(self) -> tuple[Callable[[str], Op], tuple[str]]:
        return lookup, (self.name,)


_REGISTRY: dict[str, Op] = {}


def define(op: Op) -> Op:
    """Add ``op`` to the registry and return it.

    Raises:
        GraphError: if the name is taken.
    """
    if op.name in _REGISTRY:
        raise GraphError(f"an op called {op.name!r} is defined already")
    _REGISTRY[op.name] = op
    return op


def lookup(name: str) -> Op:
    """Return the op called ``name``.

    Raises:
        GraphError: if there is none.
    """
    try:
        return _REGISTRY[name]
    except KeyError:
        raise GraphError(f"there is no op called {name!r}") from None


def registered() -> list[Op]:
    """Return every op, sorted by name."""
    return [_REGISTRY[name] for name in sorted(_REGISTRY)]
