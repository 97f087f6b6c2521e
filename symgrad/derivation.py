"""How a gradient was formed: forward and backward side by side, then every step by its rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symgrad import errors
from symgrad.autodiff import reverse
from symgrad.autodiff.reverse import differentiable, influenced
from symgrad.backends.numpy import NumpyProgram
from symgrad.bind import Signature
from symgrad.derivatives import moved_in, stable_form
from symgrad.ir.graph import NODES_REMOVED, Derivative, Entry, Graph
from symgrad.ir.node import Node
from symgrad.ir.origin import here
from symgrad.ir.sweep import Sweep
from symgrad.ir.types import Array
from symgrad.ir.walk import consumers, reachable
from symgrad.passes.pipeline import optimize
from symgrad.show.derivation import Facts, html_derivation, latex_derivation, unicode_derivation
from symgrad.show.formula import LINES
from symgrad.tensor import Tensor


class Derivation:
    """The derivation of the gradients of a scalar. Print it, or show it in a notebook."""

    def __init__(self, facts: Facts):
        self.facts = facts

    def text(self, lines: int | None = LINES) -> str:
        """Return the derivation for a terminal.

        Args:
            lines: The most lines of each table; None for all of them.
        """
        return unicode_derivation(self.facts, lines)

    def latex(self, lines: int | None = LINES) -> str:
        """Return the derivation as LaTeX, for a document with ``amsmath``."""
        return latex_derivation(self.facts, lines)

    def html(self, lines: int | None = LINES) -> str:
        """Return the derivation as a piece of HTML, its formulas in MathML Core."""
        return html_derivation(self.facts, lines)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<Derivation: {len(self.facts.sweep.totals)} gradients>"

    def _repr_html_(self) -> str:
        return self.html()


def derivation(
    z: Tensor, wrt: Tensor | Sequence[Tensor], at: Mapping[Any, Any] | None = None
) -> Derivation:
    """Return how the gradient of a scalar is formed (Deep Learning, Algorithms 6.5 and 6.6).

    It shows the forward and the backward computation side by side; the pruned graph G′; for each
    ``build_grad(V)`` the consumers of V, their derivatives, the contributions, their sum and the
    nodes inserted; what the passes then simplify; and, with values, the table that one would fill
    in by hand.

    Args:
        z: A float tensor without axes.
        wrt: A float tensor, or a list of them.
        at: Values for every declared tensor that z needs, by tensor or by name.

    Raises:
        GradientError: if z is no real scalar, or a tensor of ``wrt`` is not real.
        ArgumentError: if ``at`` lacks a declared tensor or names another.
        ShapeError, DtypeError: if a value is not as its tensor was declared.
    """
    targets = [wrt] if isinstance(wrt, Tensor) else list(wrt)
    _check(z, targets)
    stable = stable_form([z.node], [t.node for t in targets])
    moved = moved_in(stable)
    root = moved.get(z.node, z.node)
    images = [moved.get(t.node, t.node) for t in targets]
    sweep = Sweep()
    table = reverse.build_grad({root: reverse.ones(root)}, images, sweep)
    gradients = [
        table[image] if image in table else reverse.zeros(t.node)
        for image, t in zip(images, targets, strict=True)
    ]
    derivatives = [Derivative(z.node, (t.node,), moved) for t in targets]
    declared = [n for n in reachable([root, *gradients, *images]) if n.is_input]
    graph = Graph(declared, gradients, derivatives=derivatives)
    nodes = reachable([root, *images])
    facts = Facts(
        graph=graph,
        z=root,
        targets=tuple(images),
        sweep=sweep,
        g_prime=frozenset(sweep.totals),
        reasons=_reasons(nodes, images, sweep),
        stable=[_line(e) for e in stable.ledger if e.action != NODES_REMOVED],
        simplified=optimize(graph, finite=True),
        values={} if at is None else _values(graph, _valued(root, sweep), at),
    )
    return Derivation(facts)


def _valued(root: Node, sweep: Sweep) -> list[Node]:
    return [root, *sweep.totals.values(), *(c.value for c in sweep.contributions)]


def _check(z: Any, targets: Sequence[Any]) -> None:
    listed = [z, *targets]
    if not all(isinstance(t, Tensor) and t.type.is_float for t in listed) or z.shape != ():
        raise errors.GradientError(
            errors.worded(
                f"derivation: z is a real scalar and wrt are real tensors, got {listed!r}",
                made_at=here(),
            )
        )


def _line(entry: Entry) -> str:
    times = f" ×{entry.count}" if entry.count > 1 else ""
    return f"{entry.action}{times} ({', '.join(entry.places)})"


def _reasons(nodes: Sequence[Node], targets: Sequence[Node], sweep: Sweep) -> dict[Node, str]:
    """Return why declared or named values are not in G'."""
    reached = influenced(nodes, targets)
    users = consumers(nodes)
    found: dict[Node, str] = {}
    for node in nodes:
        if node in sweep.totals or not (node.is_input or (node.inputs and node.name)):
            continue
        if not node.type.is_float:
            found[node] = f"{node.type.dtype.name} values have no derivative"
        elif not users[node]:
            found[node] = "never used"
        elif node not in reached:
            found[node] = "not asked for" if node.is_input else "does not depend on what was asked"
        else:
            ends = [
                f"{user.op.name}: {user.op.why_zero or 'no derivative exists'} "
                f"({user.origin.place})"
                for user in users[node]
                if not any(differentiable(user, i) for i, x in enumerate(user.inputs) if x is node)
            ]
            found[node] = "; ".join(dict.fromkeys(ends)) or "every path from it ends later"
    return found


def _values(graph: Graph, further: Sequence[Node], at: Mapping[Any, Any]) -> dict[Node, Array]:
    named = {str(k.node.name) if isinstance(k, Tensor) else str(k): v for k, v in at.items()}
    names = [str(node.name) for node in graph.inputs]
    if set(named) != set(names):
        raise errors.ArgumentError(
            errors.worded(
                f"derivation: at= has values for {', '.join(named) or 'nothing'}; "
                f"needed: {', '.join(names)}",
                made_at=here(),
            )
        )
    arrays, sizes = Signature(graph).bind([named[name] for name in names])
    nodes = reachable([*graph.inputs, *graph.outputs, *further])
    results = NumpyProgram(Graph(graph.inputs, nodes)).run(arrays, sizes)
    return dict(zip(nodes, results, strict=True))
