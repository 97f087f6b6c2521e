"""Formulas of tensors: optimised first, then written in let-form.

A formula is read as mathematics, so identities that fail only for infinities and NaN are applied,
too: x / x is 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from symgrad.ir.graph import Graph, graph_of
from symgrad.passes.pipeline import optimize
from symgrad.show.ascii import ascii_text
from symgrad.show.formula import LINES, latex_text, mathml_text, unicode_text
from symgrad.show.numpy_source import numpy_source as numpy_text
from symgrad.tensor import Tensor

Printable = Tensor | Graph | Sequence[Tensor]


def pretty(value: Printable, *, lines: int | None = LINES, ascii: bool = False) -> str:
    """Return the formula of a tensor, of several, or of a graph's outputs, for a terminal.

    The answers come first, then what the names in them stand for.

    Args:
        value: What to print; it is optimised first, unless it is a graph that is already.
        lines: The most lines to print of what the names stand for; None for all of them.
        ascii: Whether to spell every sign in ASCII: ``x^2`` for ``x²``, ``delta1`` for ``δ₁``.
    """
    text = unicode_text(_optimised(value), lines)
    return ascii_text(text) if ascii else text


def latex(value: Printable, *, lines: int | None = LINES) -> str:
    """Return the formula as LaTeX for math mode: an ``aligned`` environment if it has parts.

    Args:
        value: As for `pretty`.
        lines: As for `pretty`.
    """
    return latex_text(_optimised(value), lines)


def mathml(value: Printable, *, lines: int | None = LINES) -> str:
    """Return the formula as a MathML Core element, for web pages.

    Args:
        value: As for `pretty`.
        lines: As for `pretty`.
    """
    return mathml_text(_optimised(value), lines)


def numpy_source(value: Printable, *, name: str = "function") -> str:
    """Return a formula as a function of plain NumPy, to read, to run and to paste.

    Its arguments are the declared tensors, in the order of their declaration, then sizes that none
    of them has.

    Args:
        value: As for `pretty`.
        name: What the function is called.

    Raises:
        UnsupportedError: for an op that NumPy has no expression for, or a large constant.
    """
    return numpy_text(_optimised(value), name)


def svg(graph: Graph) -> str:
    """Return the picture of a graph, as it stands."""
    from symgrad.show import picture

    return picture.svg(graph)


def _optimised(value: Printable) -> Graph:
    if isinstance(value, Graph):
        graph = value
    else:
        graph = graph_of([value] if isinstance(value, Tensor) else value)
    return graph if graph.provenance else optimize(graph, finite=True)
