"""The machine code of programs in steps: what a table of calls (`steps`) is run by.

A step has an entry that takes its arguments from the table. The entry that Python calls is one for
all programs: what it has to check, to make and to return is in the table, too.

Only generated modules import this one, and with it Numba.
"""

# mypy: disable-error-code="no-untyped-call,assignment"

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from symgrad.backends import layout
from symgrad.backends.entry import Entered
from symgrad.backends.machine_code import (
    Writer,
    array_at,
    kernel_called,
    name_of,
    numbers_in,
    numbers_of,
)
from symgrad.backends.steps import ADDRESSES, Given, Pair, Returned, Word

_INT = ir.IntType(64)
_CODE = ir.IntType(32)
_WORDS = _INT.as_pointer()


def _step_type(context: Any) -> Any:
    """Return the type of a step's entry: ``int entry(exception, table, places)``; 0 if all went."""
    function = context.call_conv.get_function_type(types.none, ())
    return ir.FunctionType(_CODE, [function.args[1], _WORDS, _WORDS])


def _write_step(context: Any, module: Any, descriptor: Any, _release_gil: bool) -> None:
    """Write what calls a step with arguments from the table, and puts its results there."""
    kinds, returned = descriptor.argtypes, descriptor.restype
    signature = context.call_conv.get_function_type(returned, kinds)
    step = ir.Function(module, signature, descriptor.llvm_func_name)
    function = ir.Function(module, _step_type(context), name_of(descriptor))
    exception, table, places = function.args
    builder = ir.IRBuilder(function.append_basic_block())

    def word(start: Any, index: Any) -> Any:
        return builder.gep(start, [index])

    def place(number: int) -> Any:
        return word(table, builder.load(word(places, _INT(number))))

    def argument(number: int, kind: Any) -> Any:
        here = place(number)
        if not isinstance(kind, types.Array):
            pointer = context.get_data_type(kind).as_pointer()
            return context.unpack_value(builder, kind, builder.bitcast(here, pointer))
        start = builder.load(word(table, builder.load(here)))
        shape = [builder.load(word(here, _INT(1 + axis))) for axis in range(kind.ndim)]
        return array_at(context, builder, kind, start, shape)

    values = [argument(i, kind) for i, kind in enumerate(kinds)]
    status, result = kernel_called(context, builder, step, descriptor, values)
    with builder.if_then(status.is_error, likely=False):
        builder.store(status.excinfoptr, exception)
        builder.ret(status.code)
    numbers = numbers_of(builder, returned, result)
    for i, (kind, value) in enumerate(zip(numbers_in(returned), numbers, strict=True), len(kinds)):
        data = context.get_value_as_data(builder, kind, value)
        builder.store(data, builder.bitcast(place(i), data.type.as_pointer()))
    builder.ret(_CODE(0))


