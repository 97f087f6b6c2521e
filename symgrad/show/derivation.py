"""A derivation: how a gradient was formed, step by step, in the notation of the formulas.

It is written as sections of tables, whose cells are mathematics or words, for each target: a
terminal, LaTeX, a web page.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symgrad.ir.graph import NODES_REMOVED, Graph
from symgrad.ir.names import value_names, variables
from symgrad.ir.node import Node, scalar_value
from symgrad.ir.sweep import Contribution, Sweep
from symgrad.ir.types import Array
from symgrad.ir.walk import reachable
from symgrad.show.formula import LetForm
from symgrad.show.notation import LATEX, MATHML, UNICODE, Style
from symgrad.show.part import PRODUCT, QUOTIENT, SUM, Part
from symgrad.show.rules import SILENT
from symgrad.show.table import Cell, Section, as_html, as_latex, as_text, listed, said
from symgrad.show.writer import Writer
from symgrad.tensor import Tensor

_LONGEST = 60
"""What is not differentiated is written out up to this length, and has a name from there on."""
_NOISE = "merged constant"
"""What no reader wants to know of the passes."""
_BY_HAND = 60
"""The longest table of values that one would work through by hand."""


@dataclass(frozen=True)
class Facts:
    """What a derivation tells of.

    Attributes:
        graph: The gradients, as the sweep formed them.
        z: The value that is differentiated, in its stable form.
        targets: What it is differentiated by.
        sweep: What the sweep did.
        g_prime: The nodes it visited: ancestors of z into which a target's derivative flows.
        reasons: For nodes outside G' that a reader would expect in it, why they are not.
        stable: What was rewritten before, as lines.
        simplified: The gradients after the passes.
        values: The value of each node of ``graph``, if it was evaluated.
    """

    graph: Graph
    z: Node
    targets: tuple[Node, ...]
    sweep: Sweep
    g_prime: frozenset[Node]
    reasons: Mapping[Node, str]
    stable: Sequence[str]
    simplified: Graph
    values: Mapping[Node, Array] = field(default_factory=dict)


def unicode_derivation(facts: Facts, lines: int | None) -> str:
    """Return a derivation for a terminal."""
    return "\n\n".join(as_text(s) for s in _Derivation(facts, UNICODE, lines).sections()) + "\n"


def latex_derivation(facts: Facts, lines: int | None) -> str:
    """Return a derivation as LaTeX: paragraphs and tables, for a document with ``amsmath``."""
    return "\n\n".join(as_latex(s) for s in _Derivation(facts, LATEX, lines).sections()) + "\n"


def html_derivation(facts: Facts, lines: int | None) -> str:
    """Return a derivation as a piece of HTML with MathML in it."""
    return "\n".join(as_html(s) for s in _Derivation(facts, MATHML, lines).sections()) + "\n"


class _Derivation:
    """Writes one derivation in one style."""

    def __init__(self, facts: Facts, style: Style, lines: int | None):
        self.facts = facts
        self.style = style
        self.lines = lines
        self.writer = _Steps(style)
        self.forward = reachable([facts.z, *facts.targets])
        self.shown: list[Node] = []
        self._name_values()
        self.result = self.writer.parts[facts.z].text
        self.into: dict[Node, list[Contribution]] = {}
        self.out_of: dict[Node, list[Contribution]] = {}
        for c in facts.sweep.contributions:
            self.into.setdefault(c.of, []).append(c)
            self.out_of.setdefault(c.consumer, []).append(c)
        self.terms = {id(c): self._term(c) for c in facts.sweep.contributions}

    def sections(self) -> Iterator[Section]:
        """Return the sections in reading order."""
        yield self._side_by_side()
        yield self._pruning()
        if self.facts.sweep.totals:
            yield self._build_grad()
            yield self._simplification()
        yield self._result()
        if self.facts.values and len(self.facts.sweep.totals) <= _BY_HAND:
            yield self._by_hand()
        if self.facts.values:
            yield from self._gains()

    # Names

    def _name_values(self) -> None:
        facts, parts = self.facts, self.writer.parts
        derivatives = [None, *facts.graph.derivatives]
        outputs = [facts.z, *facts.graph.outputs]
        given = value_names(Graph(facts.graph.inputs, outputs, derivatives=derivatives))
        name_of_z = dict(variables(reachable([facts.z]))).get(facts.z)
        given.setdefault(facts.z, name_of_z or "f")
        taken = set(given.values())
        number = 0
        self.text_of: dict[Node, Part] = {}
        for node in self.forward:
            part = self.writer.written(node)
            self.text_of[node] = part
            if node.is_input:
                parts[node] = part
                continue
            name = given.get(node)
            if node.op.name in ("constant", "size") or (
                name is None
                and node not in facts.g_prime
                and self.style.length(part.text) <= _LONGEST
            ):
                parts[node] = part
                continue
            while name is None:
                number += 1
                if f"u{number}" not in taken:
                    name = f"u{number}"
            parts[node] = Part(self.style.name(name), shape=node.type.shape)
            self.shown.append(node)

    def _gradient(self, node: Node) -> str:
        """Return ∂z/∂node."""
        return self.style.partial(self.result, [self.writer.parts[node].text])

    def _gradient_part(self, node: Node) -> Part:
        # In a line of text it is a quotient among factors; drawn as a fraction it is one factor.
        strength = PRODUCT if self.style.stacked else QUOTIENT
        return Part(self._gradient(node), strength, shape=node.type.shape)

    # One contribution

    def _known(self, consumer: Node) -> dict[Node, Part]:
        total = self.facts.sweep.totals[consumer]
        if consumer is self.facts.z:
            return {total: Part(self.style.number(1))}
        return {total: self._gradient_part(consumer)}

    def _term(self, c: Contribution) -> Part:
        return self.writer.term(c.value, self._known(c.consumer), unit=c.consumer is self.facts.z)

    def _sum(self, node: Node) -> str:
        """Return the gradient of a node as the sum of what its consumers contribute."""
        if node is self.facts.z:
            return self.style.number(1)
        terms = [self.terms[id(c)] for c in self.into[node]]
        text = terms[0].text if len(terms) == 1 else self.writer.fit(terms[0], SUM)
        for term in terms[1:]:
            sign, value = self.style.plus, term
            if term.opposite is not None:
                sign, value = self.style.minus, term.opposite
            text = self.style.infix(text, sign, self.writer.fit(value, SUM))
        return text

    def _equation(self, left: str, sign: str, right: str) -> Cell:
        return Cell(self.style.infix(left, sign, right))

    def _definition(self, node: Node) -> Cell:
        name = self.writer.parts[node].text
        text = self.style.infix(name, self.style.equals, self.text_of[node].text)
        return Cell(text, at=(node.origin.place,))

    # The sections

    def _side_by_side(self) -> Section:
        rows = []
        for node in reversed(self.shown):
            backward = [
                self._equation(self._gradient(c.of), self.style.increased, self.terms[id(c)].text)
                for c in self.out_of.get(node, ())
            ]
            if node is self.facts.z and node in self.facts.sweep.totals:
                one = self._equation(self._gradient(node), self.style.equals, self.style.number(1))
                backward.insert(0, one)
            left = self._definition(node)
            rows += [
                (left if not i else Cell("", at=left.at), cell)
                for i, cell in enumerate(backward or [Cell("")])
            ]
        words = said("Read the left column upwards, and the right one downwards.")
        return self._limited(
            Section("Forward and backward", (words,), ("Forward", "Backward")), rows
        )

    def _pruning(self) -> Section:
        facts = self.facts
        # What a rule needs beside the graph, such as sizes, is not a value that is differentiated.
        whole = [n for n in self.forward if n.op.name not in ("constant", "size")]
        inside = sum(node in facts.g_prime for node in whole)
        reached = [self.writer.parts[t].text for t in facts.targets if t in facts.sweep.totals]
        words = [
            (
                *said(f"Of {_count(len(whole), 'value')}, {inside} are in "),
                Cell(self.style.name("G'")),
                *said(": they lead from "),
                *listed(reached),
                *said(" to "),
                Cell(self.result),
                *said(", and get a gradient."),
            )
        ]
        if not reached:
            words = [said("No derivative flows: what was asked for is zero.")]
        before = "First, so that each value is differentiated once, in its stable form: "
        leads = (before if not i else "" for i in range(len(facts.stable)))
        words += [said(lead + line) for lead, line in zip(leads, facts.stable, strict=True)]
        rows = [
            (Cell(self.writer.parts[node].text), Cell(why, is_math=False))
            for node, why in facts.reasons.items()
        ]
        head = ("Not in it", "Why") if rows else ()
        return self._limited(Section("What is differentiated", tuple(words), head), rows)

    def _build_grad(self) -> Section:
        known = set(self.forward)
        rows: list[tuple[Cell, ...]] = []
        for node, total in self.facts.sweep.totals.items():
            contributions = self.into.get(node, [])
            for i, c in enumerate(contributions):
                first = Cell(self.writer.parts[node].text if not i else "")
                rule = self._rule(c)
                rows.append(
                    (first, self._definition(c.consumer), rule, Cell(self.terms[id(c)].text))
                )
            new = _inner(total, known)
            known.update(new)
            inserted = _count_by_name(new)
            name = self.writer.parts[node].text if not contributions else ""
            line = self._equation(self._gradient(node), self.style.equals, self._sum(node))
            last = Cell(inserted, is_math=False, at=(node.origin.place,))
            rows.append((Cell(name), Cell(""), last, line))
        words = said(
            "For each V, from the last to the first: its consumers, the derivative of each, what "
            "each contributes, and the sum, with the nodes that were inserted for it."
        )
        head = ("V", "Consumer", "Derivative, nodes", "Contribution, sum")
        return self._limited(Section("build_grad(V)", (words,), head), rows)

    def _rule(self, c: Contribution) -> Cell:
        """Return the local derivative ∂C/∂V of an elementwise op, or which rule was used."""
        partial = c.consumer.op.partials[c.position] if c.consumer.op.partials else None
        if partial is None or c.consumer.inputs.count(c.of) > 1:
            return Cell(f"the rule of {c.consumer.op.name}", is_math=False)
        inputs = [Tensor(x) for x in c.consumer.inputs]
        local = partial(Tensor(c.consumer), *inputs)
        if isinstance(local, Tensor):
            text = self.writer.term(local.node, {}).text
        else:
            text = self.writer.number(local).text
        consumer, of = (self.writer.parts[n].text for n in (c.consumer, c.of))
        return self._equation(self.style.partial(consumer, [of]), self.style.equals, text)

    def _simplification(self) -> Section:
        before, after = self.facts.graph, self.facts.simplified
        rows = [
            (
                Cell(entry.stage, is_math=False),
                Cell(_times(entry.action, entry.count), is_math=False),
                Cell(", ".join(entry.places), is_math=False, at=entry.places),
            )
            for entry in after.ledger
            if entry.action != NODES_REMOVED and not entry.action.startswith(_NOISE)
        ]
        words = said(f"The passes leave {len(after)} of {_count(len(before), 'node')}.")
        return self._limited(Section("Simplified", (words,), ("Pass", "Rule", "Where")), rows)

    def _result(self) -> Section:
        found = LetForm(self.facts.simplified, self.style).write()
        rows = [
            (self._equation(name, self.style.equals, text) if name else Cell(text),)
            for name, text, _ in (*found.answers, *found.lets)
        ]
        return self._limited(Section("Result"), rows)

    def _by_hand(self) -> Section:
        values, rows = self.facts.values, []
        for node in [*(n for n in self.forward if n.is_input), *self.shown]:
            total = self.facts.sweep.totals.get(node)
            name = Cell(self.writer.parts[node].text, at=(node.origin.place,))
            cells = [name, self._value(values[node])]
            if total is None:
                cells += [Cell(""), Cell("")]
            else:
                line = self._equation(self._gradient(node), self.style.equals, self._sum(node))
                cells += [line, self._value(values[total])]
            rows.append(tuple(cells))
        head = ("Node", "Value", "Gradient", "Value")
        return self._limited(Section("By hand", (), head), rows)

    def _gains(self) -> Iterator[Section]:
        """Yield how much of a gradient each step passes on, where a step may change that."""
        rows, together, bound = [], 1.0, 1.0
        edges = (*self.into.values(), *self.out_of.values())
        path = all(len(found) == 1 for found in edges)
        for c in self.facts.sweep.contributions:
            limit = _steepest(c)
            if limit == 1 and c.consumer.op.steepest is None:
                continue  # a sum passes all of it on
            before = self._size_of(self.facts.sweep.totals[c.consumer])
            if not before:
                continue
            gain = self._size_of(c.value) / before
            together, bound = together * gain, bound * (math.inf if limit is None else limit)
            known = Cell("" if limit is None else self.style.number(float(f"{limit:.6g}")))
            step = self._rule(c)
            if not step.is_math:
                names = (self.writer.parts[n].text for n in (c.consumer, c.of))
                step = Cell(self.style.partial(next(names), [next(names)]))
            at = (c.consumer.origin.place,)
            rows.append((Cell(step.text, at=at), known, self._number(gain)))
        if not rows:
            return
        words = said(
            "The size of the gradient after each step, relative to that before: Euclidean norms."
        )
        if path:
            # The steps are one chain.
            limit_of_all = Cell("") if math.isinf(bound) else self._number(bound)
            last = Cell(f"all {len(rows)} together", is_math=False)
            rows.append((last, limit_of_all, self._number(together)))
        head = ("Step", "At most", "Here")
        yield self._limited(Section("Vanishing and exploding", (words,), head), rows)

    def _size_of(self, node: Node) -> float:
        return float(np.linalg.norm(np.ravel(self.facts.values[node]).astype(float)))

    def _number(self, value: float) -> Cell:
        if not math.isfinite(value):
            return Cell(str(value), is_math=False)
        return Cell(self.style.number(float(f"{value:.6g}")))

    def _value(self, value: Array) -> Cell:
        return Cell(shown_value(value), is_math=False)

    def _limited(self, section: Section, rows: Sequence[tuple[Cell, ...]]) -> Section:
        words = section.words
        if self.lines is not None and len(rows) > self.lines:
            words += (said(f"{len(rows) - self.lines} more lines are left out."),)
            rows = rows[: self.lines]
        return Section(section.title, words, section.head, tuple(rows))


def _steepest(c: Contribution) -> float | None:
    """Return the largest factor by which a step can change a gradient, if it is known."""
    op = c.consumer.op
    if c.consumer.type.shape != c.of.type.shape:
        return None  # what was broadcast collects the gradients of all its copies
    if op.steepest is not None:
        return op.steepest
    others = [x for i, x in enumerate(c.consumer.inputs) if i != c.position]
    if op.name in ("add", "subtract"):
        return 1.0
    number = scalar_value(others[0]) if op.name in ("multiply", "divide") and others else None
    if number is None or (op.name == "divide" and c.position == 1):
        return None
    factor = abs(number) if op.name == "multiply" else 1 / abs(number) if number else None
    return None if factor is None else float(factor)


class _Steps(Writer):
    """Writes single steps: a value by the names of what it is computed from."""

    def written(self, node: Node) -> Part:
        """Return one op applied to what its inputs are called."""
        if node.op.name in SILENT and node.op.name != "stop_gradient":
            shape = ", ".join(map(str, node.type.shape))
            words = node.op.name.replace("_", " ")
            inner = self.parts[node.inputs[0]].text
            return Part(self.style.call(words, [inner, self.style.literal(f"({shape})")]))
        return self.part(node)

    def term(self, root: Node, named: Mapping[Node, Part], unit: bool = False) -> Part:
        """Return a value in terms of those that have a name, and of these.

        Args:
            root: The value.
            named: How further values are written.
            unit: Whether these are 1, so that products with them show the other factor alone.
        """
        own = dict(named)
        for node in _inner(root, self.parts, named):
            own[node] = self._with(own, node, named if unit else {})
        return own.get(root) or self.parts[root]

    def _with(self, own: Mapping[Node, Part], node: Node, units: Mapping[Node, Part]) -> Part:
        if node.op.name == "multiply":
            others = [x for x in node.inputs if x not in units]
            if len(others) == 1 and len(node.inputs) == 2:
                return own.get(others[0]) or self.parts[others[0]]
        before = {x: self.parts.get(x) for x in node.inputs}
        self.parts.update({x: own[x] for x in node.inputs if x in own})
        part = self.part(node)
        for x, known in before.items():
            if known is None:
                self.parts.pop(x, None)
            else:
                self.parts[x] = known
        return part


def _inner(root: Node, *known: Container[Node]) -> list[Node]:
    """Return ``root`` and what it is computed from, down to nodes that are known."""
    found: set[Node] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if node not in found and not any(node in nodes for nodes in known):
            found.add(node)
            stack.extend(node.inputs)
    return sorted(found, key=lambda node: node.number)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _count_by_name(nodes: Sequence[Node]) -> str:
    names = [n.op.name for n in nodes if n.op.name not in ("constant", "size")]
    if not names:
        return "no new nodes"
    return ", ".join(_times(name, names.count(name)) for name in dict.fromkeys(names))


def _times(text: str, count: int) -> str:
    return f"{text} ×{count}" if count > 1 else text


def shown_value(value: Array) -> str:
    """Return a number in ten digits, a small array in six, a large one as its shape and range."""
    if not value.shape:
        return f"{value[()]:.10g}" if value.dtype.kind == "f" else str(value[()])
    if value.size <= 12:
        digits: Any = {"float_kind": lambda number: f"{number + 0:.6g}"}
        return " ".join(np.array2string(value, separator=", ", formatter=digits).split())
    shape = " × ".join(map(str, value.shape))
    if value.dtype.kind == "b":
        return f"{shape} values, {int(value.sum())} of them true"
    return f"{shape} values from {value.min():.4g} to {value.max():.4g}"
