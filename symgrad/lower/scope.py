"""The statements of one loop nest, and how they read best: what is used once is written there."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from symgrad.ir.node import Node
from symgrad.ir.size import Dim
from symgrad.lower.access import Position
from symgrad.lower.source import INDENT

_WIDTH = 92
"""A statement that would be longer than this keeps its temporaries."""
_NAME = re.compile(r"(?<![\w.])[a-z]\w*")
SHORT = 256
"""At most so many float32 numbers are added up as such: longer sums are kept in float64."""


@dataclass(slots=True)
class Statement:
    """``target = expression``, or any other line where ``target`` is empty."""

    text: str
    target: str = ""
    merged: bool = False

    @property
    def line(self) -> str:
        """The statement as source."""
        text = f"{self.target} = {self.text}" if self.target else self.text
        # Python's own printer leaves exactly the parentheses that are needed.
        return ast.unparse(ast.parse(text)) if self.merged else text


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop over an axis.

    Attributes:
        variable: Its variable.
        count: How often it runs, as source.
        first: Where the variable starts, as source; empty for 0.
    """

    variable: str
    count: str
    first: str = ""


@dataclass(slots=True)
class Scope:
    """The statements of one nest: those at each loop depth, before and after the inner loops.

    Attributes:
        before: What is computed at each depth, before the loops inside.
        stores: What is stored at each depth, after everything there is computed.
        after: What is done once the loops inside are through.
        values: The expression for each element that is known, and its depth.
        parts: Short float32 sums in the innermost loop, each with the float64 that they go into.
        near: Whether quick functions may be used, which do not take large arguments.
        far: The variable that tells whether an argument was too large for one.
        around: For statements under an ``if``, the scope that this stands in.
    """

    before: dict[int, list[Statement]] = field(default_factory=dict)
    stores: dict[int, list[Statement]] = field(default_factory=dict)
    after: dict[int, list[Statement]] = field(default_factory=dict)
    values: dict[tuple[Node, Position], tuple[str, int]] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    near: bool = False
    far: str | None = None
    around: Scope | None = None

    def inside(self) -> Scope:
        """Return a scope for statements under an ``if``: what is known here is known there."""
        return Scope(values=dict(self.values), near=self.near, around=self)

    @property
    def nest(self) -> Scope:
        """The scope of the whole nest."""
        return self if self.around is None else self.around.nest

    def add(self, depth: int, line: str) -> None:
        """Add a line at ``depth``."""
        self.before.setdefault(depth, []).append(Statement(line))

    def assign(self, depth: int, name: str, expression: str) -> None:
        """Add the computation of a temporary."""
        self.before.setdefault(depth, []).append(Statement(expression, name))

    def store(self, depth: int, line: str) -> None:
        """Add a line that writes to memory."""
        self.stores.setdefault(depth, []).append(Statement(line))

    def finish(self, depth: int, line: str) -> None:
        """Add a line after the inner loops at ``depth``."""
        self.after.setdefault(depth, []).append(Statement(line))

    def add_if(self, depth: int, test: str, last: str, temporaries: set[str]) -> None:
        """Add this scope, and a last statement, to the one around it, under an ``if``."""
        assert self.around is not None
        statements = [s for level in sorted(self.before) for s in self.before[level]]
        bodies = {0: [*statements, Statement(last)]}
        _merge(bodies, [], temporaries)
        self.around.add(depth, f"if {test}:")
        for statement in bodies[0]:
            self.around.add(depth, INDENT + statement.line)

    def lines(
        self,
        space: Sequence[Dim],
        loop: Callable[[int], Loop],
        temporaries: set[str],
        fresh: Callable[[str], str],
    ) -> list[str]:
        """Return the loops around the statements.

        Args:
            space: The sizes of the loops.
            loop: Gives the loop over an axis.
            temporaries: Names of what may be written where it is used.
            fresh: Makes a new name of one.
        """
        bodies = {
            depth: self.before.get(depth, []) + self.stores.get(depth, [])
            for depth in {*self.before, *self.stores}
        }
        _merge(bodies, list(self.after.values()), temporaries)
        deepest = max([*bodies, *self.after, 0])
        innermost = max((d for d in range(1, deepest + 1) if space[d - 1] != 1), default=0)
        out = [statement.line for statement in bodies.get(0, ())]
        level = 0
        closing: list[list[str]] = []
        for depth in range(1, deepest + 1):
            parts = self.parts if depth == innermost else {}
            if space[depth - 1] != 1:
                heads = _heads(loop(depth - 1), space[depth - 1], parts, fresh)
                out += [INDENT * (level + more) + line for more, line in heads]
                level += sum(line.endswith(":") for _, line in heads)
            after = [f"{INDENT * (level - 1)}{total} += {part}" for part, total in parts.items()]
            inside = [INDENT * level + s.line for s in self.after.get(depth, ())]
            closing.append(inside + after)
            out += [INDENT * level + statement.line for statement in bodies.get(depth, ())]
        for lines in reversed(closing):
            out += lines
        return out + [statement.line for statement in self.after.get(0, ())]


