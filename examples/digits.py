"""Handwritten digits: a multilayer perceptron trained by plain stochastic gradient descent.

64 pixels, 32 tanh units, 10 classes, on the 1797 images that come with scikit-learn. symgrad
compiles the loss and its gradients; the training loop is NumPy, to be read and changed.

    python examples/digits.py              trains and reports the accuracy on unseen images
    symgrad print examples/digits.py       the gradients as formulas
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import symgrad as sg

Array = npt.NDArray[Any]
Forward = Callable[..., dict[str, Array]]

pixels, labels = load_digits(return_X_y=True)
X, X_test, T, T_test = train_test_split(
    (pixels / 16).astype("float32"), labels, test_size=1 / 3, random_state=0, stratify=labels
)

x = sg.tensor("x", ("n", 64), "float32")
t = sg.tensor("t", ("n",), "int64")
W1 = sg.parameter("W1", (64, 32), "float32", init=sg.init.glorot_uniform)
b1 = sg.parameter("b1", (32,), "float32")
W2 = sg.parameter("W2", (32, 10), "float32", init=sg.init.glorot_uniform)
b2 = sg.parameter("b2", (10,), "float32")

h1 = np.tanh(x @ W1 + b1)
logits = h1 @ W2 + b2
loss = sg.nn.cross_entropy(logits, t)

model = sg.Model(loss, outputs={"logits": logits}, data={x: X, t: T})


def accuracy(forward: Forward, values: dict[str, Array]) -> float:
    """Return the share of unseen images that are recognised."""
    scores = forward(x=X_test, **values)["logits"]
    return float(np.mean(scores.argmax(axis=1) == T_test))


def train(
    forward: Forward, epochs: int = 20, batch: int = 32, rate: float = 0.05, momentum: float = 0.9
) -> dict[str, Array]:
    """Return trained parameters; the loss and the accuracy are printed on the way."""
    step = model.compile()
    values = model.initial(seed=0)
    velocity = {name: np.zeros_like(value) for name, value in values.items()}
    rng = np.random.default_rng(0)
    for epoch in range(1, epochs + 1):
        total = 0.0
        order = rng.permutation(len(X))
        for start in range(0, len(X), batch):
            chosen = order[start : start + batch]
            mean, gradients = step(x=X[chosen], t=T[chosen], **values)
            total += float(mean) * len(chosen)
            for name, gradient in gradients.items():
                velocity[name] = momentum * velocity[name] - rate * gradient
                values[name] += velocity[name]
        if epoch == 1 or epoch % 5 == 0:
            print(f"  {epoch:>5}   {total / len(X):>10.4f}   {accuracy(forward, values):>8.1%}")
    return values


def main() -> None:
    print(f"{len(X)} images to learn from, {len(X_test)} held out\n")
    print("  epoch   mean loss    held out")
    forward = model.compile_forward()
    values = train(forward)
    print(f"\n{accuracy(forward, values):.1%} of the images it has never seen are recognised")


if __name__ == "__main__":
    main()
