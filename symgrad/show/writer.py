"""Writing one value by the texts of what it is computed from."""

from __future__ import annotations

from dataclasses import replace

from symgrad.ir.node import Node, scalar_value
from symgrad.show.notation import Style
from symgrad.show.part import ATOM, QUOTIENT, RELATION, SUM, Part
from symgrad.show.rules import RULES, SILENT, axes_text, known_number

_LAST_AXIS = frozenset({"softmax", "log_softmax", "logsumexp"})
"""Functions of the last axis unless they say otherwise."""


class Writer:
    """Writes values one by one.

    Attributes:
        style: How constructs are spelled.
        parts: The text of each value so far: written out, or its name.
        deltas: Names for the gradients of pre-activations.
    """

    def __init__(self, style: Style):
        self.style = style
        self.parts: dict[Node, Part] = {}
        self.deltas: dict[Node, str] = {}
        self.constants = 0

    def part(self, node: Node) -> Part:
        """Return the text of a value by those of its inputs, which are in ``parts``."""
        value = scalar_value(node)
        if value is not None:
            return self.number(value)
        rule = RULES.get(node.op.name)
        inner = [self.parts[x] for x in node.inputs]
        part = rule(self, node, inner) if rule else self.by_template(node, inner)
        if node.op.name in SILENT:
            return part
        weight = 1 + sum(p.weight for p in inner)
        depth = 1 + max((p.depth for p in inner), default=0)
        shown = bool(node.inputs)
        if not shown:
            return replace(part, factors=())
        opposite, turned = (
            replace(p, weight=weight, depth=depth) if p else None
            for p in (part.opposite, part.turned)
        )
        return replace(part, weight=weight, depth=depth, opposite=opposite, turned=turned)

    def number(self, value: bool | int | float) -> Part:
        """Return a number; a negative one knows its opposite."""
        if isinstance(value, bool):
            return Part(self.style.number(value))
        if value < 0:
            return self.negated(self.number(-value))
        found = known_number(self, value)
        return found or Part(self.style.number(value), number=value)

    def negated(self, part: Part) -> Part:
        """Return a part with a minus sign, or without the one it has."""
        if part.opposite is not None:
            return part.opposite
        if part.turned is not None:
            return part.turned
        text = self.style.prefix(self.style.minus, self.fit(part, QUOTIENT))
        return Part(text, SUM, part.weight, part.depth, opposite=part)

    def by_template(self, node: Node, inner: list[Part]) -> Part:
        """Return an op's own template filled in, or a call."""
        op = node.op
        texts = [part.text for part in inner]
        if (op.text or op.latex) and not op.variadic:
            slots = ", ".join(f"{{{i}}}" for i in range(len(inner)))
            template = op.text or f"{op.name}({slots})"
            relation = template.startswith("{0} ")
            if relation:
                texts = [self.fit(part, SUM) for part in inner]
            text = self.style.filled(template, op.latex, texts)
            return Part(text, RELATION if relation else ATOM)
        axes = node.attrs.get("axis")
        last = op.name in _LAST_AXIS and axes == (node.inputs[0].type.ndim - 1,)
        silent = axes is None or node.type.ndim == 0 or last or op.variadic
        note = [] if silent else [self.style.literal(f"axis={axes_text(axes)}")]
        return Part(self.style.call(op.name.replace("_", " "), texts + note))

    def fit(self, part: Part, strength: int) -> str:
        """Return the text of a part, in parentheses where its place binds more strongly."""
        return part.text if part.strength >= strength else self.style.brackets(part.text)
