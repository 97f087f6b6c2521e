"""XOR: a linear model cannot represent it, one hidden layer of ReLUs can.

The net of Goodfellow, Bengio & Courville, Deep Learning, section 6.1: first with the book's
weights, then trained. A ReLU that is off for all four inputs gets no gradient and stays off:
two units are enough to represent XOR, but seldom enough to learn it.

    python examples/xor.py                 the tables
    symgrad explain examples/xor.py        the same net forward and backward
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import symgrad as sg

Array = npt.NDArray[Any]
Values = dict[str, Array]
Step = Callable[..., tuple[Array, Values]]

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
T = np.array([0.0, 1.0, 1.0, 0.0])

BOOK = {
    "W": np.array([[1.0, 1.0], [1.0, 1.0]]),
    "c": np.array([0.0, -1.0]),
    "w": np.array([1.0, -2.0]),
    "b": np.array(0.0),
}


def linear_model() -> sg.Model:
    """Return y = x w + b, starting at its optimum: w = 0, b = 1/2."""
    x, t = sg.tensor("x", ("n", 2)), sg.tensor("t", ("n",))
    w, b = sg.parameter("w", (2,)), sg.parameter("b", init=0.5)
    y = x @ w + b
    return sg.Model(((y - t) ** 2).mean(), outputs={"y": y}, data={x: X, t: T})


def xor_net(hidden: int) -> sg.Model:
    """Return y = relu(x W + c) w + b with small random weights and biases of 0.1."""
    x, t = sg.tensor("x", ("n", 2)), sg.tensor("t", ("n",))
    W = sg.parameter("W", (2, hidden), init=sg.init.normal(0.3))
    c = sg.parameter("c", (hidden,), init=sg.init.constant(0.1))
    w = sg.parameter("w", (hidden,), init=sg.init.normal(0.3))
    b = sg.parameter("b", init=0.1)

    a = x @ W + c
    h = sg.nn.relu(a)
    y = h @ w + b
    loss = ((y - t) ** 2).mean()
    return sg.Model(loss, outputs={"a": a, "h": h, "y": y}, data={x: X, t: T})


model = xor_net(hidden=8)


def train(
    step: Step, values: Values, steps: int = 1000, rate: float = 0.1, momentum: float = 0.9
) -> tuple[float, int]:
    """Descend until the loss is below 1e-3; return the last loss and the steps taken."""
    velocity = {name: np.zeros_like(value) for name, value in values.items()}
    for taken in range(steps):
        loss, gradients = step(x=X, t=T, **values)
        if loss < 1e-3:
            return float(loss), taken
        for name, gradient in gradients.items():
            velocity[name] = momentum * velocity[name] - rate * gradient
            values[name] = values[name] + velocity[name]
    return float(loss), steps


def train_seeds(net: sg.Model, seeds: int = 20) -> list[tuple[float, int]]:
    """Train from one start for each seed; return the last loss and the steps of each."""
    step = net.compile()
    return [train(step, net.initial(seed)) for seed in range(seeds)]


def main() -> None:
    line = linear_model()
    loss, gradients = line.compile()(**line.data, **line.initial())
    largest = max(float(np.max(np.abs(g))) for g in gradients.values())
    print(f"Linear model at its optimum: y = 1/2 everywhere, J = {loss:g}, gradient {largest:g}\n")

    net = xor_net(hidden=2)
    loss, _ = net.compile()(x=X, t=T, **BOOK)
    forward = net.compile_forward()(x=X, **BOOK)
    print("The book's weights\n  x       a = xW + c   h = relu(a)   y = h w + b   t")
    for x, a, h, y, t in zip(X, forward["a"], forward["h"], forward["y"], T, strict=True):
        pairs = [f"({p:g}, {q:g})" for p, q in (x, a, h)]
        print(f"  {pairs[0]:<8}{pairs[1]:<13}{pairs[2]:<14}{y:<14g}{t:g}")
    print(f"  J = {loss:g}\n")

    print("Trained from small random weights, 20 seeds, J < 1e-3 is solved")
    print("  hidden units   solved      median steps   the others are stuck at J =")
    for hidden in (2, 8):
        runs = train_seeds(xor_net(hidden))
        steps = [taken for loss, taken in runs if loss < 1e-3]
        stuck = ", ".join(sorted({f"{loss:.3f}" for loss, _ in runs if loss >= 1e-3})) or "none"
        print(f"  {hidden:<15}{len(steps):>2} of 20    {np.median(steps):<15.0f}{stuck}")


if __name__ == "__main__":
    main()
