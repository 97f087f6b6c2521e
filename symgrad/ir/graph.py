"""A graph: declared inputs, outputs, and whatever the outputs reach. There is no global graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Protocol

from symgrad.errors import ArgumentError, GraphError
from symgrad.ir.call import Call, Constraint, constraints_of
from symgrad.ir.flat import Flat, flatten, restore
from symgrad.ir.node import Node
from symgrad.ir.size import Dim, names_in
from symgrad.ir.walk import reachable


@dataclass(frozen=True, slots=True)
class Derivative:
    """What a gradient is the gradient of: ∂``of``/∂``wrt``[0] ∂``wrt``[1] ...

    ``moved`` says which nodes of the stable form that was differentiated stand for nodes that
    the user wrote; nodes that are not in it stand for themselves.
    """

    of: Node
    wrt: tuple[Node, ...]
    moved: Mapping[Node, Node] = field(default_factory=dict)


NODES_REMOVED = "nodes removed"
"""The ledger's entry for how many nodes a pass removed, all in all."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger: which pass did what to how many nodes, and where they came from.

    ``saved`` is how many floating-point operations fewer there are, not counting those that
    nothing needs any more.
    """

    stage: str
    action: str
    places: tuple[str, ...] = ()
    count: int = 1
    saved: Dim = 0

    def __str__(self) -> str:
        where = f"  ({', '.join(self.places)})" if self.places else ""
        return (
            f"{self.stage}: {self.action}" + (f" ×{self.count}" if self.count > 1 else "") + where
        )


class Handle(Protocol):
    """Anything that holds a node, such as a tensor."""

    @property
    def node(self) -> Node:
        """The node that is held."""
        ...


class Graph:
    """Inputs, outputs and the nodes between them, in topological order.

    Args:
        inputs: Declared tensors, in the order in which a compiled function takes them.
        outputs: Any tensors.
        derivatives: What each output is the derivative of, or None; read off the tensors when
            they are given.
        ledger: What the passes did so far.
        provenance: From nodes of the graph that passes started with to nodes that compute the
            same value; where no output needs it any more, one that is not in this graph.

    Raises:
        ArgumentError: if an input is not a declared tensor, or two have the same name.
        GraphError: if the outputs need a declared tensor that is not among the inputs.
    """

    def __init__(
        self,
        inputs: Iterable[Handle | Node],
        outputs: Iterable[Handle | Node],
        *,
        derivatives: Sequence[Derivative | None] | None = None,
        ledger: Sequence[Entry] = (),
        provenance: Mapping[Node, Node] | None = None,
    ):
        inputs, outputs = _listed(inputs, "inputs"), _listed(outputs, "outputs")
        self.inputs: tuple[Node, ...] = tuple(_node(x, "input") for x in inputs)
        self.outputs: tuple[Node, ...] = tuple(_node(x, "output") for x in outputs)
        if derivatives is None:
            derivatives = [getattr(x, "derivative", None) for x in outputs]
        self.derivatives: tuple[Derivative | None, ...] = tuple(derivatives)
        self.ledger: tuple[Entry, ...] = tuple(ledger)
        self.provenance: Mapping[Node, Node] = provenance or {}
        self._check_interface()

    def _check_interface(self) -> None:
        seen: dict[str, Node] = {}
        for node in self.inputs:
            if not node.is_input:
                raise ArgumentError(
                    f"an input must be a declared tensor, got {node!r}\n  made at {node.origin}\n"
                    "  fix: declare it with sg.tensor, or pass what it is computed from"
                )
            name = str(node.attrs["name"])
            if name in seen:
                raise ArgumentError(
                    f"two inputs are called {name!r}\n"
                    f"  made at {seen[name].origin} and {node.origin}"
                )
            seen[name] = node
        declared = set(self.inputs)
        missing = [n for n in self.nodes if n.is_input and n not in declared]
        if missing:
            names = ", ".join(f"{n.name} (made at {n.origin.place})" for n in missing[:5])
            raise GraphError(f"the outputs need tensors that are not among the inputs: {names}")

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every node that the outputs reach, and the inputs, in topological order."""
        return tuple(reachable((*self.inputs, *self.outputs)))

    @cached_property
    def constraints(self) -> tuple[Constraint, ...]:
        """What the named sizes must satisfy at a call, each once, in order of appearance."""
        found: dict[tuple[object, ...], Constraint] = {}
        for node in self.nodes:
            if names_in(node.type.shape) or any(names_in(x.type.shape) for x in node.inputs):
                for c in constraints_of(node):
                    found.setdefault((c.left, c.relation, c.right), c)
        return tuple(found.values())

    def replaced(
        self,
        outputs: Sequence[Node],
        *,
        ledger: Sequence[Entry] = (),
        provenance: Mapping[Node, Node] | None = None,
    ) -> Graph:
        """Return this graph with other outputs of the same meaning and more in the ledger."""
        return Graph(
            self.inputs,
            outputs,
            derivatives=self.derivatives,
            ledger=(*self.ledger, *ledger),
            provenance=self.provenance if provenance is None else provenance,
        )

    def __len__(self) -> int:
        return len(self.nodes)

    def __str__(self) -> str:
        from symgrad.ir.text import graph_text

        return graph_text(self)

    draw: ClassVar[Callable[[Graph], str] | None] = None
    """What draws a graph as SVG; set by the package, since drawing is built on top of graphs."""

    def _repr_svg_(self) -> str | None:
        return Graph.draw(self) if Graph.draw else None

    def __repr__(self) -> str:
        return f"<Graph: {len(self.inputs)} inputs, {len(self)} nodes, {len(self.outputs)} outputs>"

    def __reduce__(self) -> tuple[Callable[..., Graph], tuple[object, ...]]:
        derived = [d for d in self.derivatives if d is not None]
        roots = [
            *self.inputs,
            *self.outputs,
            *(d.of for d in derived),
            *(x for d in derived for x in d.wrt),
        ]
        shape = [None if d is None else len(d.wrt) for d in self.derivatives]
        counts = (len(self.inputs), len(self.outputs), shape)
        return _restore_graph, (flatten(roots), counts, self.ledger)


