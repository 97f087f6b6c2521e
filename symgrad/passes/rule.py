"""Rewrite rules as identities one can read: ``log(1 + x) -> log1p(x)``.

On the left, names stand for any expression (twice the same name, twice the same node), ``c`` and
``d`` for constants only, numbers for constants of that value in any dtype, and functions for ops
by name. The right side is built from the same pieces, by the ops themselves.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from symgrad.errors import GraphError
from symgrad.ir.node import Node, scalar_value
from symgrad.ir.op import lookup
from symgrad.ops.shape import broadcast_to
from symgrad.tensor import Tensor, constant, elementwise

_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.Pow: "power",
    ast.USub: "negative",
}
_CONSTANT_NAMES = frozenset({"c", "d"})

_CONSTANTS = frozenset({"constant", "broadcast_to", "expand_dims", "reshape"})
"""The ops that a constant, as `scalar_value` sees it, may start with."""

Bindings = Mapping[str, Node]


@dataclass(frozen=True, slots=True)
class Variable:
    """Any expression, or any constant."""

    name: str


@dataclass(frozen=True, slots=True)
class Number:
    """A constant of this value."""

    value: float


@dataclass(frozen=True, slots=True)
class Applied:
    """An op applied to patterns."""

    op: str
    operands: tuple[Pattern, ...]


Pattern = Variable | Number | Applied


@dataclass(frozen=True, slots=True)
class Rule:
    """One identity: its text, both sides, and whether it holds for finite values only."""

    text: str
    left: Applied
    right: Pattern
    finite_only: bool = False

    @property
    def needs(self) -> frozenset[str]:
        """The ops that must be among the operands for the rule to fit: a quick first look."""
        return frozenset(p.op for p in self.left.operands if isinstance(p, Applied))

    @property
    def needs_number(self) -> bool:
        """Whether one operand must be a constant."""
        return any(
            isinstance(p, Number) or (isinstance(p, Variable) and p.name in _CONSTANT_NAMES)
            for p in self.left.operands
        )


def rules(text: str, finite_only: bool = False) -> list[Rule]:
    """Return the rules in ``text``, one per line; blank lines and comments are skipped."""
    found = []
    for line in text.splitlines():
        identity = line.split("#")[0].strip()
        if identity:
            left, right = (_parse(side.strip()) for side in identity.split("->"))
            if not isinstance(left, Applied):
                raise GraphError(f"a rule rewrites an operation: {identity}")
            found.append(Rule(" ".join(identity.split()), left, right, finite_only))
    return found


def _parse(text: str) -> Pattern:
    return _pattern(ast.parse(text, mode="eval").body)


def _pattern(tree: ast.expr) -> Pattern:
    match tree:
        case ast.Name(id=name):
            return Variable(name)
        case ast.Constant(value=int() | float() as value):
            return Number(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return Number(-value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return Applied("negative", (_pattern(operand),))
        case ast.BinOp(left=left, op=op, right=right):
            return Applied(_OPERATORS[type(op)], (_pattern(left), _pattern(right)))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return Applied(name, tuple(_pattern(a) for a in arguments))
        case _:
            raise GraphError(f"a rule cannot say {ast.unparse(tree)!r}")


# Matching recurses over a rule, which a developer wrote, never over a graph.


def matches(
    pattern: Pattern, node: Node, bound: Bindings, keep: frozenset[Node]
) -> Iterator[Bindings]:
    """Yield each way in which ``pattern`` fits ``node``, as values for the names in it.

    Nodes in ``keep`` are fit only by names: they must stay, so no rule may look inside them.
    """
    match pattern:
        case Variable(name):
            if name in _CONSTANT_NAMES and scalar_value(node) is None:
                return
            if bound.get(name, node) is node:
                yield {**bound, name: node}
        case Number(value):
            if scalar_value(node) == value and node.type.dtype.kind != "b":
                yield bound
        case Applied(op, operands):
            if node.op.name == op and node not in keep:
                for order in _orders(node):
                    yield from _match_all(operands, order, bound, keep)


def _orders(node: Node) -> Iterable[tuple[Node, ...]]:
    return permutations(node.inputs) if node.op.commutative else (node.inputs,)


def _match_all(
    patterns: tuple[Pattern, ...], nodes: tuple[Node, ...], bound: Bindings, keep: frozenset[Node]
) -> Iterator[Bindings]:
    if not patterns:
        yield bound
        return
    for found in matches(patterns[0], nodes[0], bound, keep):
        yield from _match_all(patterns[1:], nodes[1:], found, keep)


def build(pattern: Pattern, bound: Bindings, like: Node) -> Tensor:
    """Return the right side of a rule, with numbers in the dtype of ``like``."""
    match pattern:
        case Variable(name):
            return Tensor(bound[name])
        case Number(value):
            return constant(value, like.type.dtype)
        case Applied(op, operands):
            values: list[Any] = [
                operand.value if isinstance(operand, Number) else build(operand, bound, like)
                for operand in operands
            ]
            return elementwise(lookup(op), *values)


class Rewriter:
    """Rules sorted by the op at their root, applied to one node at a time."""

    def __init__(self, listed: Iterable[Rule]):
        self.by_op: dict[str, list[tuple[frozenset[str], bool, Rule]]] = {}
        for rule in listed:
            entry = (rule.needs, rule.needs_number, rule)
            self.by_op.setdefault(rule.left.op, []).append(entry)

    def __call__(self, node: Node, keep: frozenset[Node] = frozenset()) -> tuple[Node, str] | None:
        """Return what the first rule that fits makes of ``node``, and the rule's text."""
        candidates = self.by_op.get(node.op.name)
        if candidates is None:
            return None
        operands = {x.op.name for x in node.inputs}
        number = not _CONSTANTS.isdisjoint(operands)
        for needs, needs_number, rule in candidates:
            if not needs <= operands or (needs_number and not number):
                continue
            for bound in matches(rule.left, node, {}, keep - {node}):
                result = build(rule.right, bound, node)
                if result.dtype == node.type.dtype:
                    return broadcast_to(result, node.type.shape).node, rule.text
        return None
