"""What a row measures: a problem, how its loss is written, and how answers are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Call = Callable[[], Any]

CHECKED_STEPS = 3


@dataclass(frozen=True)
class Problem:
    """Arrays, and what is asked of them: a value and its gradient, or a step of descent.

    Attributes:
        data: What the loss reads.
        parameters: What the loss is differentiated by, in the order of the answers.
        shapes: Declared shapes with named sizes, for arrays whose sizes vary between calls.
        rate: The rate of gradient descent; None asks for the value and the gradient.
        classes: How many classes integer labels have.
    """

    data: dict[str, Array]
    parameters: dict[str, Array]
    shapes: Mapping[str, tuple[str | int, ...]] = field(default_factory=dict)
    rate: float | None = None
    classes: int = 0

    @property
    def arguments(self) -> dict[str, Array]:
        """Data, then parameters: what the loss takes by name."""
        return {**self.data, **self.parameters}

    def shape(self, name: str) -> tuple[str | int, ...]:
        """Return the declared shape of an argument."""
        return self.shapes.get(name, self.arguments[name].shape)


@dataclass(frozen=True)
class Row:
    """One line of the summary: a problem, solved by every contestant.

    Attributes:
        name: What ``--rows`` calls it.
        title: What is computed, for the report.
        problem: Makes the arrays; with an integer, for a batch of that size.
        loss: ``loss(m, **arguments)``, with a library's functions as ``m``.
        by_hand: ``by_hand(**arguments)`` gives the value and the gradients in NumPy, as a tuple.
        tolerance: Largest allowed error of each answer, relative to its largest element.
        losses: Forms of the loss for one library (by its module's name) that suit it better.
        builders: ``builder(problem)`` gives the call, or for training the step and what returns the
            parameters; for contestants of this row only, or instead of a library's usual way.
        floors: Contestants that are bounds, not peers; one without an answer is not checked.
        without: Contestants that are left out, and why.
        trains: Whether the problem has a rate.
        target: What symgrad's time should be at most, relative to the fastest peer's.
        target_to_floor: The same relative to the first of the floors, where that is asked for too.
        kind: "steady" (time per call), "sizes" (a pass over batch sizes) or "startup".
    """

    name: str
    title: str
    problem: Callable[..., Problem]
    loss: Callable[..., Any]
    by_hand: Callable[..., tuple[Any, ...]]
    tolerance: float
    losses: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    builders: Mapping[str, Callable[[Problem], Any]] = field(default_factory=dict)
    floors: tuple[str, ...] = ()
    without: Mapping[str, str] = field(default_factory=dict)
    trains: bool = False
    target: float = 1.05
    target_to_floor: float | None = None
    kind: str = "steady"

    def loss_for(self, module: str) -> Callable[..., Any]:
        """Return the form of the loss that a library is given."""
        return self.losses.get(module, self.loss)


def reference(row: Row, problem: Problem) -> list[Array]:
    """Return the answers by hand in float64: value and gradients, or what a few steps change."""
    arguments = {name: _widened(array) for name, array in problem.arguments.items()}
    if problem.rate is None:
        return [np.asarray(answer) for answer in row.by_hand(**arguments)]
    for _ in range(CHECKED_STEPS):
        loss, *gradients = row.by_hand(**arguments)
        for name, gradient in zip(problem.parameters, gradients, strict=True):
            arguments[name] = arguments[name] - problem.rate * gradient
    return [np.asarray(loss), *changes(problem, [arguments[name] for name in problem.parameters])]


def changes(problem: Problem, parameters: Sequence[Any]) -> list[Array]:
    """Return how far parameters are from where they started."""
    pairs = zip(parameters, problem.parameters.values(), strict=True)
    return [np.asarray(now) - start for now, start in pairs]


def difference(
    problem: Problem, answers: Sequence[Any], expected: Sequence[Array], tolerance: float
) -> str:
    """Return what is wrong with the answers in a few words, or nothing."""
    if len(answers) != len(expected):
        return f"{len(answers)} answers instead of {len(expected)}"
    names = ["value", *problem.parameters][-len(expected) :]
    for name, answer, right in zip(names, answers, expected, strict=True):
        got = np.asarray(answer)
        if got.shape != right.shape:
            return f"{name} has shape {got.shape} instead of {right.shape}"
        scale = np.max(np.abs(right), initial=0.0) or 1.0
        error = np.max(np.abs(got - right), initial=0.0) / scale
        if not error <= tolerance:
            return f"{name} is off by {error:.1e} (tolerance {tolerance:.0e})"
    return ""


def flat(answers: Any) -> list[Any]:
    """Return nested tuples and lists of answers as one list."""
    if isinstance(answers, tuple | list):
        return [one for several in answers for one in flat(several)]
    return [answers]


def _widened(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype == np.float32 else array
