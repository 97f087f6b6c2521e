"""What compiled kernels need of Numba's inside: no aliasing, and BLAS without temporaries.

Only generated kernels import this module, and with it Numba.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import contextlib
import importlib
from typing import Any

from llvmlite import ir
from llvmlite.binding import add_symbol
from numba import types
from numba.core import cgutils, errors
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering
from numba.extending import intrinsic
from numba.np import linalg

from symgrad.backends.ahead import is_ahead
from symgrad.backends.blas import addresses
from symgrad.backends.interleave import InterleavingLowering

_INT = ir.IntType(64)
_CHAR = ir.IntType(8)
_SYMBOL = "symgrad_{}"
"""What compiled code calls a BLAS routine. It is cached on disk, and addresses are not."""

for _routine, _address in addresses().items():
    add_symbol(_SYMBOL.format(_routine), _address)


def _import_functions() -> None:
    """Import Numba's functions of arrays, but not `scipy.linalg`.

    They import it to see that it is there, which takes longer than they do themselves. symgrad
    depends on it, so it is; what needs it imports it when it is compiled or called.
    """
    if not hasattr(linalg, "ensure_blas"):
        return
    ensure = linalg.ensure_blas
    linalg.ensure_blas = lambda: None
    try:
        importlib.import_module("numba.np.arraymath")
    finally:
        linalg.ensure_blas = ensure


_import_functions()


def _leave_warnings_alone() -> None:
    """Let Numba change no filters of warnings while it compiles ahead.

    They belong to the process: another thread may be in a ``with warnings.catch_warnings()``, and
    who leaves last would restore what the other had set.
    """
    fixer = vars(errors).get("WarningsFixer")
    if fixer is None:
        return
    catch = fixer.catch_warnings

    def caught(self: Any, filename: Any = None, lineno: Any = None) -> Any:
        return contextlib.nullcontext() if is_ahead() else catch(self, filename, lineno)

    fixer.catch_warnings = caught


_leave_warnings_alone()


class NoAlias(Compiler):
    """Numba's compiler with LLVM's ``noalias`` on every array argument.

    Without it each loop needs run-time checks for overlaps, and one over many arrays needs too
    many to be vectorised at all.
    """

    lowering: Any = InterleavingLowering

    def define_pipelines(self) -> Any:
        """Return Numba's own pipelines, shortened, and with another step to LLVM."""
        self.state.flags.noalias = True
        return shortened(super().define_pipelines(), self.lowering)


class _Linked(JITCodeLibrary):
    """The code of a helper, which is linked into kernels and inlined there, and not run by itself.

    To optimise it alone, and to make machine code of it, would be work for nothing.
    """

    def finalize(self) -> None:
        """Link what the helper calls, and no more."""
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Return that there is no machine code."""
        return 0

    @property
    def codegen(self) -> Any:
        """Where the environment of the function is put: nowhere, as it needs none."""
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """Take no notice of an environment."""


@register_pass(mutates_CFG=True, analysis_only=False)
class _LinkedLowering(NativeLowering):
    _name = "linked_lowering"

    def run_pass(self, state: Any) -> bool:
        """Lower a helper."""
        state.library = _Linked(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        done: bool = super().run_pass(state)
        return done


class Helper(Compiler):
    """Numba's compiler for functions that only kernels call."""

    def define_pipelines(self) -> Any:
        """Return Numba's own pipelines, shortened, and with another last step."""
        return shortened(super().define_pipelines(), _LinkedLowering)


_FOR_OTHERS = {
    "with_lifting",
    "inline_closure_likes",
    "rewrite_semantic_constants",
    "dead_branch_prune",
    "Rewrite dynamic raises",
    "make_function_op_code_to_jit_function",
    "inline_inlinables",
    "find_literally",
    "literal_unroll",
    "LiteralPropagation",
    "nopython_rewrites",
}
"""Numba's passes for what no kernel has in it: closures, with blocks, literals, array expressions.
Without them and `_Linked`, a seventh less is done."""


