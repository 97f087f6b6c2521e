"""A model: a loss, what it predicts, its parameters, and optionally data to check it on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any

import numpy as np

from symgrad import errors
from symgrad.backends import Program, program_for
from symgrad.bind import Signature, as_declared, named_in_order, read_sizes
from symgrad.compile import Compiled, compile
from symgrad.derivatives import grad
from symgrad.ir.graph import Graph
from symgrad.ir.node import Node
from symgrad.ir.origin import Origin, here
from symgrad.ir.size import Size, evaluate
from symgrad.ir.types import Array
from symgrad.ir.walk import reachable
from symgrad.ops.leaves import tensor as tensor_of
from symgrad.optim import Optimizer
from symgrad.passes.pipeline import optimize
from symgrad.tensor import Tensor


class Model:
    """What the command line looks for, and the shortest way to train.

    Args:
        loss: A scalar tensor. Inputs and parameters are found in its graph.
        outputs: Further tensors to compute by name, such as predictions.
        data: Sample arrays for inputs, by tensor or by name, used to check and to measure.
        stabilize: Whether forms that overflow or cancel are made stable.

    Raises:
        ArgumentError: if the loss is no real scalar, two declared tensors share a name, or
            ``data`` names something else than an input.
    """

    def __init__(
        self,
        loss: Any,
        outputs: Mapping[str, Any] | None = None,
        data: Mapping[Any, Any] | None = None,
        stabilize: bool = True,
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
        self.stabilize = stabilize
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
        found = grad(self.loss, list(wanted.values()), stabilize=self.stabilize)
        return dict(zip(wanted, found, strict=True))

    def without(self, passes: Iterable[str]) -> tuple[str, ...]:
        """Return the passes to leave out of this model's programs: these, and what it forbids."""
        return (*passes, *(() if self.stabilize else ("stabilize",)))

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
        self,
        backend: str = "numba",
        without: tuple[str, ...] = (),
        *,
        update: Optimizer | None = None,
        parameters: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> Any:
        """Return ``step(x=..., W=...) -> (loss, gradients by name)``; to train, give ``update``.

        Args:
            backend: "numba" or "numpy".
            without: Names of optimisation passes to leave out.
            update: An update rule such as ``sg.optim.sgd(0.1)``. The result is then a `Training`:
                it holds the parameters, and ``train(x=...)`` updates them and returns the loss.
            parameters: The values that training starts from, by name; they are copied. Those
                that are missing are drawn by `initial`.
            seed: For the initialisers that draw random numbers.

        Raises:
            ArgumentError: if there is nothing to train, or a parameter is not known.
        """
        if update is not None:
            return Training(_Step(self, update, backend, without, parameters or {}, seed))
        function = compile(
            self.arguments,
            [self.loss, *self.gradients.values()],
            backend=backend,
            without=self.without(without),
        )
        return Step(function, tuple(self.gradients))

    def compile_forward(self, backend: str = "numba") -> Callable[..., dict[str, Array]]:
        """Return ``forward(x=..., W=...) -> outputs by name``; without outputs, the loss."""
        outputs = self.outputs or {"loss": self.loss}
        needed = set(reachable([t.node for t in outputs.values()]))
        arguments = [t for t in self.arguments if t.node in needed]
        f = compile(arguments, list(outputs.values()), backend=backend, without=self.without(()))
        return Forward(f, tuple(outputs))

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


class Training(partial[Any]):
    """A compiled training step: loss, gradients and update in one call, in place.

    Called with the inputs by name, it returns the loss at the parameters as they are, and makes one
    step from there. It raises ArgumentError, DtypeError or ShapeError naming the tensor, expected
    against got; the parameters are then as they were.

    Attributes:
        parameters: The arrays that are trained, by name. They stay the same arrays; write into
            them (``train.parameters["W"][:] = ...``) to change them by hand.
        state: What the update rule keeps: for each of its slots, arrays by parameter.
        graph: The optimised graph.
    """

    parameters: Mapping[str, Array]
    state: Mapping[str, Mapping[str, Array]]
    graph: Graph
    program: Program
    _step: _Step

    def __new__(cls, step: _Step) -> Training:
        """Return a training step; `Model.compile` makes them."""
        # A partial object calls its function from C. To look up a `__call__` takes 0.2 µs more.
        self = super().__new__(cls, step.written_out())
        self.parameters = MappingProxyType(step.parameters)
        self.state = step.state
        self.graph = step.graph
        self.program = step.program
        self._step = step
        return self

    def ready(self) -> Training:
        """Compile the step now, and return it; see `Compiled.ready`."""
        self.program.ready()
        return self

    def bind(self, **values: Any) -> Callable[[], Any]:
        """Return a function without arguments that makes a step with these inputs.

        It reads the arrays anew in each call, and saves the time that it takes to hand them over:
        for a small model a third of the step.

        Raises:
            ArgumentError: if an input is missing, or there is none of that name. What does not fit
                otherwise raises when a step is made.
        """
        named_in_order(self._step.names, values)
        return self._step.written_out(values)

    @property
    def steps(self) -> int:
        """How many steps were made; Adam's rule depends on it."""
        return int(self._step.count)

    @steps.setter
    def steps(self, steps: int) -> None:
        self._step.count = float(steps)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy is the same step, with the same parameters, and not another partial function.
        return Training, (self._step,)

    def __repr__(self) -> str:
        return f"<Training: {', '.join(self._step.names)} -> loss; {self.steps} steps made>"


