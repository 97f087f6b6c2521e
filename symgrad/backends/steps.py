"""A program in steps: a table of calls, which a loop of machine code runs through.

Large programs are compiled as functions for their steps (`lower.outline`), and what is called with
what is data. The table has words of 64 bits, in which everything is named by its position:

- The first words (`Word`) say where the rest begins.
- One word for each number that the program returns or is given, and for each array where its memory
  is: constants, temporaries, and arguments and results, whose words are written for each call. One
  for each number that passes between steps, and for each that stands in the model.
- For each array, and for each view of one: where the address of its memory is, and its sizes.
- What arguments must be (`Given`), what is returned (`Returned`), what must not share memory
  (`Pair`). Sizes are numbers here: a table is for one set of sizes.
- The calls: the address of the code, how many words until the next call, and where each argument
  and each result is. A zero ends them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from types import ModuleType
from typing import Any

import numpy as np

from symgrad.backends import cache, layout
from symgrad.backends.kernel import SteppedModule
from symgrad.backends.memory import LARGE_RESULT, Results
from symgrad.ir.size import Dim, Shape, evaluate, evaluator, multiply, product
from symgrad.ir.types import Array, TensorType

PROGRAM = """from numba import njit, types

from symgrad.backends.steps_writer import Program, run


@njit([(types.int64,)], pipeline_class=Program, no_cfunc_wrapper=True, _nrt=False, cache=True)
def kernel(table):
    run(table)
"""
"""The module that runs all programs in steps."""


class Word(IntEnum):
    """The first words of a table."""

    CALLS = 0
    """Where the calls begin."""
    COUNT = 1
    """How many arguments there are."""
    ARRAY_TYPE = 2
    """The address of the type of arrays, ..."""
    SCALAR = 3
    """... of PyArray_Scalar, ..."""
    NEW_ARRAY = 4
    """... and of PyArray_NewFromDescr."""
    GIVEN = 5
    """Where the arguments are described."""
    RESULTS = 6
    """Where the results are described."""
    MADE = 7
    """How many results there are."""
    APART = 8
    """Where the pairs are."""
    PAIRS = 9
    """How many pairs there are."""
    RELEASED = 10
    """Whether other threads may run Python meanwhile."""
    BARE = 11
    """Whether the only result comes without a tuple around it."""


ADDRESSES = Word.ARRAY_TYPE, Word.SCALAR, Word.NEW_ARRAY


class Given(IntEnum):
    """The words for an argument."""

    TYPE = 0
    """The addresses of two types that a number may have; 0 for an array, ..."""
    ALSO = 1
    FLAGS = 2
    """... which has these flags ..."""
    KIND = 3
    """... and this dtype. A number may be such an array without axes, too."""
    ITEMSIZE = 4
    """How many bytes a number takes; 0 for an array."""
    PLACE = 5
    """The word in which the number is put, or where the array's memory is."""
    RANK = 6
    SHAPE = 7
    """The first of the sizes."""


class Returned(IntEnum):
    """The words for a result."""

    DTYPE = 0
    """The address of the dtype."""
    KEEPER = 1
    """The address of what makes the array; 0 to make a new one here."""
    PLACE = 2
    """The word in which the number is found, or where the array's memory is put."""
    RANK = 3
    """-1 for a number."""
    SHAPE = 4
    """The first of the sizes."""


class Pair(IntEnum):
    """The words for two arguments that must not share memory: where they are, and their bytes."""

    FIRST = 0
    FIRST_BYTES = 1
    SECOND = 2
    SECOND_BYTES = 3
    LENGTH = 4