def shortened(pipelines: Any, lowering: Any) -> Any:
    """Return Numba's pipelines without what kernels have no use for.

    Args:
        pipelines: Numba's own.
        lowering: What takes the place of their step from types to LLVM.
    """
    for pipeline in pipelines:
        pipeline.passes = [
            (lowering if step is NativeLowering else step, text)
            for step, text in pipeline.passes
            if step._name not in _FOR_OTHERS
        ]
        pipeline.finalize()
    return pipelines


class _Array:
    """An array in LLVM code: its memory, its sizes, its strides in elements."""

    def __init__(self, context: Any, builder: Any, type_: Any, value: Any):
        array = context.make_array(type_)(context, builder, value)
        self.builder = builder
        self.data = builder.bitcast(array.data, cgutils.voidptr_t)
        self.shape = cgutils.unpack_tuple(builder, array.shape, type_.ndim)
        itemsize = ir.Constant(_INT, type_.dtype.bitwidth // 8)
        strides = cgutils.unpack_tuple(builder, array.strides, type_.ndim)
        self.strides = [builder.sdiv(stride, itemsize) for stride in strides]

    def layout(self) -> tuple[Any, Any, Any]:
        """Return whether the matrix lies by rows, BLAS's letter for that, and the leading size.

        BLAS has its matrices by columns, so that one by rows is its transpose to it.
        """
        one = ir.Constant(_INT, 1)
        rows, columns = self.shape
        down, along = self.strides
        signed = self.builder.icmp_signed
        apart = self.builder.or_(signed("==", rows, one), signed(">=", down, columns))
        by_rows = self.builder.and_(signed("==", along, one), apart)
        letter = self.either(by_rows, *(ir.Constant(_CHAR, ord(c)) for c in "nt"))
        leading = self.larger(self.either(by_rows, down, along), one)
        return by_rows, letter, self.larger(leading, self.either(by_rows, columns, rows))

    def either(self, condition: Any, a: Any, b: Any) -> Any:
        """Return a or b."""
        return self.builder.select(condition, a, b)

    def larger(self, a: Any, b: Any) -> Any:
        """Return the larger of two integers."""
        return self.either(self.builder.icmp_signed(">", a, b), a, b)


def _call(builder: Any, name: str, dtype: Any, arguments: list[Any]) -> None:
    """Call one of Fortran's BLAS routines, which take addresses of everything."""
    letter = "s" if dtype == types.float32 else "d"
    values = []
    for value in arguments:
        if value.type != cgutils.voidptr_t:
            value = builder.bitcast(cgutils.alloca_once_value(builder, value), cgutils.voidptr_t)
        values.append(value)
    kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
    routine = cgutils.get_or_insert_function(builder.module, kind, _SYMBOL.format(letter + name))
    builder.call(routine, values)


def _factor(context: Any, builder: Any, value: Any, given: Any, dtype: Any) -> Any:
    """Return the address of a number."""
    slot = cgutils.alloca_once_value(builder, context.cast(builder, value, given, dtype))
    return builder.bitcast(slot, cgutils.voidptr_t)


@intrinsic
def wide(_typing: Any) -> Any:
    """Let the function that calls this use the widest vectors of the processor.

    LLVM by itself keeps to 256 bits on processors with AVX-512, whose first generations slowed
    down for wider ones. And it aligns the stack, so that vectors which do not fit in registers lie
    within one line of cache each, only if it knows beforehand that there is a frame pointer.
    """

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        # llvmlite knows no attributes with values: this goes past its list of names.
        for attribute in ('"prefer-vector-width"="512"', '"frame-pointer"="all"'):
            set.add(builder.function.attributes, attribute)
        return context.get_dummy_value()

    return types.void(), code


@intrinsic
def gemm(_typing: Any, alpha: Any, a: Any, b: Any, beta: Any, c: Any) -> Any:
    """Set the matrix c to alpha a b + beta c; rows or columns of a and b lie in one piece."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        left, right, out = (
            _Array(context, builder, signature.args[i], values[i]) for i in (1, 2, 4)
        )
        factors = [_factor(context, builder, values[i], signature.args[i], c.dtype) for i in (0, 3)]
        _, flip_left, leading_left = left.layout()
        _, flip_right, leading_right = right.layout()
        rows, columns = out.shape
        arguments = [flip_right, flip_left, columns, rows, left.shape[1], factors[0]]
        arguments += [right.data, leading_right, left.data, leading_left, factors[1]]
        leading = out.larger(out.strides[0], out.larger(columns, ir.Constant(_INT, 1)))
        arguments += [out.data, leading]
        _call(builder, "gemm", c.dtype, arguments)
        return context.get_dummy_value()

    return types.void(alpha, a, b, beta, c), code


@intrinsic
def gemv(_typing: Any, a: Any, x: Any, y: Any) -> Any:
    """Set the vector y to a x; rows or columns of a lie in one piece."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        matrix, vector, out = (
            _Array(context, builder, type_, value)
            for type_, value in zip(signature.args, values, strict=True)
        )
        by_rows, _, leading = matrix.layout()
        letter = matrix.either(by_rows, *(ir.Constant(_CHAR, ord(c)) for c in "tn"))
        rows, columns = matrix.shape
        sizes = [matrix.either(by_rows, *pair) for pair in ((columns, rows), (rows, columns))]
        one, zero = (
            _factor(context, builder, context.get_constant(y.dtype, number), y.dtype, y.dtype)
            for number in (1, 0)
        )
        with builder.if_then(builder.icmp_signed("==", columns, ir.Constant(_INT, 0))):
            # BLAS does nothing at all for a sum over nothing.
            itemsize = ir.Constant(_INT, y.dtype.bitwidth // 8)
            cgutils.memset(builder, out.data, builder.mul(rows, itemsize), 0)
        step = ir.Constant(_INT, 1)
        arguments = [letter, *sizes, one, matrix.data, leading, vector.data, step]
        _call(builder, "gemv", y.dtype, [*arguments, zero, out.data, step])
        return context.get_dummy_value()

    return types.void(a, x, y), code


def _cast(context: Any, builder: Any, signature: Any, values: Any, dtype: Any) -> list[Any]:
    """Return numbers as numbers of one dtype."""
    pairs = zip(values, signature.args, strict=True)
    return [context.cast(builder, value, given, dtype) for value, given in pairs]


def _chosen(comparison: str) -> Any:
    """Return an intrinsic for two numbers: b if the comparison of b with a holds, else a."""

    @intrinsic
    def chosen(typing: Any, a: Any, b: Any) -> Any:
        common = typing.unify_types(a, b)

        def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            x, y = _cast(context, builder, signature, values, common)
            is_float = isinstance(common, types.Float)
            compare = builder.fcmp_ordered if is_float else builder.icmp_signed
            return builder.select(compare(comparison, y, x), y, x)

        return common(a, b), code

    return chosen


smaller, larger = _chosen("<"), _chosen(">")
"""Python's min and max of two numbers, which Numba would compile as functions."""


@intrinsic
def plus(typing: Any, a: Any, b: Any) -> Any:
    """Return a + b. Sums built of it may be taken in any order, so in vector registers.

    After a call, Numba looks whether it raised. At the end of a loop, that leaves a block with
    nothing in it, which LLVM drops, and with it what `interleave` says of the loop.
    """
    common = typing.unify_types(a, b)

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        x, y = _cast(context, builder, signature, values, common)
        return builder.fadd(x, y, flags=("contract", "reassoc"))

    return common(a, b), code


@intrinsic
def row(_typing: Any, first: Any, step: Any) -> Any:
    """Return the row so many steps from the first one that a kernel computes.

    No row is negative, which Numba cannot know: it would look at each whether it counts from the
    end, and the loop would not be vectorised.
    """

    def code(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        number = builder.add(*values, flags=("nuw", "nsw"))
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(1)])
        assume = builder.module.declare_intrinsic("llvm.assume", (), kind)
        builder.call(assume, [builder.icmp_signed(">=", number, ir.Constant(_INT, 0))])
        return number

    return types.int64(types.int64, types.int64), code


@intrinsic
def fill(_typing: Any, a: Any, value: Any) -> Any:
    """Set every element of a contiguous array to a number."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = context.make_array(a)(context, builder, values[0])
        number = context.cast(builder, values[1], signature.args[1], a.dtype)
        packed = context.get_value_as_data(builder, a.dtype, number)
        with cgutils.for_range(builder, array.nitems) as loop:
            builder.store(packed, builder.gep(array.data, [loop.index]))
        return context.get_dummy_value()

    return types.void(a, value), code
