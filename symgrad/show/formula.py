"""The formula engine: an optimised graph in let-form, in textbook notation.

The answer comes first; parts that are used more than once, or that a reader would name, are named
below it: δ for gradients of pre-activations, the user's own names for the user's expressions.
Nodes are rendered in topological order, each once; what is bound to a name is written by that
name, so that text stays linear in the graph however deep or shared it is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import NamedTuple

from symgrad.ir.graph import Derivative, Graph
from symgrad.ir.names import cotangents, value_names, variables
from symgrad.ir.node import Node
from symgrad.ir.walk import consumers, reachable
from symgrad.show.matrices import is_transpose, repeated_vector
from symgrad.show.notation import LATEX, MATHML, UNICODE, Style, split_name
from symgrad.show.part import PRODUCT, Part
from symgrad.show.rules import SILENT
from symgrad.show.writer import Writer

_LONGEST = 72
_DEEPEST = 12
_REPEATED = 14
"""How much longer a formula may get by writing a short part again instead of naming it."""
_NAMED_DEPTH = 3
"""A sum or product that the user named is written by its name from this depth on, a function of
one from one less: so h1 = tanh(x W) is, and z = x W + b is not.
"""
LINES = 200


class Line(NamedTuple):
    """One equation: a name, which may be empty, what it is, and the value it is of."""

    name: str
    text: str
    node: Node


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula in let-form: answers, and what the names in them stand for."""

    answers: list[Line]
    lets: list[Line]


def unicode_text(graph: Graph, lines: int | None = LINES) -> str:
    """Return the formulas of an optimised graph's outputs, for a terminal."""
    found = LetForm(graph, UNICODE).write()
    rows = [f"{name} = {text}" if name else text for name, text, _ in found.answers]
    lets = found.lets if lines is None else found.lets[:lines]
    width = max((len(let.name) for let in lets), default=0)
    for number, (name, text, _) in enumerate(lets):
        lead = "  where  " if number == 0 else "         "
        rows.append(f"{lead}{name:<{width}} = {text}")
    hidden = len(found.lets) - len(lets)
    if hidden:
        rows.append(f"         … {hidden} more; sg.pretty(..., lines=None) prints them all")
    return "\n".join(rows)


def latex_text(graph: Graph, lines: int | None = LINES) -> str:
    """Return the formulas of an optimised graph's outputs as LaTeX."""
    found = LetForm(graph, LATEX).write()
    rows = [f"{name} &= {text}" if name else f"&{text}" for name, text, _ in found.answers]
    lets = found.lets if lines is None else found.lets[:lines]
    if not lets and len(rows) == 1:
        return rows[0].replace("&", "", 1)
    for number, (name, text, _) in enumerate(lets):
        lead = r"\text{where}\quad " if number == 0 else ""
        rows.append(f"{lead}{name} &= {text}")
    if len(lets) < len(found.lets):
        rows.append(r"&\vdots")
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def mathml_text(graph: Graph, lines: int | None = LINES) -> str:
    """Return the formulas of an optimised graph's outputs as a MathML Core element."""
    found = LetForm(graph, MATHML).write()
    lets = found.lets if lines is None else found.lets[:lines]
    rows = [("", name, text) for name, text, _ in found.answers]
    rows += [("" if i else "where", name, text) for i, (name, text, _) in enumerate(lets)]
    if len(lets) < len(found.lets):
        rows.append(("", "", "<mo>⋮</mo>"))
    cells = [
        f"<mtr><mtd><mtext>{lead}</mtext></mtd>{_RIGHT}<mrow>{name}</mrow></mtd>"
        f"<mtd>{'<mo>=</mo>' if name else ''}</mtd>{_LEFT}<mrow>{text}</mrow></mtd></mtr>"
        for lead, name, text in rows
    ]
    table = "\n".join(cells)
    return (
        '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">'
        f'<mtable displaystyle="true">\n{table}\n</mtable></math>'
    )


_LEFT, _RIGHT = (f'<mtd style="text-align: {side}">' for side in ("left", "right"))
"""MathML Core has no alignment of columns; CSS does."""


