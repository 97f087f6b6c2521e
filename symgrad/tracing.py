"""From a function on arrays: traced once for each dtype and rank, then compiled."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from symgrad import errors
from symgrad.compile import Compiled, compile
from symgrad.derivatives import grad
from symgrad.ops.leaves import tensor
from symgrad.tensor import Tensor


class ValueAndGrad:
    """A function's value and gradient on arrays; see `value_and_grad`."""

    def __init__(self, function: Callable[..., Any], argnums: int | Sequence[int], backend: str):
        functools.update_wrapper(self, function)
        self.function = function
        self.single = isinstance(argnums, int)
        self.argnums = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        self.backend = backend
        self.signature = inspect.signature(function)
        self.compiled: dict[Hashable, Compiled] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Return the value and the gradient: one array, or a tuple for several ``argnums``."""
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise errors.ArgumentError(f"{self._name}: {error}") from None
        bound.apply_defaults()
        wanted = self._wanted(list(bound.arguments))
        values = dict(bound.arguments)
        arrays = {
            name: np.asarray(value, dtype=np.float64 if isinstance(value, int) else None)
            for name, value in values.items()
            if name in wanted or _is_array(value)
        }
        static = {name: value for name, value in values.items() if name not in arrays}
        key = (_key(arrays), tuple(static.items()))
        try:
            known = self.compiled.get(key)
        except TypeError:
            raise errors.ArgumentError(
                f"{self._name}: an argument that is neither a number nor an array must be hashable"
            ) from None
        if known is None:
            known = self.compiled[key] = self._trace(arrays, static, wanted)
        value, *gradients = known(*arrays.values())
        return value, gradients[0] if self.single else tuple(gradients)

    @property
    def _name(self) -> str:
        return str(getattr(self.function, "__name__", "function"))

    def _wanted(self, names: list[str]) -> list[str]:
        try:
            return [names[i] for i in self.argnums]
        except IndexError:
            raise errors.ArgumentError(
                f"{self._name} has {len(names)} arguments; argnums is {self.argnums}"
            ) from None

    def _trace(
        self, arrays: dict[str, np.ndarray[Any, Any]], static: dict[str, Any], wanted: list[str]
    ) -> Compiled:
        """Run the function on tensors. A size of 1 is known, since only that broadcasts."""
        tensors = {
            name: tensor(name, [1 if n == 1 else None for n in array.shape], array.dtype)
            for name, array in arrays.items()
        }
        bound = self.signature.bind_partial()
        bound.arguments.update({**tensors, **static})
        ordered = {name: bound.arguments[name] for name in self.signature.parameters}
        bound.arguments.clear()
        bound.arguments.update(ordered)
        value = self.function(*bound.args, **bound.kwargs)
        if not isinstance(value, Tensor):
            raise errors.ArgumentError(
                f"{self._name} returned {value!r}; expected a scalar computed from its arguments"
            )
        gradients = grad(value, [tensors[name] for name in wanted])
        return compile(list(tensors.values()), [value, *gradients], backend=self.backend)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic | float | list)


def _key(arrays: dict[str, np.ndarray[Any, Any]]) -> Hashable:
    return tuple(
        (name, array.dtype.str, tuple(n == 1 for n in array.shape))
        for name, array in arrays.items()
    )


def value_and_grad(
    function: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    *,
    backend: str = "numba",
) -> ValueAndGrad:
    """Return a function that computes ``function`` and its gradient on arrays.

    The function is traced on the first call for each combination of dtypes and ranks (and of
    axes of size 1, which broadcast); later calls with other sizes use the same kernel. Arrays,
    lists and floats become tensors; integers, strings and other values are passed as they are.

    Args:
        function: From arrays to a scalar, written with NumPy's functions.
        argnums: The positions of the arguments to differentiate by: one, or several.
        backend: As for `compile`.

    Raises:
        ArgumentError: at a call whose arguments do not fit, or if the result is no tensor.
        GradientError: if the result is not a real scalar.
    """
    return ValueAndGrad(function, argnums, backend)