class Steps:
    """A compiled program, but for what depends on sizes.

    Args:
        program: What was compiled.
        module: What it was compiled to.
        released: Whether it is run without Python's lock.
        results: What keeps the memory of large results.
    """

    def __init__(
        self, program: SteppedModule, module: ModuleType, released: bool, results: Results
    ):
        from symgrad.backends.machine_code import code_of

        self.program = program
        self.results = results
        self.kernel = cache.load(PROGRAM).kernel
        self.address = code_of(self.kernel)
        self.functions = {f.name: getattr(module, f.name) for f in program.outline.functions}
        self.words = [0] * len(Word)
        self.sized: list[int] = []
        self.unknown: list[Dim] = []
        self.places: dict[str, int] = {}
        self.keepers: list[int] = []
        passed = [name for call in program.outline.calls for name in call.results]
        for name in (*program.fixed, *program.arguments, *program.results, *passed):
            if name not in self.places:
                self.places[name] = len(self.words)
                self.words.append(0)
        for text, dtype in program.outline.literals.items():
            self.places[text] = len(self.words)
            self.words.append(int(np.array(text, "S").astype(dtype).view(np.int64)))
        entries = {name: code_of(function) for name, function in self.functions.items()}
        operands = dict(self.places)
        for name, shape in program.shapes.items():
            operands[name] = self._array(name, shape)
        for view in program.outline.views.values():
            operands[view.name] = self._array(view.of, view.shape)
        self._head(released)
        self.words[Word.CALLS] = len(self.words)
        for call in program.outline.calls:
            found = [operands[name] for name in (*call.arguments, *call.results)]
            self.words += [entries[call.function], 2 + len(found), *found]
        self.words.append(0)
        self.dims = evaluator(tuple(self.unknown))
        self.template = np.array(self.words, np.int64)

    def _array(self, of: str, shape: Shape) -> int:
        place = len(self.words)
        self.words.append(self.places[of])
        self._shape(shape)
        return place

    def _shape(self, shape: Shape) -> None:
        self.sized += range(len(self.words), len(self.words) + len(shape))
        self.unknown += shape
        self.words += [0] * len(shape)

    def _head(self, released: bool) -> None:
        """Write what the entry needs to know."""
        program, words = self.program, self.words
        words[Word.COUNT] = len(program.arguments)
        addresses = (id(np.ndarray), *layout.functions())
        for word, address in zip(ADDRESSES, addresses, strict=True):
            words[word] = address
        words[Word.GIVEN] = len(words)
        for name, type_ in program.arguments.items():
            self._given(name, type_)
        words[Word.RESULTS] = len(words)
        words[Word.MADE] = len(program.results)
        for name, type_ in program.results.items():
            self.keepers.append(len(words) + Returned.KEEPER)
            words += [id(type_.dtype), 0, self.places[name], type_.ndim or -1]
            self._shape(type_.shape)
        words[Word.APART] = len(words)
        pairs = program.apart
        words[Word.PAIRS] = len(pairs)
        for pair in pairs:
            for name in pair:
                type_ = program.arguments[name]
                words.append(self.places[name])
                self._shape((multiply(product(type_.shape), type_.dtype.itemsize),))
        words[Word.RELEASED] = released
        words[Word.BARE] = program.bare

    def _given(self, name: str, type_: TensorType) -> None:
        """Write what an argument must be."""
        dtype = type_.dtype
        is_array = name in self.program.shapes
        self.words += (0, 0) if is_array else layout.number_types(dtype)
        self.words += [layout.flags(name in self.program.written), layout.kind(dtype)]
        self.words += [0 if is_array else dtype.itemsize, self.places[name], type_.ndim]
        self._shape(type_.shape)

    def bound(self, fixed: Sequence[Array], sizes: Mapping[str, int]) -> Callable[..., Any]:
        """Return the program for some sizes, with arrays for its constants and temporaries.

        It takes arrays in one piece and numbers of the dtypes that are declared, of these sizes,
        and raises TypeError for anything else.
        """
        table = self.template.copy().view(layout.Table)
        first = len(Word)
        table[first : first + len(fixed)] = [layout.address(array) for array in fixed]
        table[self.sized] = self.dims(sizes)
        keepers = []
        for place, (name, type_) in zip(self.keepers, self.program.results.items(), strict=True):
            shape: Any = evaluate(type_.shape, sizes)
            if shape and math.prod(shape) * type_.dtype.itemsize >= LARGE_RESULT:
                keeper = functools.partial(self.results.empty, name, shape, type_.dtype)
                keepers.append(keeper)
                table[place] = id(keeper)
        table.kept = (self.kernel, self.functions, self.program, tuple(fixed), keepers)
        return layout.function(self.address, table)
