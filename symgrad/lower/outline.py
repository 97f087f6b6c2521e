"""A large program as calls of small functions: steps of one structure share one function."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from symgrad.ir.types import FLOAT64, INT64, DType, TensorType
from symgrad.lower.scalars import dtype_code
from symgrad.lower.source import Allocation, Line, Product, Source, View, function

_WORD = re.compile(
    r"(?<![\w.])(?:[A-Za-z_]\w*|\d+\.\d*(?:e[-+]?\d+)?|\d+e[-+]?\d+)"
    r"|(?<=[\[ ])(?<!\.shape\[)[1-9]\d*(?=[,\]])"
)
"""A name, a number with a point or an exponent, or one that is a whole index. An index of zero is
left: it is mostly where an axis has one element."""
_ASSIGNED = re.compile(r"^\s*(?:for )?([A-Za-z_]\w*) (?:[-+*|]?=|in) ")
_LOOP = re.compile(r"[ijkl]|i\d+")
"""The variables of loops over axes: they mean something in their own step only."""
_ALIAS = re.compile(r"^(\w+) = (\w+)  # takes its place$")


@dataclass(frozen=True, slots=True)
class StepFunction:
    """A function that does all steps of one structure.

    Attributes:
        name: What it is called.
        types: The types of its arguments. Of arrays, dtype and rank are those of every call.
        text: Its source.
    """

    name: str
    types: tuple[TensorType, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """One step: which function is called, what it is given, and which numbers it returns.

    A number that stands in the source of the step is given to the function, too.
    """

    function: str
    arguments: tuple[str, ...]
    results: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """A program as calls.

    Attributes:
        functions: All that are called.
        calls: The steps, in order.
        views: Names for arrays in other shapes; none is a view of another one.
        literals: Numbers that stand in the source, which are called as they are written.
        returned: The names of the numbers that the program returns.
    """

    functions: tuple[StepFunction, ...]
    calls: tuple[Call, ...]
    views: Mapping[str, View]
    literals: Mapping[str, DType]
    returned: tuple[str, ...]


def kernel_line(line: Line) -> list[str]:
    """Return a line of a kernel: its arrays are there already, and are filled at most."""
    match line:
        case Allocation():
            return [f"fill({line.name}, {line.fill})"] if line.fill else []
        case Product():
            return [line.blas]
        case View():
            return [line.line]
        case _:
            # Comments name lines of the model: a kernel is the same wherever its model stands.
            return [] if not line or line.startswith("#") else [line]


def outlined(
    source: Source, types: Mapping[str, TensorType], returned: Sequence[str] = ()
) -> Outline:
    """Return ``source`` as calls of functions that do its steps.

    Args:
        source: A program.
        types: All that is there before its first step: arguments, temporaries, results.
        returned: The numbers that are returned, as source.
    """
    return _Outliner(source, types).run(returned)


class _Outliner:
    """The functions found so far, by their arguments and text."""

    def __init__(self, source: Source, types: Mapping[str, TensorType]):
        self.source = source
        self.types = dict(types)
        sizes = [line.split(" = ")[0] for line in source.sizes]
        self.numbers = {**source.numbers, **dict.fromkeys(sizes, INT64)}
        self.alias: dict[str, str] = {}
        self.views: dict[str, View] = {}
        self.literals: dict[str, DType] = {}
        self.functions: dict[str, StepFunction] = {}
        self.calls: list[Call] = []

    def run(self, returned: Sequence[str]) -> Outline:
        steps = list(self._steps())
        last: dict[str, int] = {}
        for number, lines in enumerate(steps):
            for line in lines:
                last.update(dict.fromkeys(_words(line), number))
        for text in returned:
            last.update(dict.fromkeys(_words(text), len(steps)))
        for number, lines in enumerate(steps):
            made = self._made(lines)
            later = [n for n in made if last[n] > number and n not in self.types]
            results = {name: f"{dtype_code(self.numbers[name])}({name})" for name in later}
            if lines:
                self._call(lines, made, results)
            for name in results:
                self.types[name] = TensorType(self.numbers[name], ())
        given = {f"result {i}": text for i, text in enumerate(returned)}
        if given:
            self._call([], {}, given)
        return Outline(
            tuple(self.functions.values()),
            tuple(self.calls),
            self.views,
            self.literals,
            tuple(given),
        )

    def _steps(self) -> Iterator[list[str]]:
        yield list(self.source.sizes)
        starts = (0, *self.source.starts[1:])
        for start, end in zip(starts, (*starts[1:], len(self.source.lines)), strict=True):
            lines = []
            for line in self.source.lines[start:end]:
                if isinstance(line, View):
                    self._view(line)
                else:
                    lines += [text for text in kernel_line(line) if text]
            yield [self._resolved(line) for line in lines if not self._is_alias(line)]

    def _view(self, view: View) -> None:
        """Note a view: a step takes it as another array in the same memory."""
        of = self.alias.get(view.of, view.of)
        if of in self.views:
            of = self.views[of].of
        self.views[view.name] = View(view.name, of, view.shape, view.shape_code)
        self.types[view.name] = TensorType(self.types[of].dtype, view.shape)

    def _is_alias(self, line: str) -> bool:
        taken = _ALIAS.match(line)
        if taken:
            self.alias[taken[1]] = self.alias.get(taken[2], taken[2])
        return taken is not None

    @staticmethod
    def _made(lines: list[str]) -> dict[str, None]:
        """Return the variables to which a step assigns numbers."""
        found = [match[1] for line in lines if (match := _ASSIGNED.match(line))]
        return dict.fromkeys(name for name in found if not _LOOP.fullmatch(name))

    def _call(self, lines: list[str], made: dict[str, None], results: Mapping[str, str]) -> None:
        """Call the function with these lines, which is a new one or was called before."""
        if results:
            lines = [*lines, f"return {', '.join(results.values())}"]
        given, text = self._canonical(lines, made)
        types = tuple(self.types[name] for name in given)
        key = "\n".join([*(f"{t.dtype} {t.ndim}" for t in types), *text])
        if key not in self.functions:
            name = f"step_{len(self.functions) + 1}"
            names = tuple(f"a{i + 1}" for i in range(len(given)))
            self.functions[key] = StepFunction(name, types, function(name, names, text))
        self.calls.append(Call(self.functions[key].name, tuple(given), tuple(results)))

    def _resolved(self, line: str) -> str:
        return _replaced(line, lambda word: self.alias.get(word, word))

    def _canonical(
        self, lines: Sequence[str], made: Mapping[str, None]
    ) -> tuple[list[str], list[str]]:
        """Return what lines take, and the lines with that numbered in order of appearance.

        Their own variables are numbered as well. A literal is another argument wherever it stands,
        as two that are equal in one step may differ in the next.
        """
        given: list[str] = []
        own: dict[str, str] = {}

        def taken(name: str) -> str:
            given.append(name)
            return f"a{len(given)}"

        def renamed(word: str) -> str:
            if word[0].isdigit():
                self.literals[word] = INT64 if word.isdigit() else FLOAT64
                self.types[word] = TensorType(self.literals[word], ())
                return taken(word)
            if word in self.types:
                return own[word] if word in own else own.setdefault(word, taken(word))
            if word in made:
                return own.setdefault(word, f"t{len(own) + 1}")
            return word

        return given, [_replaced(line, renamed) for line in lines]


def _replaced(line: str, rename: Callable[[str], str]) -> str:
    if "raise " in line:
        # An error's message has words of its own.
        return line
    return _WORD.sub(lambda match: rename(match[0]), line)


def _words(line: str) -> list[str]:
    return [] if "raise " in line else _WORD.findall(line)
