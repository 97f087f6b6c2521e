"""What each operation means: one record per op. Importing this package registers them all."""

from symgrad.ops import contract, elementwise, index, leaves, nn, reduce, shape

__all__ = ["contract", "elementwise", "index", "leaves", "nn", "reduce", "shape"]
