"""What lowering returns: the source of one function, and what it needs around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from symgrad.ir.cost import Cost
from symgrad.ir.size import Dim, Shape
from symgrad.ir.types import Array, DType

INDENT = "    "
INTRINSICS = frozenset({"fill", "gemv", "interleave", "row", "wide"})
"""Functions that kernels call beside the helpers whose source they have in them."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """The line that makes an array: what it is called, what it holds, who gets it.

    Attributes:
        name: Its variable.
        dtype: The dtype of its elements.
        shape: Its shape.
        dtype_code: The dtype as source.
        shape_code: The shape as source.
        returned: Whether the caller gets it; else it is a temporary.
        fill: What it is filled with, as source; empty where all of it is written later.
    """

    name: str
    dtype: DType
    shape: Shape
    dtype_code: str
    shape_code: str
    returned: bool
    fill: str = ""

    @property
    def line(self) -> str:
        """The statement that makes the array."""
        if self.fill:
            return f"{self.name} = np.full({self.shape_code}, {self.fill})"
        return f"{self.name} = np.empty({self.shape_code}, {self.dtype_code})"


@dataclass(frozen=True, slots=True)
class Product:
    """The line that multiplies matrices, or a matrix and a vector: ``out <- alpha a b + beta out``.

    Attributes:
        a: The left operand, as source.
        b: The right one.
        out: Where the product goes.
        ranks: The rank of each operand: (2, 2), (2, 1) or (1, 2).
        plain: Whether each operand lies in one piece.
        alpha: A factor, as source.
        beta: The factor of what is there already; empty to write over it.
        level: How many loops stand around the line.
    """

    a: str
    b: str
    out: str
    ranks: tuple[int, int]
    plain: tuple[bool, bool] = (True, True)
    alpha: str = "1.0"
    beta: str = ""
    level: int = 0

    @property
    def accumulates(self) -> bool:
        """Whether NumPy's dot cannot do it: it has factors, or adds to what is there."""
        return bool(self.beta) or self.alpha != "1.0"

    @property
    def line(self) -> str:
        """The statement, with NumPy's function where it has one."""
        if self.accumulates:
            line = f"gemm({self.alpha}, {self.a}, {self.b}, {self.beta or '0.0'}, {self.out})"
        else:
            a, b = (
                text if plain else f"np.ascontiguousarray({text})"
                for text, plain in zip((self.a, self.b), self.plain, strict=True)
            )
            line = f"np.dot({a}, {b}, {self.out})"
        return INDENT * self.level + line

    @property
    def blas(self) -> str:
        """The statement as a call of BLAS, which takes rows and columns as they lie."""
        if self.ranks == (2, 2):
            line = f"gemm({self.alpha}, {self.a}, {self.b}, {self.beta or '0.0'}, {self.out})"
        elif self.ranks == (2, 1):
            line = f"gemv({self.a}, {self.b}, {self.out})"
        else:
            flipped = self.b.removesuffix(".T") if self.b.endswith(".T") else f"{self.b}.T"
            line = f"gemv({flipped}, {self.a}, {self.out})"
        return INDENT * self.level + line


@dataclass(frozen=True, slots=True)
class View:
    """The line that gives an array another shape.

    Attributes:
        name: Its variable.
        of: The array that has the elements.
        shape: The new shape.
        shape_code: The same as source.
    """

    name: str
    of: str
    shape: Shape
    shape_code: str

    @property
    def line(self) -> str:
        """The statement that makes the view."""
        return f"{self.name} = {self.of}.reshape({self.shape_code})"


@dataclass(frozen=True, slots=True)
class Result:
    """What a function returns: an expression, and the array that it is or views, if any."""

    code: str
    array: str = ""
    shape: Shape = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a program in words, and what it costs, from memory to memory."""

    text: str
    cost: Cost

    def __str__(self) -> str:
        return self.text


Line = str | Allocation | Product | View


@dataclass(frozen=True, slots=True)
class Source:
    """One generated function, and what it needs around it.

    Attributes:
        name: The function's name.
        arguments: The names of its arguments: one per input, then one per large constant.
        sizes: The lines that read the named sizes off the arguments.
        lines: Its statements, allocations among them.
        returned: What it returns.
        helpers: The source of each helper function that it calls, by name, in order.
        constants: The large constants, passed as arguments.
        steps: Each step in words, with its cost.
        starts: The position in ``lines`` at which each step starts.
        numbers: The dtype of each variable that holds a number of the graph.
        memory: How many bytes its arguments, temporaries and results take.
        allocates: Whether statements other than allocations make arrays.
    """

    name: str
    arguments: tuple[str, ...]
    sizes: tuple[str, ...]
    lines: tuple[Line, ...]
    returned: tuple[Result, ...]
    helpers: dict[str, str]
    constants: tuple[Array, ...]
    steps: tuple[Step, ...]
    starts: tuple[int, ...]
    numbers: dict[str, DType]
    memory: dict[str, Dim]
    allocates: bool

    @property
    def body(self) -> str:
        """The source of the function as a person would write it, without decorator."""
        return self._function(", ".join(result.code for result in self.returned))

    @property
    def returning_tuple(self) -> str:
        """The source with its results as a tuple, also when there is only one."""
        inner = ", ".join(result.code for result in self.returned)
        return self._function(f"({inner},)" if len(self.returned) == 1 else f"({inner})")

    @property
    def allocations(self) -> list[Allocation]:
        """The arrays that it makes, in order."""
        return [line for line in self.lines if isinstance(line, Allocation)]

    def _function(self, result: str) -> str:
        lines = [*self.sizes, *(written(line) for line in self.lines), f"return {result}"]
        return function(self.name, self.arguments, lines)


def written(line: Line) -> str:
    """Return a line as source."""
    return line if isinstance(line, str) else line.line


def function(name: str, arguments: tuple[str, ...], lines: list[str]) -> str:
    """Return the source of a function from its lines."""
    return "\n".join(_indented(f"def {name}({', '.join(arguments)}):", lines)) + "\n"


def _indented(head: str, lines: list[str]) -> Iterator[str]:
    yield head
    for line in lines:
        yield INDENT + line if line else ""
