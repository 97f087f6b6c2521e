"""Every exception symgrad raises, and the one function that words them.

Each message has up to four parts, in this order: the operation and what is wrong with which
input (expected against got); where the user made it; where the inputs were made; the likely fix.
"""

from __future__ import annotations

from collections.abc import Iterable


class SymgradError(Exception):
    """Base class of all symgrad errors."""


class ShapeError(SymgradError, ValueError):
    """Shapes that do not fit together, or an array whose shape is not the declared one."""


class DtypeError(SymgradError, TypeError):
    """A dtype that an operation, a tensor or a call does not accept."""


class ArgumentError(SymgradError, TypeError):
    """A wrong number, name or kind of arguments."""


class ValueRangeError(SymgradError, IndexError):
    """An index, axis or class label outside its range."""


class SymbolicError(SymgradError, TypeError):
    """A tensor used where only a number will do: ``if t:``, ``float(t)``, ``np.asarray(t)``."""


class UnsupportedError(SymgradError, TypeError):
    """A function or argument that symgrad does not know."""


class GradientError(SymgradError, ValueError):
    """A derivative that was asked for and does not exist."""


class GraphError(SymgradError, ValueError):
    """A graph that breaks one of its invariants, or IR text that is not a graph."""


class BackendError(SymgradError, RuntimeError):
    """Generated code that does not compile, or finds no BLAS: no mistake of the model."""


class ModelError(SymgradError):
    """A model file that cannot be read or run, or has no model to compile."""


def worded(
    what: str,
    *,
    made_at: object = None,
    inputs: Iterable[str] = (),
    fix: str = "",
) -> str:
    """Return the message ``what``, with its places and the fix on lines of their own.

    ``made_at`` is the origin of the expression at fault (anything that prints as
    ``file:line   source``); ``inputs`` are ready phrases such as ``x was made at model.py:3``.
    """
    lines = [what]
    if made_at is not None:
        lines.append(f"  made at {made_at}")
    places = ", ".join(inputs)
    if places:
        lines.append(f"  {places}")
    if fix:
        lines.append(f"  fix: {fix}")
    return "\n".join(lines)
