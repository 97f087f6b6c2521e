"""The way from Python into a kernel: a C function that reads its arguments where they lie.

Numba's own dispatch looks up the types of all arguments and makes a counted record of each array,
which takes longer than a small kernel. Here the kernel gets a function of its own, of the kind that
CPython calls with its arguments in a row (METH_FASTCALL). It compares each with the one type that
the kernel was compiled for, and refuses all others with TypeError; the caller converts them then.

What it reads of objects, and where, is what NumPy's headers compile into every extension module.
Addresses differ from process to process, and machine code is cached: they come in a table.

Only generated kernels and those that call them import this module, and with it Numba.
"""

# mypy: disable-error-code="no-untyped-call,assignment"

from __future__ import annotations

import ast
import ctypes
import functools
import re
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.compiler_machinery import register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering
from numba.np.arrayobj import populate_array
from numba.np.numpy_support import as_dtype

from symgrad import errors
from symgrad.backends.jit import NoAlias, shortened
from symgrad.ir.types import FLOAT64, Array, DType

# What objects look like in memory

_HEAD = object.__basicsize__
_TYPE = _HEAD - ctypes.sizeof(ctypes.c_void_p)
"""Where an object has its type: last in its head."""


class _ArrayFields(ctypes.Structure):
    """The beginning of an array (PyArrayObject_fields in ndarraytypes.h)."""

    _fields_ = (
        ("head", ctypes.c_byte * _HEAD),
        ("data", ctypes.c_void_p),
        ("nd", ctypes.c_int),
        ("dimensions", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("base", ctypes.c_void_p),
        ("descr", ctypes.c_void_p),
        ("flags", ctypes.c_int),
    )


class _DTypeFields(ctypes.Structure):
    """The beginning of a dtype (PyArray_Descr): its eight bytes from ``kind`` on say which it is.

    A dtype may be there more than once: that of an array that was pickled is.
    """

    _fields_ = (
        ("head", ctypes.c_byte * _HEAD),
        ("type", ctypes.c_void_p),
        ("kind", ctypes.c_uint64),
    )


_CONTIGUOUS, _ALIGNED, _WRITEABLE = 0x1, 0x100, 0x400
"""Flags of an array: C_CONTIGUOUS, ALIGNED, WRITEABLE."""
_PY_ARRAY_SCALAR = 60
"""The position of PyArray_Scalar in NumPy's table of C functions."""
_FASTCALL = 0x80


def _kind(dtype: DType) -> int:
    kind: int = _DTypeFields.from_address(id(dtype)).kind
    return kind


# In the machine code

_INT = ir.IntType(64)


Dims = Sequence[tuple[int | str, ...]]


@dataclass(frozen=True, slots=True)
class _Checks:
    """What the arguments of a kernel must satisfy.

    Attributes:
        shapes: The shape of each argument. A name is the same size wherever it stands; other
            texts are computed of names: ``s0 - 1``.
        relations: What else is true of sizes: ``s0 >= 3``.
        apart: The positions of arguments that must not share memory, in pairs.
    """

    shapes: Dims
    relations: Sequence[str]
    apart: Sequence[tuple[int, int]]


def entered(shapes: Dims, relations: Sequence[str], apart: Sequence[tuple[int, int]]) -> Any:
    """Return Numba's compiler for a kernel that `entry` calls, after these checks."""
    return type("Entered", (_Entered,), {"checks": _Checks(shapes, relations, apart)})


class _Entered(NoAlias):
    """Numba's compiler, but for the wrapper: another function takes its place."""

    checks: _Checks

    def define_pipelines(self) -> Any:
        """Return Numba's own pipelines, shortened, and with another last step."""
        return shortened(super().define_pipelines(), _Lowering)


class _Lower(Lower):
    def __init__(self, checks: _Checks, *arguments: Any, **options: Any):
        self.checks = checks
        super().__init__(*arguments, **options)

    def create_cpython_wrapper(self, release_gil: bool = False) -> None:
        """Write the entry instead of Numba's wrapper."""
        module = self.context.create_module("entry")
        _Entry(self.context, module, self.fndesc, self.checks, release_gil).write()
        self.library.add_ir_module(module)


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(NativeLowering):
    _name = "entered_lowering"

    def run_pass(self, state: Any) -> bool:
        """Lower a kernel."""
        # Numba compiles under a lock, and no kernel calls another.
        self.checks = state.pipeline.checks
        done: bool = super().run_pass(state)
        return done

    @property
    def lowering_class(self) -> Any:
        """What lowers a function."""
        return functools.partial(_Lower, self.checks)


def _name(descriptor: Any) -> str:
    return f"{descriptor.llvm_func_name}.entry"


@dataclass(frozen=True, slots=True)
class _Memory:
    """Where an array lies, as integers in the machine code."""

    start: Any
    shape: list[Any]
    itemsize: int


class _Entry:
    """Writes the entry of a kernel: ``PyObject *entry(table, PyObject *const *given, n)``.

    It reads the table from first to last; `entry` writes it in the same order.
    """

    def __init__(
        self, context: Any, module: Any, descriptor: Any, checks: _Checks, release_gil: bool
    ):
        self.context = context
        self.descriptor = descriptor
        self.checks = checks
        self.arrays: list[_Memory] = []
        self.release_gil = release_gil
        kind = context.call_conv.get_function_type(descriptor.restype, descriptor.argtypes)
        self.kernel = ir.Function(module, kind, descriptor.llvm_func_name)
        self.object = context.get_argument_type(types.pyobject)
        kind = ir.FunctionType(self.object, [self.object, _INT, _INT])
        self.function = ir.Function(module, kind, _name(descriptor))
        self.builder = ir.IRBuilder(self.function.append_basic_block())
        self.api = context.get_python_api(self.builder)
        self.refused = self.function.append_basic_block("refused")
        table, self.next, self.count = self.function.args
        self.table = self.load(self.address(table), _ArrayFields.data.offset)
        self.words = 0

    def write(self) -> None:
        """Write the whole function."""
        builder = self.builder
        self.require(self.same(self.count, self.word()))
        self.array_type = self.word()
        self.scalar = self.word()
        values = [
            self.array(type_) if isinstance(type_, types.Array) else self.number(type_)
            for type_ in self.descriptor.argtypes
        ]
        self.check()
        thread = self.api.save_thread() if self.release_gil else None
        # In one piece with this function, the kernel would lose what is said of its arguments.
        status, result = self.context.call_conv.call_function(
            builder,
            self.kernel,
            self.descriptor.restype,
            self.descriptor.argtypes,
            values,
            attrs=("noinline",),
        )
        if thread is not None:
            self.api.restore_thread(thread)
        with builder.if_then(status.is_error, likely=False):
            self.context.call_conv.raise_error(builder, self.api, status)
            builder.ret(self.api.get_null_object())
        builder.ret(self.returned(result))
        builder.position_at_end(self.refused)
        self.api.err_set_none("PyExc_TypeError")
        builder.ret(self.api.get_null_object())

    def word(self) -> Any:
        """Return the next word of the table."""
        self.words += 1
        return self.load(self.table, 8 * (self.words - 1))

    def address(self, value: Any) -> Any:
        """Return a pointer as an integer."""
        return self.builder.ptrtoint(value, _INT)

    def load(self, address: Any, offset: int, kind: Any = _INT) -> Any:
        """Return what lies somewhere in memory."""
        place = self.builder.add(address, _INT(offset))
        return self.builder.load(self.builder.inttoptr(place, kind.as_pointer()))

    def same(self, a: Any, b: Any) -> Any:
        """Return whether two integers are equal."""
        return self.builder.icmp_unsigned("==", a, b)

    def require(self, *conditions: Any) -> None:
        """Refuse the call unless all of these hold."""
        fits = conditions[0]
        for condition in conditions[1:]:
            fits = self.builder.and_(fits, condition)
        further = self.function.append_basic_block()
        self.builder.cbranch(fits, further, self.refused)
        self.builder.position_at_end(further)

    def argument(self) -> Any:
        """Return the address of the next object that was given, and go on to the one after it."""
        found = self.load(self.next, 0)
        self.next = self.builder.add(self.next, _INT(8))
        return found

    def is_array(self, array: Any, rank: int, flags: Any, kind: Any) -> tuple[Any, ...]:
        """Return what is true of an array object of this rank, with these flags and this dtype."""
        number = ir.IntType(32)
        got = self.load(array, _ArrayFields.flags.offset, number)
        wanted = self.builder.trunc(flags, number)
        dtype = self.load(array, _ArrayFields.descr.offset)
        return (
            self.same(self.load(array, _ArrayFields.nd.offset, number), number(rank)),
            self.same(self.builder.and_(got, wanted), wanted),
            self.same(self.load(dtype, _DTypeFields.kind.offset), kind),
        )

    def array(self, type_: Any) -> Any:
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
        self.require(self.same(self.load(array, _TYPE), self.array_type))
        self.require(*self.is_array(array, type_.ndim, flags, kind))
        dims = self.load(array, _ArrayFields.dimensions.offset)
        shape = [self.load(dims, 8 * axis) for axis in range(type_.ndim)]
        itemsize = self.context.get_abi_sizeof(self.context.get_data_type(type_.dtype))
        strides = [_INT(itemsize)]
        for dim in shape[:0:-1]:
            strides.insert(0, self.builder.mul(strides[0], dim))
        made = self.context.make_array(type_)(self.context, self.builder)
        start = self.load(array, _ArrayFields.data.offset)
        self.arrays.append(_Memory(start, shape, itemsize))
        data = self.builder.inttoptr(start, made.data.type)
        populate_array(made, data, shape, strides, itemsize, meminfo=None)
        return made._getvalue()

    def number(self, type_: Any) -> Any:
        """Return the next number that was given: a Python or NumPy number, or an array of one."""
        self.arrays.append(_Memory(None, [], 0))
        value = self.argument()
        type_of_value = self.load(value, _TYPE)
        own = self.builder.or_(
            self.same(type_of_value, self.word()), self.same(type_of_value, self.word())
        )
        flags, kind = self.word(), self.word()
        inside = self.builder.add(value, _INT(_HEAD))
        found = self.function.append_basic_block()
        other = self.function.append_basic_block()
        start = self.builder.block
        self.builder.cbranch(own, found, other)
        self.builder.position_at_end(other)
        self.require(self.same(type_of_value, self.array_type))
        self.require(*self.is_array(value, 0, flags, kind))
        data = self.load(value, _ArrayFields.data.offset)
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
        sizes: dict[str, Any] = {}
        places = [
            (dim, got)
            for dims, array in zip(self.checks.shapes, self.arrays, strict=True)
            for dim, got in zip(dims, array.shape, strict=True)
        ]
        for dim, got in places:
            if isinstance(dim, str) and dim.isidentifier():
                sizes.setdefault(dim, got)
        fits = [
            self.same(got, wanted)
            for dim, got in places
            if (wanted := self.size(dim, sizes)) is not got
        ]
        for relation in self.checks.relations:
            left, sign, right = re.split("(==|>=)", relation)
            fits.append(
                self.builder.icmp_signed(sign, self.size(left, sizes), self.size(right, sizes))
            )
        fits += [self.are_apart(self.arrays[i], self.arrays[j]) for i, j in self.checks.apart]
        if fits:
            self.require(*fits)

    def size(self, text: int | str, sizes: Mapping[str, Any]) -> Any:
        """Return a size as an integer, from those that have names."""
        return self.computed(ast.parse(str(text).strip(), mode="eval").body, sizes)

    def computed(self, tree: ast.expr, sizes: Mapping[str, Any]) -> Any:
        """Return the value of an expression of sizes."""
        match tree:
            case ast.Constant(value=int() as value):
                return _INT(value)
            case ast.Name(id=name):
                return sizes[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.builder.neg(self.computed(operand, sizes))
            case ast.BinOp(left=left, op=op, right=right):
                a, b = self.computed(left, sizes), self.computed(right, sizes)
                return self.operation(op, a, b)
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
            count = functools.reduce(self.builder.mul, array.shape, _INT(array.itemsize))
            ends.append(self.builder.add(array.start, count))
        apart = self.builder.or_(
            self.builder.icmp_unsigned("<=", ends[0], b.start),
            self.builder.icmp_unsigned("<=", ends[1], a.start),
        )
        for array, end in zip((a, b), ends, strict=True):
            apart = self.builder.or_(apart, self.same(end, array.start))
        return apart

    def returned(self, result: Any) -> Any:
        """Return what the kernel returns as an object: nothing, a number, or several."""
        kinds = _numbers(self.descriptor.restype)
        if not kinds:
            return self.api.make_none()
        if not isinstance(self.descriptor.restype, types.BaseTuple):
            return self.boxed(kinds[0], result)
        values = cgutils.unpack_tuple(self.builder, result, len(kinds))
        items = [self.boxed(kind, value) for kind, value in zip(kinds, values, strict=True)]
        made = self.api.tuple_new(len(items))
        for i, item in enumerate(items):
            self.api.tuple_setitem(made, i, item)
        return made

    def boxed(self, type_: Any, value: Any) -> Any:
        """Return a number as NumPy's scalar."""
        data = self.context.get_value_as_data(self.builder, type_, value)
        slot = self.address(cgutils.alloca_once_value(self.builder, data))
        signature = ir.FunctionType(self.object, [_INT, _INT, _INT])
        function = self.builder.inttoptr(self.scalar, signature.as_pointer())
        made = self.builder.call(function, [slot, self.word(), _INT(0)])
        with self.builder.if_then(cgutils.is_null(self.builder, made), likely=False):
            self.builder.ret(self.api.get_null_object())
        return made


# In Python


class _Method(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class _Table(np.ndarray[Any, Any]):
    """The table of a function, which also keeps alive what the function needs."""

    kept: tuple[Any, ...] = ()


_new_function = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p
)(("PyCFunction_NewEx", ctypes.pythonapi))


def entry(
    kernel: Any, fixed: Mapping[int, Array], written: Set[int] = frozenset()
) -> Callable[..., Any]:
    """Return the function that calls a compiled kernel.

    It takes arrays and numbers for the kernel's arguments in order, but for those in ``fixed``, and
    returns the kernel's numbers: None, one, or a tuple. Anything else than arrays in one piece and
    numbers of the kernel's dtypes raises TypeError, and so do shapes that do not fit together.

    Args:
        kernel: A function compiled by what `entered` returns, for one signature.
        fixed: Arguments that are the same in every call, by position.
        written: The positions of arguments that the kernel writes to.
    """
    (compiled,) = kernel.overloads.values()
    descriptor = compiled.fndesc
    words = [len(descriptor.argtypes) - len(fixed), id(np.ndarray), _array_scalar()]
    for position, type_ in enumerate(descriptor.argtypes):
        flags = _ALIGNED | _CONTIGUOUS | (_WRITEABLE if position in written else 0)
        if isinstance(type_, types.Array):
            array = fixed.get(position)
            words += [0 if array is None else id(array), flags, _kind(as_dtype(type_.dtype))]
        else:
            dtype = as_dtype(type_)
            # Python's float is the only one of its numbers that has NumPy's layout.
            also = float if dtype == FLOAT64 else dtype.type
            words += [id(dtype.type), id(also), flags, _kind(dtype)]
    dtypes = [as_dtype(type_) for type_ in _numbers(descriptor.restype)]
    words += [id(dtype) for dtype in dtypes]
    table = np.array(words, np.uint64).view(_Table)
    address = compiled.library.get_pointer_to_function(_name(descriptor))
    method = _Method(b"kernel", address, _FASTCALL, None)
    table.kept = (kernel, fixed, method, dtypes)
    made: Callable[..., Any] = _new_function(ctypes.addressof(method), table, None)
    return made


def _numbers(returned: Any) -> list[Any]:
    """Return the types of the numbers that a kernel returns."""
    return [] if returned == types.none else list(getattr(returned, "types", [returned]))


def _array_scalar() -> int:
    """Return the address of NumPy's function that makes a scalar."""
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    functions = pointer(np._core._multiarray_umath._ARRAY_API, None)  # type: ignore[attr-defined]
    address: int = ctypes.cast(functions, ctypes.POINTER(ctypes.c_void_p))[_PY_ARRAY_SCALAR]
    return address


def _check_layout() -> None:
    """Check once that objects are laid out as they are read."""
    array = np.zeros((2, 3), np.float32)
    fields = _ArrayFields.from_address(id(array))
    sizes = (ctypes.c_ssize_t * 2).from_address(fields.dimensions)
    number, plain = np.float64(1.5), 2.5
    found = [
        fields.data == array.ctypes.data,
        fields.nd == 2,
        tuple(sizes) == array.shape,
        fields.descr == id(array.dtype),
        fields.flags & 0xFFFF == array.flags.num & 0xFFFF,
        ctypes.c_void_p.from_address(id(array) + _TYPE).value == id(np.ndarray),
        _kind(array.dtype).to_bytes(8, sys.byteorder).startswith(b"ff"),
        ctypes.c_double.from_address(id(number) + _HEAD).value == number,
        ctypes.c_double.from_address(id(plain) + _HEAD).value == plain,
    ]
    if not all(found):
        raise errors.BackendError(
            errors.worded(
                "this interpreter or NumPy lays out its objects in an unknown way",
                fix="backend='numpy' computes the same",
            )
        )


_check_layout()
