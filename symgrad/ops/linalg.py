"""Linear algebra under NumPy's names, as ``sg.linalg``."""

from symgrad.ops.contract import matmul, norm, outer, trace
from symgrad.ops.shape import matrix_transpose

__all__ = ["matmul", "matrix_transpose", "norm", "outer", "trace"]