def _heads(
    loop: Loop, dim: Dim, parts: Collection[str], fresh: Callable[[str], str]
) -> list[tuple[int, str]]:
    """Return the lines that open a loop, each with how deep it stands.

    Sums in ``parts`` start from 0 before it. Where it may be long, it is cut into blocks, and they
    start again with each of them.
    """
    starts = [f"{part} = np.float32(0.0)" for part in parts]
    count, variable = loop.count, loop.variable
    in_blocks = bool(parts) and not (isinstance(dim, int) and dim <= SHORT)
    if not in_blocks and not loop.first:
        return [*((0, line) for line in starts), (0, f"for {variable} in range({count}):")]
    if in_blocks:
        block, step = fresh("block"), fresh("step")
        at = f"{SHORT} * {block} + {step}"
        heads = [
            (0, f"for {block} in range(({count} + {SHORT - 1}) // {SHORT}):"),
            *((1, line) for line in starts),
            (1, f"for {step} in range(min({SHORT}, {count} - {SHORT} * {block})):"),
        ]
    else:
        at = fresh("step")
        heads = [*((0, line) for line in starts), (0, f"for {at} in range({count}):")]
    value = f"row({loop.first}, {at})" if loop.first else at
    return [*heads, (1 + in_blocks, f"{variable} = {value}")]


def _merge(
    bodies: dict[int, list[Statement]], after: list[list[Statement]], temporaries: set[str]
) -> None:
    """Write each temporary that is used once into the statement beside it that uses it."""
    uses: dict[str, list[Statement]] = {}
    for statements in [*bodies.values(), *after]:
        for statement in statements:
            for name in _NAME.findall(statement.text):
                if name in temporaries:
                    uses.setdefault(name, []).append(statement)
    for depth, statements in bodies.items():
        beside = {id(statement) for statement in statements}
        kept = []
        for statement in statements:
            users = uses.get(statement.target, [])
            if len(users) == 1 and id(users[0]) in beside and _absorb(users[0], statement):
                for name in _NAME.findall(statement.text):
                    if name in temporaries:
                        uses[name] = [users[0] if x is statement else x for x in uses[name]]
            else:
                kept.append(statement)
        bodies[depth] = kept


def _absorb(user: Statement, statement: Statement) -> bool:
    """Write ``statement`` into ``user`` if the line stays short enough to read."""
    if user.text.endswith(":") or user.text.startswith(" "):
        # The head of a block, or a line in one.
        return False
    text = re.sub(rf"(?<![\w.]){statement.target}(?!\w)", f"({statement.text})", user.text)
    if len(text) + len(user.target) > _WIDTH:
        return False
    user.text = text
    user.merged = True
    return True
