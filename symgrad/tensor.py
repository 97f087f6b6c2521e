"""The handle people hold: operators and NumPy's protocols over the nodes of a graph.

A `Tensor` wraps one node. NumPy's functions and operators on tensors make new nodes; nothing is
computed until a graph is compiled and called. What each operation means is in `symgrad.ops`,
which registers its functions here with `implements`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar, cast

import numpy as np

from symgrad import errors
from symgrad.ir.call import apply
from symgrad.ir.graph import Derivative
from symgrad.ir.node import Node
from symgrad.ir.op import Op, lookup
from symgrad.ir.origin import here
from symgrad.ir.size import Dim, Shape, Size
from symgrad.ir.types import (
    BOOL,
    DTYPES,
    FLOAT64,
    INT64,
    SUPPORTED,
    Array,
    DType,
    TensorType,
    as_dtype,
)

FUNCTIONS: dict[object, Callable[..., Any]] = {}
"""NumPy function or ufunc -> the function that does the same to tensors."""

_F = TypeVar("_F", bound=Callable[..., Any])


def implements(*numpy_functions: object) -> Callable[[_F], _F]:
    """Register the decorated function as what these NumPy functions do to tensors."""

    def register(function: _F) -> _F:
        for numpy_function in numpy_functions:
            FUNCTIONS[numpy_function] = function
        return function

    return register


class Printers:
    """How tensors print; set by the package, since printing is built on top of tensors."""

    pretty: Callable[[Tensor], str] = repr
    latex: Callable[[Tensor], str] = repr


class Tensor:
    """A symbolic array: a handle on one node of a graph.

    Comparison is elementwise, as for arrays; use ``is`` to ask whether two names are one tensor.
    """

    __slots__ = ("__weakref__", "derivative", "node")

    node: Node
    derivative: Derivative | None

    def __init__(self, node: Node, derivative: Derivative | None = None):
        self.node = node
        self.derivative = derivative

    # What it is

    @property
    def type(self) -> TensorType:
        """The dtype and shape."""
        return self.node.type

    @property
    def dtype(self) -> DType:
        """The dtype of the elements."""
        return self.node.type.dtype

    @property
    def shape(self) -> Shape:
        """The sizes of the axes: integers where known, symbolic sizes elsewhere."""
        return self.node.type.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.node.type.ndim

    @property
    def size(self) -> Dim:
        """The number of elements."""
        return self.node.type.size

    @property
    def name(self) -> str | None:
        """The declared name, else the Python variable the expression was assigned to, if any."""
        return self.node.name

    def __repr__(self) -> str:
        named = f" {self.name}" if self.name else ""
        return f"<Tensor{named}: {self.type}, made at {self.node.origin.place}>"

    def __str__(self) -> str:
        return Printers.pretty(self)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {Printers.latex(self)}$"

    # Arithmetic

    def __add__(self, other: Any) -> Tensor:
        return elementwise("add", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return elementwise("add", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return elementwise("subtract", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return elementwise("subtract", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return elementwise("multiply", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return elementwise("multiply", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return elementwise("divide", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return elementwise("divide", other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return elementwise("floor_divide", self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return elementwise("floor_divide", other, self)

    def __mod__(self, other: Any) -> Tensor:
        return elementwise("remainder", self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return elementwise("remainder", other, self)

    def __pow__(self, other: Any) -> Tensor:
        return cast(Tensor, FUNCTIONS[np.power](self, other))

    def __rpow__(self, other: Any) -> Tensor:
        return cast(Tensor, FUNCTIONS[np.power](other, self))

    def __matmul__(self, other: Any) -> Tensor:
        return cast(Tensor, FUNCTIONS[np.matmul](self, other))

    def __rmatmul__(self, other: Any) -> Tensor:
        return cast(Tensor, FUNCTIONS[np.matmul](other, self))

    def __neg__(self) -> Tensor:
        return elementwise("negative", self)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return elementwise("absolute", self)

    def __round__(self, digits: int = 0) -> Tensor:
        return cast(Tensor, FUNCTIONS[np.round](self, digits))

    # Comparison and logic

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return elementwise("equal", self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return elementwise("not_equal", self, other)

    def __lt__(self, other: Any) -> Tensor:
        return elementwise("less", self, other)

    def __le__(self, other: Any) -> Tensor:
        return elementwise("less_equal", self, other)

    def __gt__(self, other: Any) -> Tensor:
        return elementwise("greater", self, other)

    def __ge__(self, other: Any) -> Tensor:
        return elementwise("greater_equal", self, other)

    def __and__(self, other: Any) -> Tensor:
        return elementwise("logical_and", self, other)

    def __or__(self, other: Any) -> Tensor:
        return elementwise("logical_or", self, other)

    def __xor__(self, other: Any) -> Tensor:
        return elementwise("logical_xor", self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Tensor:
        return elementwise("logical_not", self)

    __hash__ = object.__hash__

    # ndarray's methods

    @property
    def T(self) -> Tensor:
        """The transpose: all axes in reverse order."""
        return cast(Tensor, FUNCTIONS[np.transpose](self))

    @property
    def mT(self) -> Tensor:
        """The matrix transpose: the last two axes exchanged."""
        return self.swapaxes(-1, -2)

    def sum(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """Return the sum over ``axis``, as `numpy.sum`."""
        return cast(Tensor, FUNCTIONS[np.sum](self, axis=axis, keepdims=keepdims))

    def mean(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """Return the mean over ``axis``, as `numpy.mean`."""
        return cast(Tensor, FUNCTIONS[np.mean](self, axis=axis, keepdims=keepdims))

    def max(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """Return the maximum over ``axis``, as `numpy.max`."""
        return cast(Tensor, FUNCTIONS[np.max](self, axis=axis, keepdims=keepdims))

    def min(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """Return the minimum over ``axis``, as `numpy.min`."""
        return cast(Tensor, FUNCTIONS[np.min](self, axis=axis, keepdims=keepdims))

    def prod(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """Return the product over ``axis``, as `numpy.prod`."""
        return cast(Tensor, FUNCTIONS[np.prod](self, axis=axis, keepdims=keepdims))

    def var(self, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Tensor:
        """Return the variance over ``axis``, as `numpy.var`."""
        return cast(Tensor, FUNCTIONS[np.var](self, axis=axis, ddof=ddof, keepdims=keepdims))

    def std(self, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Tensor:
        """Return the standard deviation over ``axis``, as `numpy.std`."""
        return cast(Tensor, FUNCTIONS[np.std](self, axis=axis, ddof=ddof, keepdims=keepdims))

    def argmax(self, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
        """Return the index of the first maximum, as `numpy.argmax`."""
        return cast(Tensor, FUNCTIONS[np.argmax](self, axis=axis, keepdims=keepdims))

    def argmin(self, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
        """Return the index of the first minimum, as `numpy.argmin`."""
        return cast(Tensor, FUNCTIONS[np.argmin](self, axis=axis, keepdims=keepdims))

    def any(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """Return whether any element is true, as `numpy.any`."""
        return cast(Tensor, FUNCTIONS[np.any](self, axis=axis, keepdims=keepdims))

    def all(self, axis: Any = None, *, keepdims: bool = False) -> Tensor:
        """Return whether all elements are true, as `numpy.all`."""
        return cast(Tensor, FUNCTIONS[np.all](self, axis=axis, keepdims=keepdims))

    def reshape(self, *shape: Any) -> Tensor:
        """Return the same elements in another shape, as `numpy.reshape`."""
        return cast(Tensor, FUNCTIONS[np.reshape](self, shape[0] if len(shape) == 1 else shape))

    def ravel(self) -> Tensor:
        """Return the elements in one axis, as `numpy.ravel`."""
        return cast(Tensor, FUNCTIONS[np.ravel](self))

    flatten = ravel

    def transpose(self, *axes: Any) -> Tensor:
        """Return the axes in another order, as ``ndarray.transpose``."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
        return cast(Tensor, FUNCTIONS[np.transpose](self, order))

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """Return the tensor with two axes exchanged, as `numpy.swapaxes`."""
        return cast(Tensor, FUNCTIONS[np.swapaxes](self, axis1, axis2))

    def squeeze(self, axis: Any = None) -> Tensor:
        """Return the tensor without axes of size 1, as `numpy.squeeze`."""
        return cast(Tensor, FUNCTIONS[np.squeeze](self, axis))

    def astype(self, dtype: object) -> Tensor:
        """Return the elements as another dtype; a float made an integer has no derivative."""
        wanted = as_dtype(dtype)
        if wanted == self.dtype:
            return self
        return Tensor(apply(lookup("cast"), (self.node,), {"dtype": wanted}))

    def dot(self, other: Any) -> Tensor:
        """Return the product, as `numpy.dot` for operands of at most two axes."""
        return cast(Tensor, FUNCTIONS[np.dot](self, other))

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """Return the elements limited to an interval, as `numpy.clip`."""
        return cast(Tensor, FUNCTIONS[np.clip](self, min, max))

    def round(self, decimals: int = 0) -> Tensor:
        """Return the rounded elements, as `numpy.round`; the derivative is zero."""
        return cast(Tensor, FUNCTIONS[np.round](self, decimals))

    def copy(self) -> Tensor:
        """Return this tensor: tensors never change, so a copy is the same."""
        return self

    # Sequences and indexing

    def __len__(self) -> int:
        if not self.shape:
            raise errors.ShapeError(errors.worded(f"len: {self!r} has no axes"))
        if not isinstance(self.shape[0], int):
            raise errors.SymbolicError(
                errors.worded(
                    f"len: the length {self.shape[0]} of {self!r} is not known before a call",
                    made_at=here(),
                    fix="use t.shape[0] as a symbolic size, or declare the size as an integer",
                )
            )
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Tensor:
        return cast(Tensor, FUNCTIONS["getitem"](self, key))

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise errors.UnsupportedError(
            errors.worded(
                f"{self!r} cannot be assigned to: tensors never change",
                made_at=here(),
                fix="build the new value with np.where, np.concatenate or np.stack",
            )
        )

    # What a tensor is not

    def _not_a_number(self, wanted: str, fix: str) -> NoReturn:
        raise errors.SymbolicError(
            errors.worded(f"{self!r} has no value yet: {wanted}", made_at=here(), fix=fix)
        )

    def __bool__(self) -> bool:
        self._not_a_number(
            "it cannot decide an 'if', 'and', 'or' or 'in'",
            "use np.where(condition, a, b) for a choice by value, 'is' to compare tensors",
        )

    def __float__(self) -> float:
        self._not_a_number("it is not a float", "compile it, then call: sg.compile([x], t)(value)")

    def __int__(self) -> int:
        self._not_a_number("it is not an int", "compile it, then call: sg.compile([x], t)(value)")

    def __index__(self) -> int:
        self._not_a_number("it is not an index", "index a tensor with it: sg.constant(a)[t]")

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        self._not_a_number(
            "it cannot become an array",
            "use NumPy's functions on the tensor itself, sg.constant(a)[t] to index an array, "
            "or compile it and call",
        )

    def item(self) -> NoReturn:
        """Raise: a tensor has no value before a call."""
        self._not_a_number("it has no item", "compile it, then call: sg.compile([x], t)(value)")

    # NumPy's protocols

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__":
            _unsupported(f"np.{ufunc.__name__}.{method}", "use np.sum, np.prod, np.max or np.min")
        return _dispatch(ufunc, f"np.{ufunc.__name__}", inputs, options)

    def __array_function__(
        self, function: Any, types: Any, arguments: Sequence[Any], options: dict[str, Any]
    ) -> Any:
        return _dispatch(function, f"np.{function.__name__}", arguments, options)

    def __reduce__(self) -> tuple[Any, ...]:
        # One flat list for the tensor and what it is the derivative of, however deep they are.
        from symgrad.ir.flat import flatten

        derivative = self.derivative
        roots = [self.node, *((derivative.of, *derivative.wrt) if derivative else ())]
        return _restore_tensor, (flatten(roots),)


