"""The statements of one loop nest, and the loops around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from symgrad.ir.node import Node
from symgrad.ir.size import Dim
from symgrad.ir.types import DType
from symgrad.lower.access import Position
from symgrad.lower.source import INDENT
from symgrad.lower.statement import Statement, merge
from symgrad.lower.strips import can_be_cut, cut

SHORT = 256
"""At most so many float32 numbers are added up as such: longer sums are kept in float64. Loops over
parts of an axis have so many elements."""


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
        near: Whether quick functions may be used, which do not take all arguments.
        far: The variable that tells whether one met an argument that it does not take.
        quotients: For each divisor that an elementary function gives, its depth and function, the
            statements that divide by it, each with its numerator.
        around: For statements under an ``if``, the scope that this stands in.
    """

    before: dict[int, list[Statement]] = field(default_factory=dict)
    stores: dict[int, list[Statement]] = field(default_factory=dict)
    after: dict[int, list[Statement]] = field(default_factory=dict)
    values: dict[tuple[Node, Position], tuple[str, int]] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    near: bool = False
    far: str | None = None
    quotients: dict[tuple[str, int, str], list[tuple[Statement, str]]] = field(default_factory=dict)
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

    def assign(
        self, depth: int, name: str, expression: str, dtype: DType | None = None
    ) -> Statement:
        """Add the computation of a temporary."""
        statement = Statement(expression, name, dtype)
        self.before.setdefault(depth, []).append(statement)
        return statement

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
        body = [*statements, Statement(last)]
        merge([body], temporaries)
        self.around.add(depth, f"if {test}:")
        for statement in body:
            self.around.add(depth, INDENT + statement.line)

    def lines(
        self,
        space: Sequence[Dim],
        loop: Callable[[int], Loop],
        temporaries: set[str],
        fresh: Callable[[str], str],
        strip: Callable[[str, DType], str],
    ) -> list[str]:
        """Return the loops around the statements.

        Args:
            space: The sizes of the loops.
            loop: Gives the loop over an axis.
            temporaries: Names of what may be written where it is used.
            fresh: Makes a new name of one.
            strip: Makes an array of `SHORT` elements, given what to call it and its dtype.
        """
        bodies = {
            depth: [self.before.get(depth, []) + self.stores.get(depth, [])]
            for depth in {*self.before, *self.stores}
        }
        deepest = max([*bodies, *self.after, 0])
        innermost = max((d for d in range(1, deepest + 1) if space[d - 1] != 1), default=0)
        block = step = ""
        if innermost and _may_be_long(space[innermost - 1]):
            alone = self._is_alone(innermost, space[:deepest])
            fission = alone and can_be_cut(bodies[innermost][0])
            if fission or self.parts:
                block, step = fresh("block"), fresh("step")
            if fission:
                bodies[innermost] = cut(bodies[innermost][0], step, strip)
        _merge(bodies, self.after, temporaries)
        out = [statement.line for body in bodies.get(0, ()) for statement in body]
        level = 0
        closing: list[list[str]] = []
        for depth in range(1, deepest + 1):
            parts = self.parts if depth == innermost else {}
            heads: list[str] = []
            if space[depth - 1] != 1:
                over = loop(depth - 1)
                if depth == innermost and block:
                    out.append(INDENT * level + _over_strips(over, block))
                    heads = _over_strip(over, block, step)
                    level += 1
                else:
                    heads = _over_all(over, fresh)
                out += [f"{INDENT * level}{part} = np.float32(0.0)" for part in parts]
                level += 1
            inside = [INDENT * level + statement.line for statement in self.after.get(depth, ())]
            after = [f"{INDENT * (level - 1)}{total} += {part}" for part, total in parts.items()]
            closing.append(inside + after)
            for body in bodies.get(depth, [[]]):
                out += [INDENT * (level - 1) + line for line in heads]
                out += [INDENT * level + statement.line for statement in body]
        for lines in reversed(closing):
            out += lines
        return out + [statement.line for statement in self.after.get(0, ())]

    def _is_alone(self, innermost: int, space: Sequence[Dim]) -> bool:
        """Return whether nothing but elements of one axis is computed, and these are many.

        An axis inside another may have a few elements only.
        """
        count = space[-1]
        many = count >= 2 * SHORT if isinstance(count, int) else set(space[:-1]) <= {1}
        return many and innermost == len(space) and innermost not in self.after


def _merge(
    bodies: Mapping[int, Sequence[list[Statement]]],
    after: Mapping[int, list[Statement]],
    temporaries: set[str],
) -> None:
    """Write temporaries that are used once where they are used, in the same body."""
    several = [body for loops in bodies.values() if len(loops) > 1 for body in loops]
    for body in several:
        merge([body], temporaries)
    alone = [loops[0] for loops in bodies.values() if len(loops) == 1]
    merge(alone, temporaries, [*several, *after.values()])


def _may_be_long(dim: Dim) -> bool:
    return not (isinstance(dim, int) and dim <= SHORT)


def _over_all(loop: Loop, fresh: Callable[[str], str]) -> list[str]:
    """Return the head of a loop over an axis."""
    if not loop.first:
        return [f"for {loop.variable} in range({loop.count}):"]
    step = fresh("step")
    return [f"for {step} in range({loop.count}):", f"{INDENT}{_at(loop, step)}"]


def _over_strips(loop: Loop, block: str) -> str:
    """Return the head of a loop over the strips of an axis."""
    return f"for {block} in range(({loop.count} + {SHORT - 1}) // {SHORT}):"


def _over_strip(loop: Loop, block: str, step: str) -> list[str]:
    """Return the head of a loop over a strip."""
    return [
        f"for {step} in range(min({SHORT}, {loop.count} - {SHORT} * {block})):",
        f"{INDENT}{_at(loop, f'{SHORT} * {block} + {step}')}",
    ]


def _at(loop: Loop, step: str) -> str:
    """Return the line that sets the variable of a loop, so many steps after its first value."""
    return f"{loop.variable} = {f'row({loop.first}, {step})' if loop.first else step}"
