"""A model: a loss, what it predicts, its parameters, and optionally data to check it on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from symgrad import errors
from symgrad.bind import as_declared, read_sizes
from symgrad.compile import Compiled, compile
from symgrad.derivatives import grad
from symgrad.ir.node import Node
from symgrad.ir.origin import Origin, here
from symgrad.ir.size import Size, evaluate
from symgrad.ir.types import Array
from symgrad.ir.walk import reachable
from symgrad.tensor import Tensor


class Model:
    """What the command line looks for, and the shortest way to train.

    Args:
        loss: A scalar tensor. Inputs and parameters are found in its graph.
        outputs: Further tensors to compute by name, such as predictions.
        data: Sample arrays for inputs, by tensor or by name, used to check and to measure.

    Raises:
        ArgumentError: if the loss is no real scalar, two declared tensors share a name, or
            ``data`` names something else than an input.
    """

    def __init__(
        self,
        loss: Any,
        outputs: Mapping[str, Any] | None = None,
        data: Mapping[Any, Any] | None = None,
    ):
        if not isinstance(loss, Tensor) or loss.shape != () or not loss.type.is_float:
            raise errors.ArgumentError(
                errors.worded(
                    f"Model: the loss must be a real scalar tensor, got {loss!r}",
                    made_at=here(),
                    fix="take the sum or the mean over the batch",
                )
            )
        self.loss = loss
        self.outputs = dict(outputs or {})
        self.origin: Origin = here()
        declared = [
            node
            for node in reachable([loss.node, *(t.node for t in self.outputs.values())])
            if node.is_input
        ]
        self.inputs = _by_name(node for node in declared if not node.is_parameter)
        self.parameters = _by_name(node for node in declared if node.is_parameter)
        shared = sorted(self.inputs.keys() & self.parameters.keys())
        if shared:
            raise errors.ArgumentError(f"Model: an input and a parameter are called {shared[0]!r}")
        self.data = self._named_data(data or {})

    def _named_data(self, data: Mapping[Any, Any]) -> dict[str, Array]:
        found: dict[str, Array] = {}
        sizes: dict[str, int] = {}
        source: dict[str, str] = {}
        for key, value in data.items():
            name = str(key.node.name) if isinstance(key, Tensor) else str(key)
            if name not in self.inputs:
                raise errors.ArgumentError(
                    errors.worded(
                        f"Model: data for {name!r}, which is not an input "
                        f"({', '.join(self.inputs)})",
                        made_at=here(),
                    )
                )
            found[name] = as_declared(self.inputs[name].node, value)
            read_sizes(self.inputs[name].node, found[name], sizes, source)
        missing = [name for name in self.inputs if name not in found]
        if found and missing:
            raise errors.ArgumentError(
                errors.worded(f"Model: no data for {', '.join(missing)}", made_at=here())
            )
        return found

    @property
    def differentiated(self) -> dict[str, Tensor]:
        """What the gradients are taken by: the parameters, or the real inputs if there are none."""
        if self.parameters:
            return {n: t for n, t in self.parameters.items() if t.type.is_float}
        return {n: t for n, t in self.inputs.items() if t.type.is_float}

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """The gradient of the loss by each parameter (by each real input if there are none)."""
        wanted = self.differentiated
        return dict(zip(wanted, grad(self.loss, list(wanted.values())), strict=True))

    @property
    def arguments(self) -> list[Tensor]:
        """Inputs, then parameters: what the compiled functions take."""
        return [*self.inputs.values(), *self.parameters.values()]

    def initial(self, seed: int = 0, **sizes: int) -> dict[str, Array]:
        """Return initial values of the parameters, by name.

        Args:
            seed: For the initialisers that draw random numbers.
            sizes: Values for named sizes of parameters that ``data`` does not give.

        Raises:
            ShapeError: if a size of a parameter has no value.
        """
        rng = np.random.default_rng(seed)
        known = {**self._data_sizes(), **sizes}
        return {
            name: _initial_value(tensor.node, rng, known)
            for name, tensor in self.parameters.items()
        }

    def _data_sizes(self) -> dict[str, int]:
        return {
            str(dim): got
            for name, array in self.data.items()
            for dim, got in zip(self.inputs[name].shape, array.shape, strict=True)
            if isinstance(dim, Size)
        }

    def compile(
        self, backend: str = "numba", without: tuple[str, ...] = ()
    ) -> Callable[..., tuple[Array, dict[str, Array]]]:
        """Return ``step(x=..., W=...) -> (loss, gradients by name)``."""
        return Step(
            compile(
                self.arguments,
                [self.loss, *self.gradients.values()],
                backend=backend,
                without=without,
            ),
            tuple(self.gradients),
        )

    def compile_forward(self, backend: str = "numba") -> Callable[..., dict[str, Array]]:
        """Return ``forward(x=..., W=...) -> outputs by name``; without outputs, the loss."""
        outputs = self.outputs or {"loss": self.loss}
        needed = set(reachable([t.node for t in outputs.values()]))
        arguments = [t for t in self.arguments if t.node in needed]
        return Forward(compile(arguments, list(outputs.values()), backend=backend), tuple(outputs))

    def __repr__(self) -> str:
        return (
            f"<Model: inputs {', '.join(self.inputs) or 'none'}; "
            f"parameters {', '.join(self.parameters) or 'none'}>"
        )


class Step:
    """The loss and its gradients by name, compiled."""

    def __init__(self, function: Compiled, names: tuple[str, ...]):
        self.function = function
        self.names = names

    def __call__(self, **values: Any) -> tuple[Array, dict[str, Array]]:
        """Return the loss and the gradients for arrays by name."""
        loss, *gradients = _several(self.function.by_name(values))
        return loss, dict(zip(self.names, gradients, strict=True))


class Forward:
    """A model's outputs by name, compiled."""

    def __init__(self, function: Compiled, names: tuple[str, ...]):
        self.function = function
        self.names = names

    def __call__(self, **values: Any) -> dict[str, Array]:
        """Return the outputs for arrays by name."""
        return dict(zip(self.names, _several(self.function.by_name(values)), strict=True))


def _several(result: Any) -> tuple[Array, ...]:
    return result if isinstance(result, tuple) else (result,)


def _by_name(nodes: Any) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for node in nodes:
        name = str(node.attrs["name"])
        if name in found:
            raise errors.ArgumentError(
                f"Model: two declared tensors are called {name!r}\n"
                f"  made at {found[name].node.origin} and {node.origin}"
            )
        found[name] = Tensor(node)
    return found


def _initial_value(node: Node, rng: np.random.Generator, sizes: Mapping[str, int]) -> Array:
    init = node.attrs["init"]
    try:
        shape: Any = evaluate(node.type.shape, sizes)
    except KeyError as missing:
        if isinstance(init, np.ndarray) and init.ndim == node.type.ndim:
            shape = init.shape
        else:
            raise errors.ShapeError(
                f"parameter {node.name} is {node.type}: give the size {missing} a value, "
                f"as model.initial({missing.args[0]}=...)"
            ) from None
    if callable(init):
        value = np.asarray(init(rng, shape, node.type.dtype))
    else:
        value = np.broadcast_to(0.0 if init is None else init, shape)
    if value.shape != shape:
        raise errors.ShapeError(
            f"parameter {node.name} is {node.type}, but init gave the shape {value.shape}\n"
            f"  made at {node.origin}"
        )
    return np.array(value, dtype=node.type.dtype)