def _restore_tensor(flat: Any) -> Tensor:
    from symgrad.ir.flat import restore

    node, *rest = restore(flat)
    return Tensor(node, Derivative(rest[0], tuple(rest[1:])) if rest else None)


def _unsupported(name: str, fix: str) -> NoReturn:
    raise errors.UnsupportedError(
        errors.worded(f"{name} is not known for tensors", made_at=here(), fix=fix)
    )


def _dispatch(function: Any, name: str, arguments: Sequence[Any], options: dict[str, Any]) -> Any:
    if options.pop("out", None) is not None:
        _unsupported(f"{name} with out=", "tensors never change; use the result instead")
    ours = FUNCTIONS.get(function)
    if ours is None:
        _unsupported(name, "the functions that are known are listed in docs/ops.md")
    try:
        return ours(*arguments, **options)
    except TypeError as error:
        if isinstance(error, errors.SymgradError):
            raise
        raise errors.UnsupportedError(
            errors.worded(f"{name} on tensors: {error}", made_at=here())
        ) from error


# Making tensors out of other things


def constant(value: Any, dtype: object = None) -> Tensor:
    """Return ``value`` (an array, nested lists or a number) as a tensor; a snapshot is taken.

    Raises:
        DtypeError: unless the dtype is float32, float64, int32, int64 or bool.
    """
    if isinstance(value, Tensor):
        return value if dtype is None else value.astype(dtype)
    array = np.array(value, dtype=None if dtype is None else as_dtype(dtype))
    if array.dtype not in SUPPORTED:
        raise errors.DtypeError(
            errors.worded(
                f"constant: dtype {array.dtype} is not supported",
                made_at=here(),
                fix=f"convert the array first, to one of {', '.join(DTYPES)}",
            )
        )
    array = np.ascontiguousarray(array).reshape(array.shape)
    array.flags.writeable = False
    return Tensor(apply(lookup("constant"), (), {"value": array}))


