"""Writing one value by the texts of what it is computed from."""

from __future__ import annotations

from dataclasses import replace

from symgrad.ir.node import Node, scalar_value
from symgrad.show.notation import Style, shortest
from symgrad.show.part import ATOM, POWER, PRODUCT, QUOTIENT, RELATION, SUM, Part
from symgrad.show.rules import (
    RULES,
    SILENT,
    axes_text,
    columns_shown,
    known_number,
    shown_shape,
    told_apart,
)

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
        self.taken: set[str] = set()
        self._declared: dict[str, str] = {}

    def part(self, node: Node) -> Part:
        """Return the text of a value by those of its inputs, which are in ``parts``."""
        value = scalar_value(node)
        if value is not None:
            number = self.number(value)
            opposite = number.opposite and replace(number.opposite, shape=())
            return replace(number, shape=(), opposite=opposite)
        rule = RULES.get(node.op.name)
        inner = [self.parts[x] for x in node.inputs]
        apart = told_apart(self, node, inner) if node.op.elementwise else None
        if apart is not None and node.op.name != "multiply":
            inner = apart
        elif apart is None and node.op.elementwise:
            inner = [columns_shown(self, node, inner, i) for i in range(len(inner))]
        part = rule(self, node, inner) if rule else self.by_template(node, inner)
        if node.op.name in SILENT:
            return part
        weight = 1 + sum(p.weight for p in inner)
        depth = 1 + max((p.depth for p in inner), default=0)
        shown = bool(node.inputs)
        shape = node.type.shape
        if node.op.elementwise and not apart and all(p.shape is not None for p in inner):
            shape = shown_shape(node, inner)
        if not shown:
            return replace(part, factors=(), shape=shape)
        opposite, turned = (
            replace(p, weight=weight, depth=depth, shape=shape) if p else None
            for p in (part.opposite, part.turned)
        )
        return replace(
            part, weight=weight, depth=depth, opposite=opposite, turned=turned, shape=shape
        )

    def number(self, value: bool | int | float) -> Part:
        """Return a number; a negative one knows its opposite."""
        if isinstance(value, bool):
            return Part(self.style.number(value))
        if value < 0:
            return self.negated(self.number(-value))
        found = known_number(self, value)
        strength = (PRODUCT, POWER)[shortest(value)[0] == "1"] if shortest(value)[1] else ATOM
        return found or Part(self.style.number(value), strength, number=value)

    def declared(self, name: str) -> str:
        """Return what a declared tensor is called: x_1 and x1 would look the same."""
        if name not in self._declared:
            text = self.style.name(name)
            while text in self._declared.values():
                text += "'"
            self._declared[name] = text
        return self._declared[name]

    def is_declared(self, text: str) -> bool:
        """Return whether a text is what a declared tensor is called."""
        return text in self._declared.values()

    def unused(self, name: str) -> str:
        """Return a name, with primes if it is taken."""
        text = self.style.name(name)
        while text in self.taken:
            text += "'"
        return text

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
        axes = node.attrs.get("axis")
        last = op.name in _LAST_AXIS and axes == (node.inputs[0].type.ndim - 1,)
        silent = axes is None or node.type.ndim == 0 or last
        if silent or (op.variadic and node.type.ndim == 1):
            note = ""
        else:
            note = self.style.comma + self.style.literal(f"axis={axes_text(axes)}")
        if (op.text or op.latex) and not op.variadic:
            slots = ", ".join(f"{{{i}}}" for i in range(len(inner)))
            template = op.text or f"{op.name}({slots})"
            relation = template.startswith("{0} ")
            if relation:
                texts = [self.fit(part, POWER if " mod " in template else SUM) for part in inner]
            elif note:
                texts[-1] += note
            text = self.style.filled(template, op.latex, texts)
            # 2^(x) and log softmax(x) take brackets before they take an exponent.
            loose = "^" in template or " " in template.partition("(")[0]
            return Part(text, RELATION if relation else POWER if loose else ATOM)
        if note:
            texts[-1] += note
        return Part(self.style.call(op.name.replace("_", " "), texts))

    def fit(self, part: Part, strength: int, last: bool = True) -> str:
        """Return the text of a part, in parentheses where its place binds more strongly.

        With ``last`` false something is written after it, which an open part would take in.
        """
        fits = part.strength >= strength and (last or not part.open)
        return part.text if fits else self.style.brackets(part.text)
