"""A large program as calls of small functions: steps of one structure share one function."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from symgrad.lower.source import Allocation, Line, Product, Source, function

_WORD = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_ASSIGNED = re.compile(r"^\s*(?:for )?([A-Za-z_]\w*) (?:[-+*|]?=|in) ")
_LOOP = re.compile(r"[ijkl]|i\d+")
"""The variables of loops over axes: they mean something in their own step only."""
_ALIAS = re.compile(r"^(\w+) = (\w+)  # takes its place$")
_VIEW = re.compile(r"^(\w+) = (\w+)(\.reshape\(|\[).*$")


def kernel_line(line: Line) -> list[str]:
    """Return a line of a kernel: its arrays are there already, and are filled at most."""
    match line:
        case Allocation():
            return [f"fill({line.name}, {line.fill})"] if line.fill else []
        case Product():
            return [line.blas]
        case _:
            # Comments name lines of the model: a kernel is the same wherever its model stands.
            return [] if line.startswith("#") else [line]


def outlined(source: Source, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the functions that do the steps of ``source``, and the lines that call them.

    Args:
        source: A program.
        arguments: All that is known before its first step.
    """
    return _Outliner(source, arguments).run()


class _Outliner:
    """The functions found so far, by their text."""

    def __init__(self, source: Source, arguments: Sequence[str]):
        self.source = source
        sizes = [line.split(" = ")[0] for line in source.sizes]
        self.known = {*arguments, *sizes}
        self.alias: dict[str, str] = {}
        self.functions: dict[str, str] = {}
        self.calls: list[str] = []

    def run(self) -> tuple[list[str], list[str]]:
        steps = list(self._steps())
        last: dict[str, int] = {}
        for number, lines in enumerate(steps):
            for line in lines:
                last.update(dict.fromkeys(_words(line), number))
        for result in self.source.returned:
            last.update(dict.fromkeys(_words(result.code), len(steps)))
        for number, lines in enumerate(steps):
            self._step(lines, {name for name, used in last.items() if used > number})
        return list(self.functions.values()), self.calls

    def _steps(self) -> Iterator[list[str]]:
        ends = [*self.source.starts[1:], len(self.source.lines)]
        for start, end in zip(self.source.starts, ends, strict=True):
            lines = [t for line in self.source.lines[start:end] for t in kernel_line(line)]
            yield [line for line in lines if line]

    def _step(self, lines: list[str], later: set[str]) -> None:
        body = []
        for line in lines:
            if taken := _ALIAS.match(line):
                self.alias[taken[1]] = self.alias.get(taken[2], taken[2])
            elif _VIEW.match(line) and len(lines) == 1:
                # Views are made by the driver.
                self.calls.append(self._resolved(line))
                self.known.add(line.split(" = ")[0])
                return
            else:
                body.append(self._resolved(line))
        if not body:
            return
        found = [match[1] for line in body if (match := _ASSIGNED.match(line))]
        made = dict.fromkeys(name for name in found if not _LOOP.fullmatch(name))
        results = [name for name in made if name in later and name not in self.known]
        given: dict[str, str] = {}
        own: dict[str, str] = {}
        text = [self._canonical(line, given, own, made) for line in body]
        if results:
            text.append(f"return {', '.join(own[name] for name in results)}")
        name = f"step_{len(self.functions) + 1}"
        key = "\n".join([*given.values(), *text])
        if key not in self.functions:
            self.functions[key] = function(name, tuple(given.values()), text)
        called = self.functions[key].split("(")[0].removeprefix("def ")
        call = f"{called}({', '.join(given)})"
        self.calls.append(f"{', '.join(results)} = {call}" if results else call)
        for result in results:
            # Compiled code returns Python's numbers: give them their dtype back.
            kind = self.source.numbers.get(result, "np.float64")
            if kind != "np.float64":
                self.calls.append(f"{result} = {kind}({result})")
        self.known.update(results)

    def _resolved(self, line: str) -> str:
        return _replaced(line, lambda word: self.alias.get(word, word))

    def _canonical(
        self, line: str, given: dict[str, str], own: dict[str, str], made: dict[str, None]
    ) -> str:
        """Return a line with its arguments and variables numbered in order of appearance."""

        def renamed(word: str) -> str:
            if word in self.known:
                return given.setdefault(word, f"a{len(given) + 1}")
            if word in made:
                return own.setdefault(word, f"t{len(own) + 1}")
            return word

        return _replaced(line, renamed)


def _replaced(line: str, rename: Callable[[str], str]) -> str:
    if "raise " in line:
        # An error's message has words of its own.
        return line
    return _WORD.sub(lambda match: rename(match[0]), line)


def _words(line: str) -> list[str]:
    return [] if "raise " in line else _WORD.findall(line)