class _Step:
    """What a training step works with, and how many were made: the attributes are `Training`'s."""

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        backend: str,
        without: tuple[str, ...],
        parameters: Mapping[str, Any],
        seed: int,
    ):
        if not model.parameters:
            raise errors.ArgumentError("Model.compile: there are no parameters to update")
        self.parameters = _start(model, parameters, seed)
        self.state = {
            slot: {name: np.zeros_like(self.parameters[name]) for name in model.differentiated}
            for slot in optimizer.slots
        }
        self.count = 0.0
        inputs = {**model.inputs}
        for tensor in optimizer.inputs:
            if inputs.setdefault(str(tensor.node.name), tensor).node is not tensor.node:
                raise errors.ArgumentError(
                    f"Model.compile: the learning rate and an input are called {tensor.node.name!r}"
                )
        self.names = tuple(inputs)
        taken = {*model.inputs, *model.parameters, *inputs}
        count = tensor_of(_unused("step", taken), (), "float64")
        held, self.arrays, new = _updates(
            model, optimizer, self.parameters, self.state, count, taken
        )
        original = Graph([*inputs.values(), count, *held], [model.loss, *new])
        self.graph = optimize(original, without=model.without(without))
        loss, *replacing = self.graph.outputs
        if loss in replacing:
            # It is returned as well, and not only written over what it replaces.
            from symgrad.backends.lowered import copied

            self.graph = self.graph.replaced([copied(loss), *replacing])
        pairs = zip(held, replacing, strict=True)
        updates = {tensor.node: output for tensor, output in pairs}
        self.signature = Signature(original)
        self.program = program_for(self.graph, backend, self.signature.constraints, updates)

    def written_out(self, values: Mapping[str, Any] | None = None) -> Callable[..., Any]:
        """Return the function that makes a step from values by name, or from these values.

        It is written out, as unpacking would take longer than a small program.
        """
        held = {f"a{i}": array for i, array in enumerate(self.arrays)}
        space: dict[str, Any] = {"made": self, "program": self.program, "values": values, **held}
        if values is None:
            argument, given = "**values", [f"values[{name!r}]" for name in self.names]
            unfit = f" if len(values) == {len(given)} else None"
        else:
            bound = {f"v{i}": values[name] for i, name in enumerate(self.names)}
            space |= bound
            argument, given, unfit = "", list(bound), ""
        lines = [
            f"def step({argument}):",
            "    count = made.count + 1.0",
            "    try:",
            f"        loss = program.fast({', '.join([*given, 'count', *held])}){unfit}",
            "    except Exception:",
            "        # Not as it should be: convert what can be converted, and say what cannot.",
            "        loss = None",
            "    if loss is None:",
            "        loss = made.careful(values, count)",
            "    made.count = count",
            "    return loss",
        ]
        exec("\n".join(lines), space)
        # Left in its own globals, the function would keep itself alive.
        step: Callable[..., Any] = space.pop("step")
        return step

    def careful(self, values: Mapping[str, Any], count: float) -> Any:
        """Return the loss, and make the step numbered ``count``; raises as `Training` says."""
        held = self.signature.inputs[-len(self.arrays) :]
        for node, array in zip(held, self.arrays, strict=True):
            if not array.flags.writeable:
                raise errors.ArgumentError(
                    errors.worded(
                        f"{node.name} is read-only, but a training step writes to it",
                        made_at=node.origin,
                    )
                )
        given = named_in_order(self.names, values)
        arrays, sizes = self.signature.bind([*given, count, *self.arrays])
        for i in range(len(given)):
            # What is updated in place must not be read as data at the same time.
            if any(np.may_share_memory(arrays[i], array) for array in self.arrays):
                arrays[i] = arrays[i].copy()
        return self.program.run(arrays, sizes)[0]


def _start(model: Model, given: Mapping[str, Any], seed: int) -> dict[str, Array]:
    unknown = sorted(set(given) - set(model.parameters))
    if unknown:
        raise errors.ArgumentError(f"Model.compile: there is no parameter called {unknown[0]!r}")
    missing = set(given) != set(model.parameters)
    drawn = model.initial(seed) if missing else {}
    sizes: dict[str, int] = {}
    start = {}
    for name, tensor in model.parameters.items():
        value = as_declared(tensor.node, given.get(name, drawn.get(name)))
        read_sizes(tensor.node, value, sizes, {})
        start[name] = np.array(value, order="C", copy=True)
    return start


def _updates(
    model: Model,
    optimizer: Optimizer,
    start: Mapping[str, Array],
    state: Mapping[str, Mapping[str, Array]],
    step: Tensor,
    taken: set[str],
) -> tuple[list[Tensor], list[Array], list[Tensor]]:
    """Return the tensors that a step replaces, their arrays, and what replaces them."""
    held: list[Tensor] = []
    arrays: list[Array] = []
    new: list[Tensor] = []
    for name, p in model.parameters.items():
        held.append(p)
        arrays.append(start[name])
        if name not in model.gradients:
            new.append(p)
            continue
        slots = {slot: tensor_of(f"{slot} of {name}", p.shape, p.dtype) for slot in optimizer.slots}
        replaced = optimizer.rule(p, model.gradients[name], slots, step)
        new.append(_checked(replaced.get(""), p))
        for slot, tensor in slots.items():
            held.append(tensor)
            arrays.append(state[slot][name])
            new.append(_checked(replaced.get(slot), tensor))
    return held, arrays, new


def _unused(name: str, taken: set[str]) -> str:
    """Return a name like ``name`` that nothing has, and take it."""
    while name in taken:
        name += "'"
    taken.add(name)
    return name


def _checked(value: Any, like: Tensor) -> Tensor:
    if not isinstance(value, Tensor) or value.type != like.type:
        raise errors.ArgumentError(
            f"the update rule must return a new value of {like.node.name}, {like.type}; "
            f"got {value!r}"
        )
    return value


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
