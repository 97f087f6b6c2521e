"""What the values of a graph are called: the user's own names, carried through the passes."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Iterable, Sequence

from symgrad.ir.graph import Graph
from symgrad.ir.node import Node
from symgrad.ir.walk import reachable


def value_names(graph: Graph) -> dict[Node, str]:
    """Return names for nodes of an optimised graph: declared ones, then Python variables.

    A variable assigned several times, as in a loop over layers, is numbered: h1, h2, ...
    """
    names = {node: str(node.attrs["name"]) for node in graph.inputs}
    taken = set(names.values())
    found: dict[str, list[Node]] = {}
    for node, name in _assigned(graph):
        found.setdefault(name, []).append(node)
    for name, nodes in found.items():
        unique = list(dict.fromkeys(nodes))
        for number, node in enumerate(unique, start=1):
            text = name if len(unique) == 1 else f"{name}{number}"
            while text in taken:
                text += "'"
            if node not in names:
                names[node] = text
                taken.add(text)
    return names


def _assigned(graph: Graph) -> list[tuple[Node, str]]:
    """Return nodes of ``graph`` that stand for values the user assigned to a variable."""
    sources = graph.provenance or {node: node for node in graph.nodes}
    moved: dict[Node, Node] = {}
    roots = list(sources)
    for derivative in graph.derivatives:
        if derivative is not None:
            roots.append(derivative.of)
            moved.update(derivative.moved)
    alive = set(graph.nodes)
    found = []
    for node, name in variables(reachable(roots)):
        # Where the stable form is not in the graph, the value itself may be.
        image = sources.get(moved.get(node, node)) or sources.get(node)
        if image in alive and not image.is_input and image.op.name not in ("constant", "size"):
            found.append((image, name))
    return found


def variables(nodes: Iterable[Node]) -> list[tuple[Node, str]]:
    """Return the nodes that are the value of an assignment, each with its variable.

    One call, such as ``np.mean(x)``, may make several nodes at one place; the last is the value.
    A loop runs the same place several times, which shows as a repeated pattern of ops.
    """
    places: dict[tuple[object, ...], list[Node]] = {}
    for node in nodes:
        origin = node.origin
        if not node.is_input and origin.gradient_of is None and origin.code is not None:
            key = (origin.file, id(origin.code), origin.instruction)
            places.setdefault(key, []).append(node)
    found = []
    for made in places.values():
        name = made[0].origin.variable
        if name is not None:
            period = _period([node.op.name for node in made])
            found += [(node, name) for node in made[period - 1 :: period]]
    return sorted(found, key=lambda pair: pair[0].number)


def _period(ops: Sequence[str]) -> int:
    """Return the length of the shortest pattern that ``ops`` repeats."""
    count = len(ops)
    for length in range(1, count + 1):
        if count % length == 0 and all(ops[i] == ops[i % length] for i in range(length, count)):
            return length
    return count


def cotangents(graph: Graph) -> dict[Node, Node]:
    """Return, for nodes of an optimised graph that are gradients, what they are gradients of.

    Of the nodes inserted while forming the gradient of V, the last is that gradient.
    """
    sources = graph.provenance or {node: node for node in graph.nodes}
    last: dict[Node, Node] = {}
    for node in sources:
        of = node.origin.gradient_of
        if of is not None and (of not in last or node.number > last[of].number):
            last[of] = node
    alive = set(graph.nodes)
    found: dict[Node, Node] = {}
    for of, node in sorted(last.items(), key=lambda pair: pair[0].number):
        image = sources[node]
        if image in alive:
            found[image] = of
    return found


def identifier(name: str, taken: set[str]) -> str:
    """Return a Python identifier like ``name``, in ASCII, that is not in ``taken``; it is added."""
    text = "".join(_ASCII.get(c, c if c.isascii() and (c.isalnum() or c == "_") else "_")
                   for c in name).strip("_") or "v"  # fmt: skip
    if text[0].isdigit():
        text = f"v_{text}"
    name = text
    if text in taken or text in _RESERVED:
        # A large graph has thousands of one name: double the number, then halve the distance.
        used, free = 1, 2
        while f"{text}_{free}" in taken:
            used, free = free, 2 * free
        while free - used > 1:
            middle = (used + free) // 2
            used, free = (middle, free) if f"{text}_{middle}" in taken else (used, middle)
        name = f"{text}_{free}"
    taken.add(name)
    return name


_RESERVED = frozenset(
    {*dir(builtins), *keyword.kwlist, *keyword.softkwlist, "np", "math", "njit", "types"}
    | {"INPUTS", "PARAMETERS", "LABELS", "TOLERANCE"}
    | {"value_and_grad", "forward", "initial", "check"}
)
"""Names with a meaning in generated code."""

_ASCII = {c: str(i) for i, c in enumerate("₀₁₂₃₄₅₆₇₈₉")} | {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "θ": "theta",
    "λ": "lambda_", "μ": "mu", "σ": "sigma", "φ": "phi", "ω": "omega", "η": "eta", "ρ": "rho",
}  # fmt: skip