@intrinsic
def run(_typing: Any, table: Any) -> Any:
    """Do all steps in a table, given by its address; an error in one of them ends them."""

    def code(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        words = builder.inttoptr(values[0], _WORDS)
        exception = builder.function.args[1]
        first = builder.load(builder.gep(words, [_INT(Word.CALLS)]))
        before = builder.block
        head, body, failed, further, end = (builder.append_basic_block() for _ in range(5))
        builder.branch(head)
        builder.position_at_end(head)
        call = builder.phi(_INT)
        call.add_incoming(first, before)
        place = builder.gep(words, [call])
        address = builder.load(place)
        builder.cbranch(builder.icmp_unsigned("==", address, _INT(0)), end, body)
        builder.position_at_end(body)
        entry = builder.inttoptr(address, _step_type(context).as_pointer())
        status = builder.call(entry, [exception, words, builder.gep(place, [_INT(2)])])
        builder.cbranch(builder.icmp_unsigned("==", status, _CODE(0)), further, failed)
        builder.position_at_end(failed)
        builder.ret(status)
        builder.position_at_end(further)
        length = builder.load(builder.gep(place, [_INT(1)]))
        call.add_incoming(builder.add(call, length), further)
        builder.branch(head)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return types.void(table), code


class _ProgramWriter(Writer):
    """Writes the entry of all programs in steps."""

    def write(self) -> None:
        """Write the whole function."""
        builder = self.builder
        self.require(self.same(self.count, self.word(Word.COUNT)))
        self.array_type, self.make_scalar, self.make_array = map(self.word, ADDRESSES)
        self.read()
        together = self.keeps(self.needs(self.python("PyTuple_New", self.word(Word.MADE))))
        self.make(together)
        # To make objects may have run other code, which has called this function.
        self.refused = self.refusal()
        self.read()
        self.place_results(together)
        released = builder.icmp_unsigned("!=", self.word(Word.RELEASED), _INT(0))
        thread = cgutils.alloca_once(builder, cgutils.voidptr_t)
        with builder.if_then(released):
            builder.store(self.api.save_thread(), thread)
        status, _ = self.called([self.table])
        with builder.if_then(released):
            self.api.restore_thread(builder.load(thread))
        self.unless_raised(status)
        self.box(together)
        with builder.if_then(builder.icmp_unsigned("!=", self.word(Word.BARE), _INT(0))):
            only = self.python("PyTuple_GetItem", together, _INT(0))
            self.api.incref(only)
            self.api.decref(together)
            builder.ret(only)
        builder.ret(together)
        self.end()

    def word(self, index: int) -> Any:
        """Return one of the first words."""
        return self.load(self.table, 8 * index)

    def at(self, start: Any, offset: int = 0) -> Any:
        """Return a word that is so many words after another."""
        return self.load(self.place(start), 8 * offset)

    def place(self, index: Any) -> Any:
        """Return the address of a word."""
        return self.builder.add(self.table, self.builder.mul(index, _INT(8)))

    def put(self, value: Any, index: Any) -> None:
        """Set a word."""
        self.builder.store(value, self.builder.inttoptr(self.place(index), _WORDS))

    def python(self, name: str, *values: Any) -> Any:
        """Call one of Python's functions that return an object."""
        signature = ir.FunctionType(self.object, [value.type for value in values])
        function = cgutils.get_or_insert_function(self.builder.module, signature, name)
        return self.builder.call(function, values)

    def read(self) -> None:
        """Take all arguments: compare what they are, and note the numbers, and where arrays lie."""
        self.take()
        self.compare()

    def take(self) -> None:
        """Take all arguments that are as they must be."""
        builder = self.builder
        here = cgutils.alloca_once_value(builder, self.word(Word.GIVEN))
        with cgutils.for_range(builder, self.count) as loop:
            entry = builder.load(here)
            place = builder.add(self.next, builder.mul(loop.index, _INT(8)))
            start = self.start_of(entry, self.load(place, 0))
            itemsize = self.at(entry, Given.ITEMSIZE)
            target = self.at(entry, Given.PLACE)
            with builder.if_else(self.same(itemsize, _INT(0))) as (is_array, is_number):
                with is_array:
                    self.put(start, target)
                with is_number:
                    ends = (self.place(target), start)
                    to, source = (builder.inttoptr(end, cgutils.voidptr_t) for end in ends)
                    cgutils.raw_memcpy(builder, to, source, itemsize, _INT(1))
            rank = self.at(entry, Given.RANK)
            builder.store(builder.add(builder.add(entry, _INT(Given.SHAPE)), rank), here)

    def start_of(self, entry: Any, value: Any) -> Any:
        """Return where the number in an object lies, or the elements of an array that fits."""
        builder = self.builder
        found = cgutils.alloca_once(builder, _INT)
        type_of_value = self.load(value, layout.TYPE)
        own = builder.or_(
            self.same(type_of_value, self.at(entry, Given.TYPE)),
            self.same(type_of_value, self.at(entry, Given.ALSO)),
        )
        with builder.if_else(own) as (is_number, is_other):
            with is_number:
                builder.store(builder.add(value, _INT(layout.HEAD)), found)
            with is_other:
                self.require(self.same(type_of_value, self.array_type))
                rank = self.at(entry, Given.RANK)
                flags, kind = self.at(entry, Given.FLAGS), self.at(entry, Given.KIND)
                self.require(*self.is_array(value, builder.trunc(rank, _CODE), flags, kind))
                dims = self.load(value, layout.ArrayFields.dimensions.offset)
                with cgutils.for_range(builder, rank) as loop:
                    got = self.load(builder.add(dims, builder.mul(loop.index, _INT(8))), 0)
                    wanted = self.at(builder.add(entry, loop.index), Given.SHAPE)
                    self.require(self.same(got, wanted))
                builder.store(self.load(value, layout.ArrayFields.data.offset), found)
        return builder.load(found)

    def compare(self) -> None:
        """Refuse the call where something written shares memory with something read."""
        builder = self.builder
        first = self.word(Word.APART)
        with cgutils.for_range(builder, self.word(Word.PAIRS)) as loop:
            entry = builder.add(first, builder.mul(loop.index, _INT(Pair.LENGTH)))
            a, b = (self.at(self.at(entry, place)) for place in (Pair.FIRST, Pair.SECOND))
            sizes = [self.at(entry, place) for place in (Pair.FIRST_BYTES, Pair.SECOND_BYTES)]
            apart = [
                builder.icmp_unsigned("<=", builder.add(a, sizes[0]), b),
                builder.icmp_unsigned("<=", builder.add(b, sizes[1]), a),
                *(self.same(size, _INT(0)) for size in sizes),
            ]
            any_of = apart[0]
            for condition in apart[1:]:
                any_of = builder.or_(any_of, condition)
            self.require(any_of)

    def make(self, together: Any) -> None:
        """Make the arrays of results, in the tuple that is returned."""
        with self.each_result() as (entry, position):
            self.python_set(together, position, self.needs(self.new(entry)))

    def place_results(self, together: Any) -> None:
        """Note where the arrays of results lie."""
        with self.each_result() as (entry, position):
            array = self.address(self.python("PyTuple_GetItem", together, position))
            data = self.load(array, layout.ArrayFields.data.offset)
            self.put(data, self.at(entry, Returned.PLACE))

    def new(self, entry: Any) -> Any:
        """Make an array: as the table says, or a new one."""
        builder = self.builder
        keeper = self.at(entry, Returned.KEEPER)
        made = cgutils.alloca_once(builder, self.object)
        with builder.if_else(self.same(keeper, _INT(0))) as (is_new, is_kept):
            with is_new:
                dims = self.place(builder.add(entry, _INT(Returned.SHAPE)))
                rank = self.at(entry, Returned.RANK)
                dtype = self.at(entry, Returned.DTYPE)
                builder.store(self.new_array(dtype, builder.trunc(rank, _CODE), dims), made)
            with is_kept:
                called = builder.inttoptr(keeper, self.object)
                builder.store(self.python("PyObject_CallNoArgs", called), made)
        return builder.load(made)

    def box(self, together: Any) -> None:
        """Make the results that are numbers."""
        with self.each_result(numbers=True) as (entry, position):
            place = self.place(self.at(entry, Returned.PLACE))
            number = self.new_scalar(place, self.at(entry, Returned.DTYPE))
            self.python_set(together, position, number)

    def python_set(self, together: Any, position: Any, item: Any) -> None:
        """Put an object into a tuple, which owns it then."""
        signature = ir.FunctionType(_CODE, [self.object, _INT, self.object])
        module = self.builder.module
        function = cgutils.get_or_insert_function(module, signature, "PyTuple_SetItem")
        self.builder.call(function, [together, position, item])

    @contextmanager
    def each_result(self, numbers: bool = False) -> Iterator[tuple[Any, Any]]:
        """Write a loop over the results that are arrays, or numbers.

        It gives their place in the table, and in the tuple.
        """
        builder = self.builder
        here = cgutils.alloca_once_value(builder, self.word(Word.RESULTS))
        with cgutils.for_range(builder, self.word(Word.MADE)) as loop:
            entry = builder.load(here)
            rank = self.at(entry, Returned.RANK)
            is_number = builder.icmp_signed("<", rank, _INT(0))
            with builder.if_then(is_number if numbers else builder.not_(is_number)):
                yield entry, loop.index
            dims = builder.select(is_number, _INT(0), rank)
            builder.store(builder.add(builder.add(entry, _INT(Returned.SHAPE)), dims), here)


def _write_program(context: Any, module: Any, descriptor: Any, _release_gil: bool) -> None:
    """Write the entry of all programs, which lets go of Python's lock where its table says so."""
    _ProgramWriter(context, module, descriptor).write()


class Step(Entered):
    """Numba's compiler for a step, which `run` calls."""

    write = staticmethod(_write_step)


class Program(Entered):
    """Numba's compiler for the function that runs a table."""

    write = staticmethod(_write_program)
