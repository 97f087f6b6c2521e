"""Loops that compute several vectors at a time, so that none waits for another's functions.

LLVM interleaves loops only if they sum something up and need few registers. An elementary function
is a long chain of operations, and a processor that looks for more to do meanwhile does not look as
far as the next elements.

Only generated kernels import this module, and with it Numba.
"""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import platform
from functools import cache
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core.compiler_machinery import register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import NativeLowering
from numba.extending import intrinsic

_VECTORS = 4
"""Two gain half of what four do."""


@cache
def _has_room() -> bool:
    """Return whether the processor has 32 registers for vectors: 16 are too few for several."""
    if platform.machine() in ("aarch64", "arm64"):
        return True
    return bool(binding.get_host_cpu_features().get("avx512f"))


@intrinsic
def interleave(_typing: Any) -> Any:
    """Let the loop whose last statement this is compute several vectors at a time."""

    def code(context: Any, builder: Any, _signature: Any, _values: Any) -> Any:
        if _has_room():
            vars(builder.function).setdefault("latches", []).append(builder.basic_block)
        return context.get_dummy_value()

    return types.void(), code


class InterleavingLower(Lower):
    """Numba's step from types to LLVM, which also says what `interleave` stands for."""

    def post_lower(self) -> None:
        """Mark loops where they are run again; before, nothing does that."""
        super().post_lower()
        for block in vars(self.function).get("latches", ()):
            block.terminator.set_metadata("llvm.loop", _several(self.module))


@register_pass(mutates_CFG=True, analysis_only=False)
class InterleavingLowering(NativeLowering):
    """The same as one of Numba's passes."""

    _name = "interleaving_lowering"

    @property
    def lowering_class(self) -> Any:
        """What lowers a function."""
        return InterleavingLower


def _several(module: Any) -> Any:
    """Return metadata for one loop. Its first part is itself: no other loop has the same."""
    name = ir.MetaDataString(module, "llvm.loop.interleave.count")
    count = module.add_metadata([name, ir.Constant(ir.IntType(32), _VECTORS)])
    loop = ir.MDValue(module, [count], str(len(module.metadata)))
    loop.operands = (loop, count)
    return loop