def size_tensor(size: Dim, dtype: object = FLOAT64) -> Tensor:
    """Return a size as a scalar tensor: ``1 / size_tensor(n)``."""
    if isinstance(size, int):
        return constant(size, dtype)
    return Tensor(apply(lookup("size"), (), {"size": size, "dtype": as_dtype(dtype)}))


def as_tensor(value: Any, dtype: object = None) -> Tensor:
    """Return ``value`` as a tensor: a tensor, a symbolic size, an array or a number."""
    if isinstance(value, Size):
        return size_tensor(value, dtype or INT64)
    return constant(value, dtype)


def promoted(op: str, values: Sequence[Any], floats: bool = False) -> list[Tensor]:
    """Return ``values`` as tensors of one dtype by NumPy 2's rules; Python scalars are weak.

    With ``floats``, integers and booleans become float64.
    """
    dtype = common_dtype(op, values, floats)
    return [_as_dtype(op, value, dtype) for value in values]


def common_dtype(op: str, values: Sequence[Any], floats: bool = False) -> DType:
    """Return the dtype that NumPy 2 would compute in (NEP 50)."""
    weak: list[Any] = []
    for value in values:
        match value:
            case Tensor():
                weak.append(value.dtype)
            case Size():
                weak.append(1)
            case bool() | int() | float() | np.generic() | np.ndarray():
                weak.append(value if isinstance(value, int | float) else np.asarray(value).dtype)
            case _:
                weak.append(np.asarray(value).dtype)
    try:
        # np.float64 is a float too, and strong: only plain Python numbers are weak.
        dtype: DType = np.result_type(*(v.dtype if isinstance(v, np.generic) else v for v in weak))
    except TypeError as error:
        raise errors.DtypeError(errors.worded(f"{op}: {error}", made_at=here())) from error
    if dtype not in SUPPORTED:
        raise errors.DtypeError(
            errors.worded(
                f"{op}: dtype {dtype} is not supported",
                made_at=here(),
                fix=f"convert the operand first, to one of {', '.join(DTYPES)}",
            )
        )
    return FLOAT64 if floats and dtype.kind != "f" else dtype


def _as_dtype(op: str, value: Any, dtype: DType) -> Tensor:
    if isinstance(value, int) and not isinstance(value, bool) and dtype.kind == "i":
        info = np.iinfo(dtype)
        if not info.min <= value <= info.max:
            raise errors.DtypeError(
                errors.worded(f"{op}: {value} does not fit in {dtype.name}", made_at=here())
            )
    return as_tensor(value, dtype)


_NO_BOOL = frozenset(
    {"add", "subtract", "multiply", "negative", "absolute", "sign", "floor_divide", "remainder"}
)


def elementwise(op: str | Op, *values: Any) -> Tensor:
    """Return an elementwise op applied to ``values``, after promoting them to one dtype."""
    record = lookup(op) if isinstance(op, str) else op
    if record.name in _NO_BOOL:
        tensors = promoted(record.name, values)
        if tensors[0].dtype == BOOL:
            raise errors.DtypeError(
                errors.worded(
                    f"{record.name}: not defined on bool",
                    made_at=here(),
                    fix="use & | ~ for logic, or .astype('int64') to count",
                )
            )
    else:
        tensors = promoted(record.name, values, floats=record.floats)
    return Tensor(apply(record, [t.node for t in tensors]))
