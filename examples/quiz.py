"""Three calculus quizzes, answered by one program: the formula, then the number.

Quiz 1: the two partial derivatives of y = exp(xz) + xz / log(x) + sin(log(x)) / exp(xz).
Quiz 2: a net with two hidden layers of sigmoids; the gradient by each of its weights.
Third: y = cos(sin(x²) + 3x²), a composition whose inner x² is used twice.

    python examples/quiz.py                formulas, numbers, and the answers expected
    symgrad explain examples/quiz.py       quiz 1 step by step; quiz.py:quiz2 for the second
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import symgrad as sg

Array = npt.NDArray[Any]

# Quiz 1. A model without parameters: gradients are taken by its inputs.
x, z = sg.scalar("x"), sg.scalar("z")
y = np.exp(x * z) + x * z / np.log(x) + np.sin(np.log(x)) / np.exp(x * z)
model = sg.Model(y, data={x: 2.0, z: 3.0})
QUIZ_1 = {"y": 412.08654756472337, "x": 1208.3665605541926, "z": 809.73980941393924}

COSINE = {  # x: value and slope of cos(sin(x²) + 3x²)
    1.0: (-0.764920562804486, 4.56079179067878),
    2.0: (0.245100368170016, 9.09914854483238),
    0.5: (0.542484975714032, -3.33414641414497),
}


def two_layer_net() -> sg.Model:
    """Return quiz 2: features x, two hidden layers, one output, all sigmoids, no biases."""
    x = sg.tensor("x", (3,))
    alpha1 = sg.parameter("alpha1", (4, 3), init=sg.init.normal())
    alpha2 = sg.parameter("alpha2", (2, 4), init=sg.init.normal())
    beta = sg.parameter("beta", (2,), init=sg.init.normal())
    h1 = sg.nn.sigmoid(alpha1 @ x)
    h2 = sg.nn.sigmoid(alpha2 @ h1)
    y = sg.nn.sigmoid(beta @ h2)
    return sg.Model(y, outputs={"h1": h1, "h2": h2, "y": y}, data={x: [1.0, 2.0, 0.5]})


def composition() -> sg.Model:
    """Return cos(sin(x²) + 3x²): what both terms share is computed once."""
    x = sg.scalar("x")
    s = x**2
    y = np.cos(np.sin(s) + 3 * s)
    return sg.Model(y, data={x: 1.0})


quiz2 = two_layer_net()
cosine = composition()


def quiz2_by_hand(values: dict[str, Array]) -> dict[str, Array]:
    """Return the gradients as the chain rule gives them on paper, one factor per step."""
    step = quiz2.compile_forward()(**quiz2.data, **values)
    y, h1, h2, x = step["y"], step["h1"], step["h2"], quiz2.data["x"]
    by_a2 = y * (1 - y) * values["beta"] * h2 * (1 - h2)
    by_a1 = (values["alpha2"].T @ by_a2) * h1 * (1 - h1)
    return {
        "beta": y * (1 - y) * h2,
        "alpha2": np.outer(by_a2, h1),
        "alpha1": np.outer(by_a1, x),
    }


def quiz2_differences() -> dict[str, float]:
    """Return, for each weight array, the largest difference to the gradient by hand."""
    values = quiz2.initial(seed=0)
    _, gradients = quiz2.compile()(**quiz2.data, **values)
    by_hand = quiz2_by_hand(values)
    return {name: float(np.max(np.abs(g - by_hand[name]))) for name, g in gradients.items()}


def main() -> None:
    print("Quiz 1: y = exp(xz) + xz / log(x) + sin(log(x)) / exp(xz) at x = 2, z = 3\n")
    for gradient in sg.grad(model.loss, [x, z]):
        print(f"{gradient}\n")
    value, gradients = model.compile()(x=2.0, z=3.0)
    for name, result in {"y": value, **gradients}.items():
        label = "y" if name == "y" else f"∂y/∂{name}"
        print(f"  {label:<6}{result:>20.13f}   expected{QUIZ_1[name]:>20.13f}")

    print("\n\nQuiz 2: y = σ(β σ(α₂ σ(α₁ x)))\n")
    for gradient in quiz2.gradients.values():
        print(f"{gradient}\n")
    for name, difference in quiz2_differences().items():
        print(f"  {name:<8} largest difference to the gradient by hand {difference:.1e}")

    print("\n\ny = cos(sin(x²) + 3x²)\n")
    print(f"{cosine.gradients['x']}\n")
    step = cosine.compile()
    for at, expected in COSINE.items():
        value, gradients = step(x=at)
        print(f"  x = {at:<4g} y {value:>18.15f}   dy/dx {gradients['x']:>18.14f}")
        print(f"  expected {expected[0]:>18.15f}         {expected[1]:>18.14f}")


if __name__ == "__main__":
    main()