class LetForm(Writer):
    """The state of one formula: names, parts, definitions."""

    def __init__(self, graph: Graph, style: Style):
        super().__init__(style)
        self.graph = graph
        self.users = consumers(graph.nodes)
        self.user_names = value_names(graph)
        self.lets: list[tuple[Node, str, str]] = []
        for node in graph.inputs:
            self.declared(str(node.attrs["name"]))
        self.taken |= {self.style.name(name) for name in self.user_names.values()}
        self.deltas = _delta_names(graph, self.taken, style)
        self.fresh: Counter[str] = Counter()
        self.invented: set[str] = set()

    def write(self) -> Formula:
        """Return the answers and what the names in them stand for."""
        for node in self.graph.nodes:
            part = self.part(node)
            name = self._name_for(node, part)
            if name is not None:
                shape = node.type.shape
                if part.opposite is not None and name in self.invented:
                    self.lets.append((node, name, part.opposite.text))
                    part = replace(self.negated(Part(name, shape=shape)), shape=shape)
                else:
                    self.lets.append((node, name, part.text))
                    part = Part(name, shape=shape)
            elif node.op.name == "constant" and part.shape and self.style.is_name(part.text):
                words = self.style.literal(f"constant {node.type}")
                self.lets.append((node, part.text, words))
            self.parts[node] = part
        answers = [
            Line(self._label(node, derivative), self._answer(node), node)
            for node, derivative in zip(self.graph.outputs, self.graph.derivatives, strict=True)
        ]
        return Formula(answers, self._where())

    def _answer(self, node: Node) -> str:
        part = self.parts[node]
        return (repeated_vector(self, node, part) or part).text

    def _where(self) -> list[Line]:
        """Return the definitions: the backward ones in order of computation, then the forward."""
        backward = [let for let in self.lets if let[0].origin.gradient_of is not None]
        forward = [let for let in self.lets if let[0].origin.gradient_of is None]
        return [Line(name, text, node) for node, name, text in (*backward, *forward)]

    def _label(self, node: Node, derivative: Derivative | None) -> str:
        if derivative is None:
            name = self.user_names.get(node)
            shown = self.style.name(name) if name and not node.is_input else ""
            return "" if shown == self.parts[node].text else shown
        of = _result_name(derivative)
        wrt = [self.declared(_target_name(x)) for x in derivative.wrt]
        return self.style.partial(self.style.name(of), wrt)

    # Which values get a name

    def _name_for(self, node: Node, part: Part) -> str | None:
        silent = node.op.name in SILENT or is_transpose(node) or part.identity
        plain = part.transposed is not None and part.transposed.weight == 0
        if (part.opposite or part).weight == 0 or silent or plain:
            return None
        shared = self._uses(node) > 1
        if not shared and self._is_answer(node):
            return None
        if node in self.deltas and (len(self.deltas) > 1 or shared):
            return self.deltas[node]
        backward = node.origin.gradient_of is not None
        user = self.user_names.get(node)
        affine = node.op.name in ("add", "subtract", "multiply", "divide", "matmul")
        nested = part.depth >= (_NAMED_DEPTH if affine else _NAMED_DEPTH - 1)
        if user and not backward and (shared or nested):
            return self.style.name(user)
        length = self.style.length(part.text)
        brackets = 2 * (part.strength < PRODUCT)
        tiny = part.weight <= 1 and length <= 10 and not brackets
        tiny = tiny or (self._uses(node) - 1) * (length + brackets) <= _REPEATED
        if (shared and not tiny) or length > _LONGEST or part.depth >= _DEEPEST:
            return self._fresh("g" if backward else "u")
        return None

    def _is_answer(self, node: Node) -> bool:
        """Return whether a value is printed as an answer, or is one but for its sign."""
        answers = self.graph.outputs
        return node in answers or any(
            user.op.name == "negative" and user in answers for user in self.users[node]
        )

    def _uses(self, node: Node) -> int:
        """Return how often a value is used, also through views that do not show."""
        count = 0
        for user in self.users[node]:
            silent = user.op.name in SILENT or is_transpose(user)
            count += len(self.users[user]) if silent else 1
        return max(count, len(self.users[node]))

    def _fresh(self, letter: str) -> str:
        number = self.fresh[letter] + 1
        while (name := self.style.name(f"{letter}{number}")) in self.taken:
            number += 1
        self.fresh[letter] = number
        self.taken.add(name)
        self.invented.add(name)
        return name


# Names


def _result_name(derivative: Derivative) -> str:
    node = derivative.of
    return dict(variables(reachable([node]))).get(node) or node.name or "f"


def _target_name(node: Node) -> str:
    return node.name or dict(variables(reachable([node]))).get(node) or node.op.name


def _delta_names(graph: Graph, taken: set[str], style: Style) -> dict[Node, str]:
    """Return names for the gradients of pre-activations: δ with the number of the layer."""
    found = {
        node: of
        for node, of in cotangents(graph).items()
        if of.type.ndim and of.op.name in ("add", "subtract", "matmul") and _contracts(of)
    }
    digits = {node: _layer_digits(of) for node, of in found.items()}
    clear = all(digits.values()) and len(set(digits.values())) == len(digits)
    ordered = sorted(found, key=lambda node: found[node].number)
    names: dict[Node, str] = {}
    for number, node in enumerate(ordered, start=1):
        subscript = digits[node] if clear else ("" if len(ordered) == 1 else str(number))
        name = style.name(f"delta{subscript}")
        while name in taken:
            name += "'"
        taken.add(name)
        names[node] = name
    return names


def _affine(node: Node) -> list[Node]:
    """Return what a pre-activation is made of, down to what is neither a sum nor a product."""
    found: list[Node] = []
    stack = [node]
    while stack and len(found) < LINES:
        inner = stack.pop()
        found.append(inner)
        if inner is node or inner.op.name in ("add", "subtract", "matmul", "transpose", *SILENT):
            stack.extend(inner.inputs)
    return found


def _contracts(node: Node) -> bool:
    return any(inner.op.name == "matmul" for inner in _affine(node))


def _layer_digits(node: Node) -> str:
    """Return the number that the parameters of a pre-activation share: 2 for h1 W2 + b2."""
    numbers = {split_name(str(x.attrs["name"]))[1] for x in _affine(node) if x.is_parameter}
    return numbers.pop() if len(numbers) == 1 else ""