def graph_of(outputs: Iterable[Handle | Node]) -> Graph:
    """Return the graph of ``outputs``, with every declared tensor that they need as an input."""
    listed = _listed(outputs, "outputs")
    nodes = reachable(_node(x, "output") for x in listed)
    return Graph([node for node in nodes if node.is_input], listed)


def _restore_graph(
    flat: Flat, counts: tuple[int, int, list[int | None]], ledger: tuple[Entry, ...]
) -> Graph:
    nodes = iter(restore(flat))
    inputs = [next(nodes) for _ in range(counts[0])]
    outputs = [next(nodes) for _ in range(counts[1])]
    of = [None if n is None else next(nodes) for n in counts[2]]
    derivatives = [
        None if z is None else Derivative(z, tuple(next(nodes) for _ in range(n or 0)))
        for z, n in zip(of, counts[2], strict=True)
    ]
    return Graph(inputs, outputs, derivatives=derivatives, ledger=ledger)


def _listed(values: Iterable[Handle | Node], what: str) -> list[Handle | Node]:
    if hasattr(values, "node") or isinstance(values, Node) or not isinstance(values, Iterable):
        raise ArgumentError(f"the {what} of a graph are a list of tensors, got {values!r}")
    return list(values)


def _node(value: Handle | Node, what: str) -> Node:
    node = value if isinstance(value, Node) else getattr(value, "node", None)
    if not isinstance(node, Node):
        raise ArgumentError(f"an {what} of a graph is a tensor, got {value!r}")
    return node


@dataclass(slots=True)
class _Types:
    """Re-inferred types, one type rule run per node."""

    problems: list[str] = field(default_factory=list)

    def check(self, node: Node) -> None:
        if node.op.arity is not None and node.op.arity != len(node.inputs):
            self.problems.append(f"{node!r}: takes {node.op.arity} inputs")
            return
        found = node.op.infer(Call(node.op, node.inputs, node.attrs))
        if found.dtype != node.type.dtype or found.ndim != node.type.ndim:
            self.problems.append(f"{node!r}: its type rule says {found}")
        for ours, theirs in zip(node.type.shape, found.shape, strict=False):
            if isinstance(ours, int) and isinstance(theirs, int) and ours != theirs:
                self.problems.append(f"{node!r}: its type rule says {found}")


def verify(graph: Graph, stage: str = "") -> Graph:
    """Return ``graph`` after checking its invariants: order, types and interface.

    Raises:
        GraphError: naming the pass ``stage`` and every node at fault.
    """
    types = _Types()
    for node in graph.nodes:
        if any(x.number >= node.number for x in node.inputs):
            types.problems.append(f"{node!r}: an input was made after it")
        types.check(node)
    if len(graph.derivatives) != len(graph.outputs):
        types.problems.append("the outputs and their derivatives differ in number")
    if types.problems:
        after = f" after pass {stage!r}" if stage else ""
        raise GraphError(f"the graph is broken{after}:\n  " + "\n  ".join(types.problems[:10]))
    return graph
