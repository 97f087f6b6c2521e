"""What all entries do: functions of machine code between Python's objects and kernels."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np.arrayobj import populate_array

from symgrad.backends import layout

_INT = ir.IntType(64)


def numbers_in(returned: Any) -> list[Any]:
    """Return the types of the numbers that a kernel returns."""
    return [] if returned == types.none else list(getattr(returned, "types", [returned]))


def numbers_of(builder: Any, returned: Any, result: Any) -> list[Any]:
    """Return the numbers that a kernel has returned."""
    if isinstance(returned, types.BaseTuple):
        numbers: list[Any] = cgutils.unpack_tuple(builder, result, len(returned))
        return numbers
    return [result][: len(numbers_in(returned))]


def name_of(descriptor: Any) -> str:
    """Return what the entry of a kernel is called in its library."""
    return f"{descriptor.llvm_func_name}.entry"


def code_of(compiled: Any) -> int:
    """Return the address of the entry of a function that was compiled for one signature."""
    (overload,) = compiled.overloads.values()
    fields = overload._asdict()
    address: int = fields["library"].get_pointer_to_function(name_of(fields["fndesc"]))
    return address


def itemsize_of(context: Any, type_: Any) -> int:
    """Return how many bytes an element of an array takes."""
    size: int = context.get_abi_sizeof(context.get_data_type(type_.dtype))
    return size


def array_at(context: Any, builder: Any, type_: Any, start: Any, shape: list[Any]) -> Any:
    """Return an array in one piece as a kernel takes it; its place and sizes are integers."""
    itemsize = itemsize_of(context, type_)
    strides = [_INT(itemsize)]
    for dim in shape[:0:-1]:
        strides.insert(0, builder.mul(strides[0], dim))
    array = context.make_array(type_)(context, builder)
    data = builder.inttoptr(start, array.data.type)
    populate_array(array, data, shape, strides, itemsize, meminfo=None)
    return array._getvalue()


def kernel_called(context: Any, builder: Any, kernel: Any, descriptor: Any, values: Any) -> Any:
    """Call a kernel, and return its status and result.

    In one piece with its entry, it would lose what is said of its arguments.
    """
    return context.call_conv.call_function(
        builder, kernel, descriptor.restype, descriptor.argtypes, values, attrs=("noinline",)
    )


class Writer:
    """Writes an entry that Python calls: ``PyObject *entry(table, PyObject *const *given, n)``.

    Attributes:
        array_type: The address of the type of arrays.
        make_scalar: That of PyArray_Scalar.
        make_array: That of PyArray_NewFromDescr.
    """

    array_type: Any
    make_scalar: Any
    make_array: Any

    def __init__(self, context: Any, module: Any, descriptor: Any):
        self.context = context
        self.descriptor = descriptor
        signature = context.call_conv.get_function_type(descriptor.restype, descriptor.argtypes)
        self.kernel = ir.Function(module, signature, descriptor.llvm_func_name)
        self.object = context.get_argument_type(types.pyobject)
        signature = ir.FunctionType(self.object, [self.object, _INT, _INT])
        self.function = ir.Function(module, signature, name_of(descriptor))
        self.builder = ir.IRBuilder(self.function.append_basic_block())
        self.api = context.get_python_api(self.builder)
        self.failed = self.nothing = self.function.append_basic_block("failed")
        self.refused = self.refusal()
        table, self.next, self.count = self.function.args
        self.table = self.load(self.address(table), layout.ArrayFields.data.offset)

    def end(self) -> None:
        """Write the end of the function where something has failed."""
        self.builder.position_at_end(self.nothing)
        self.builder.ret(self.api.get_null_object())

    def refusal(self) -> Any:
        """Write what refuses a call, and lets go of all that has been made until here."""
        here, refused = self.builder.block, self.function.append_basic_block("refused")
        self.builder.position_at_end(refused)
        self.api.err_set_none("PyExc_TypeError")
        self.builder.branch(self.failed)
        self.builder.position_at_end(here)
        return refused

    def called(self, values: list[Any]) -> Any:
        """Call the kernel, and return its status and result."""
        return kernel_called(self.context, self.builder, self.kernel, self.descriptor, values)

    def unless_raised(self, status: Any) -> None:
        """Go on if the kernel has raised nothing."""
        with self.builder.if_then(status.is_error, likely=False):
            self.context.call_conv.raise_error(self.builder, self.api, status)
            self.builder.branch(self.failed)

    def needs(self, made: Any) -> Any:
        """Return an object that was made, or fail where there is none."""
        with self.builder.if_then(cgutils.is_null(self.builder, made), likely=False):
            self.builder.branch(self.failed)
        return made

    def keeps(self, made: Any) -> Any:
        """Return an object that was made, and let it go if anything fails from here on."""
        before, here = self.failed, self.builder.block
        self.failed = self.function.append_basic_block("failed")
        self.builder.position_at_end(self.failed)
        self.api.decref(made)
        self.builder.branch(before)
        self.builder.position_at_end(here)
        return made

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

    def is_array(self, array: Any, rank: Any, flags: Any, kind: Any) -> tuple[Any, ...]:
        """Return what is true of an array object of this rank, with these flags and this dtype."""
        number = ir.IntType(32)
        got = self.load(array, layout.ArrayFields.flags.offset, number)
        wanted = self.builder.trunc(flags, number)
        dtype = self.load(array, layout.ArrayFields.descr.offset)
        return (
            self.same(self.load(array, layout.ArrayFields.nd.offset, number), rank),
            self.same(self.builder.and_(got, wanted), wanted),
            self.same(self.load(dtype, layout.DTypeFields.kind.offset), kind),
        )

    def new_array(self, dtype: Any, rank: Any, dims: Any) -> Any:
        """Make a new array: PyArray_NewFromDescr, which takes a reference to the dtype."""
        self.api.incref(self.builder.inttoptr(dtype, self.object))
        number, nothing = ir.IntType(32), _INT(0)
        arguments = [_INT, _INT, number, _INT, _INT, _INT, number, _INT]
        signature = ir.FunctionType(self.object, arguments)
        function = self.builder.inttoptr(self.make_array, signature.as_pointer())
        values = [self.array_type, dtype, rank, dims, nothing, nothing, number(0), nothing]
        return self.builder.call(function, values)

    def new_scalar(self, place: Any, dtype: Any) -> Any:
        """Make NumPy's scalar of a number that lies somewhere."""
        signature = ir.FunctionType(self.object, [_INT, _INT, _INT])
        function = self.builder.inttoptr(self.make_scalar, signature.as_pointer())
        return self.needs(self.builder.call(function, [place, dtype, _INT(0)]))
