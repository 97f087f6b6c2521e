"""The machine code of an entry: what it does with its arguments, instruction by instruction."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from symgrad.backends import layout
from symgrad.backends.machine_code import Writer, array_at, itemsize_of, numbers_in

_INT = ir.IntType(64)
Dims = Sequence[int | str]


@dataclass(frozen=True, slots=True)
class Interface:
    """What the entry of a kernel takes and returns.

    Attributes:
        shapes: The shape of each argument. A name is the same size wherever it stands; other
            texts are computed of names: ``s0 - 1``.
        relations: What else is true of sizes: ``s0 >= 3``.
        apart: The positions of arguments that must not share memory, in pairs.
        results: What is returned: None for the next of the kernel's numbers, or an array that the
            entry makes: for which argument, and in which shape it is handed out.
        bare: Whether the only result comes without a tuple around it.
    """

    shapes: Sequence[Dims]
    relations: Sequence[str]
    apart: Sequence[tuple[int, int]]
    results: Sequence[tuple[int, Dims] | None]
    bare: bool


@dataclass(frozen=True, slots=True)
class _Memory:
    """Where an array lies, as integers in the machine code, and its type."""

    start: Any
    shape: list[Any]
    type: Any


class EntryWriter(Writer):
    """Writes the entry of a kernel: ``PyObject *entry(table, PyObject *const *given, n)``.

    It reads the table from first to last, and `entry.entry` fills it in the same order:

    - how many arguments are given; addresses of the type of arrays, of PyArray_Scalar, and of
      PyArray_NewFromDescr; how many elements all arrays may have together that are not made here;
    - for each argument that is not made here: an array's address if it is always the same one,
      else 0; or the two types that a number may have. Then the flags and the kind of dtype that
      an array must have;
    - for each array that is made here: its dtype, from how many elements on it is large, and what
      to call then;
    - the dtype of each number that is returned.
    """

    def __init__(
        self, context: Any, module: Any, descriptor: Any, interface: Interface, release_gil: bool
    ):
        super().__init__(context, module, descriptor)
        self.interface = interface
        self.release_gil = release_gil
        self.words = 0
        self.arrays: dict[int, _Memory] = {}
        self.sizes: dict[str, Any] = {}
        self.made: dict[int, Any] = {}

    def write(self) -> None:
        """Write the whole function."""
        builder = self.builder
        self.require(self.same(self.count, self.word()))
        self.array_type, self.make_scalar, self.make_array = (self.word() for _ in range(3))
        self.most = self.word()
        outputs = dict(result for result in self.interface.results if result is not None)
        values: dict[int, Any] = {}
        for i, type_ in enumerate(self.descriptor.argtypes):
            if i not in outputs:
                is_array = isinstance(type_, types.Array)
                values[i] = self.array(i, type_) if is_array else self.number(type_)
        self.check()
        for i, dims in sorted(outputs.items()):
            values[i] = self.output(i, self.descriptor.argtypes[i], dims)
        thread = self.api.save_thread() if self.release_gil else None
        status, result = self.called([values[i] for i in range(len(values))])
        if thread is not None:
            self.api.restore_thread(thread)
        self.unless_raised(status)
        builder.ret(self.returned(result))
        self.end()

    def word(self) -> Any:
        """Return the next word of the table."""
        self.words += 1
        return self.load(self.table, 8 * (self.words - 1))

    def argument(self) -> Any:
        """Return the address of the next object that was given, and go on to the one after it."""
        found = self.load(self.next, 0)
        self.next = self.builder.add(self.next, _INT(8))
        return found

    def array(self, position: int, type_: Any) -> Any:
        """Return the next array, as the kernel takes it: from the table, or else one given."""
        fixed = self.word()
        is_given = self.same(fixed, _INT(0))
        start = self.builder.block
        with self.builder.if_then(is_given):
            given = self.load(self.next, 0)
            middle = self.builder.block
        array = self.builder.phi(_INT)
        array.add_incoming(fixed, start)
        array.add_incoming(given, middle)
        self.next = self.builder.add(self.next, self.builder.select(is_given, _INT(8), _INT(0)))
        flags, kind = self.word(), self.word()
        self.require(self.same(self.load(array, layout.TYPE), self.array_type))
        # A number that is updated has no axes, but one element to the kernel.
        rank = len(self.interface.shapes[position])
        self.require(*self.is_array(array, ir.IntType(32)(rank), flags, kind))
        dims = self.load(array, layout.ArrayFields.dimensions.offset)
        shape = [self.load(dims, 8 * axis) for axis in range(rank)]
        data = self.load(array, layout.ArrayFields.data.offset)
        self.arrays[position] = _Memory(data, shape, type_)
        return array_at(self.context, self.builder, type_, data, shape or [_INT(1)])

    def output(self, position: int, type_: Any, dims: Dims) -> Any:
        """Make the array of a result, and return it as the kernel takes it: maybe reshaped."""
        builder = self.builder
        dtype, large, keeper = self.word(), self.word(), self.word()
        shape = [self.size(dim) for dim in dims]
        count = functools.reduce(builder.mul, shape, _INT(1))
        is_large = builder.icmp_signed(">=", count, large)
        with builder.if_else(is_large, likely=False) as (then, otherwise):
            with then:
                kept = self.kept(builder.inttoptr(keeper, self.object), shape)
                first = builder.block
            with otherwise:
                fresh = self.fresh(dtype, shape)
                second = builder.block
        array = builder.phi(self.object)
        array.add_incoming(kept, first)
        array.add_incoming(fresh, second)
        self.made[position] = self.keeps(self.needs(array))
        data = self.load(self.address(array), layout.ArrayFields.data.offset)
        shape = [self.size(dim) for dim in self.interface.shapes[position]]
        return array_at(self.context, builder, type_, data, shape)

    def kept(self, keeper: Any, shape: list[Any]) -> Any:
        """Call what keeps the memory of large results."""
        dims = [self.needs(self.api.long_from_ssize_t(dim)) for dim in shape]
        made = self.api.call_function_objargs(keeper, dims)
        for dim in dims:
            self.api.decref(dim)
        return made

    def fresh(self, dtype: Any, shape: list[Any]) -> Any:
        """Make a new array."""
        dims = cgutils.alloca_once(self.builder, _INT, size=max(len(shape), 1))
        for axis, dim in enumerate(shape):
            self.builder.store(dim, self.builder.gep(dims, [_INT(axis)]))
        return self.new_array(dtype, ir.IntType(32)(len(shape)), self.address(dims))

    def number(self, type_: Any) -> Any:
        """Return the next number that was given: a Python or NumPy number, or an array of one."""
        value = self.argument()
        type_of_value = self.load(value, layout.TYPE)
        own = self.builder.or_(
            self.same(type_of_value, self.word()), self.same(type_of_value, self.word())
        )
        flags, kind = self.word(), self.word()
        inside = self.builder.add(value, _INT(layout.HEAD))
        found = self.function.append_basic_block()
        other = self.function.append_basic_block()
        start = self.builder.block
        self.builder.cbranch(own, found, other)
        self.builder.position_at_end(other)
        self.require(self.same(type_of_value, self.array_type))
        self.require(*self.is_array(value, ir.IntType(32)(0), flags, kind))
        data = self.load(value, layout.ArrayFields.data.offset)
        last = self.builder.block
        self.builder.branch(found)
        self.builder.position_at_end(found)
        place = self.builder.phi(_INT)
        place.add_incoming(inside, start)
        place.add_incoming(data, last)
        pointer = self.context.get_data_type(type_).as_pointer()
        return self.context.unpack_value(self.builder, type_, self.builder.inttoptr(place, pointer))

    def check(self) -> None:
        """Refuse the call unless shapes, relations and memory are as they must be."""
        arrays = self.arrays.values()
        places = [
            (dim, got)
            for position, array in sorted(self.arrays.items())
            for dim, got in zip(self.interface.shapes[position], array.shape, strict=True)
        ]
        for dim, got in places:
            if isinstance(dim, str) and dim.isidentifier():
                self.sizes.setdefault(dim, got)
        fits = [
            self.same(got, wanted) for dim, got in places if (wanted := self.size(dim)) is not got
        ]
        for relation in self.interface.relations:
            left, sign, right = re.split("(==|>=)", relation)
            fits.append(self.builder.icmp_signed(sign, self.size(left), self.size(right)))
        if self.sizes:
            counts = [functools.reduce(self.builder.mul, a.shape, _INT(1)) for a in arrays]
            count = functools.reduce(self.builder.add, counts)
            fits.append(self.builder.icmp_signed("<=", count, self.most))
        fits += [self.are_apart(self.arrays[i], self.arrays[j]) for i, j in self.interface.apart]
        if fits:
            self.require(*fits)

    def size(self, text: int | str) -> Any:
        """Return a size as an integer: a number, a name, or computed of names."""
        return self.computed(ast.parse(str(text).strip(), mode="eval").body)

    def computed(self, tree: ast.expr) -> Any:
        """Return the value of an expression of sizes."""
        match tree:
            case ast.Constant(value=int() as value):
                return _INT(value)
            case ast.Name(id=name):
                return self.sizes[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.builder.neg(self.computed(operand))
            case ast.BinOp(left=left, op=op, right=right):
                return self.operation(op, self.computed(left), self.computed(right))
            case _:
                raise NotImplementedError(ast.unparse(tree))

    def operation(self, op: ast.operator, a: Any, b: Any) -> Any:
        """Return the sum, difference, product, or quotient rounded down, of two integers."""
        match op:
            case ast.Add():
                return self.builder.add(a, b)
            case ast.Sub():
                return self.builder.sub(a, b)
            case ast.Mult():
                return self.builder.mul(a, b)
            case ast.FloorDiv():
                # Divisors are positive; the processor rounds towards zero.
                below = self.builder.icmp_signed("<", self.builder.srem(a, b), _INT(0))
                return self.builder.sub(self.builder.sdiv(a, b), self.builder.zext(below, _INT))
            case _:
                raise NotImplementedError(type(op).__name__)

    def are_apart(self, a: _Memory, b: _Memory) -> Any:
        """Return whether two arrays share no memory."""
        ends = []
        for array in (a, b):
            itemsize = _INT(itemsize_of(self.context, array.type))
            count = functools.reduce(self.builder.mul, array.shape, itemsize)
            ends.append(self.builder.add(array.start, count))
        apart = self.builder.or_(
            self.builder.icmp_unsigned("<=", ends[0], b.start),
            self.builder.icmp_unsigned("<=", ends[1], a.start),
        )
        for array, end in zip((a, b), ends, strict=True):
            apart = self.builder.or_(apart, self.same(end, array.start))
        return apart

    def returned(self, result: Any) -> Any:
        """Return the results as an object."""
        kinds = numbers_in(self.descriptor.restype)
        if isinstance(self.descriptor.restype, types.BaseTuple):
            numbers = iter(cgutils.unpack_tuple(self.builder, result, len(kinds)))
        else:
            numbers = iter([result])
        boxed = iter([self.boxed(kind, next(numbers)) for kind in kinds])
        items = [
            next(boxed) if made is None else self.made[made[0]] for made in self.interface.results
        ]
        if self.interface.bare:
            return items[0]
        together = self.needs(self.api.tuple_new(len(items)))
        for i, item in enumerate(items):
            self.api.tuple_setitem(together, i, item)
        return together

    def boxed(self, type_: Any, value: Any) -> Any:
        """Return a number as NumPy's scalar."""
        data = self.context.get_value_as_data(self.builder, type_, value)
        slot = self.address(cgutils.alloca_once_value(self.builder, data))
        return self.new_scalar(slot, self.word())
