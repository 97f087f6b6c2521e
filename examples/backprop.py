"""Back-propagation written out (Algorithm 6.4) and derived by symgrad: the same numbers.

Goodfellow, Bengio & Courville, Deep Learning, section 6.5.4. Algorithm 6.3 computes, layer by
layer, a = b + W h and h = f(a), then J = L(ŷ, y) + λΩ(θ). Algorithm 6.4 goes back through the
layers with g = ∂J/∂h. Here f = tanh, L = ½‖ŷ − y‖² and Ω = ½‖θ‖². Below, both are written as
one loop; symgrad is given the first only, and Algorithm 6.6 (sg.grad) derives the second.

    python examples/backprop.py            compares the two for depths 1 to 5
    symgrad explain examples/backprop.py   depth 3, forward and backward side by side
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import symgrad as sg

Array = npt.NDArray[Any]
Values = dict[str, Array]

WIDTHS = (3, 5, 4, 6, 2, 3)


def network(depth: int) -> sg.Model:
    """Return Algorithm 6.3 for ``depth`` layers as a model: the forward pass and nothing else."""
    rng = np.random.default_rng(depth)
    x = sg.tensor("x", (WIDTHS[0],))
    y = sg.tensor("y", (WIDTHS[depth],))
    lam = sg.scalar("λ")

    h = x
    omega = sg.constant(0.0)
    for k in range(1, depth + 1):
        W = sg.parameter(f"W{k}", (WIDTHS[k], WIDTHS[k - 1]), init=sg.init.normal(0.5))
        b = sg.parameter(f"b{k}", (WIDTHS[k],), init=sg.init.normal(0.5))
        a = b + W @ h
        h = sg.tanh(a)
        omega = omega + ((W**2).sum() + (b**2).sum()) / 2
    loss = ((h - y) ** 2).sum() / 2 + lam * omega

    data = {x: rng.standard_normal(WIDTHS[0]), y: rng.standard_normal(WIDTHS[depth]), lam: 0.1}
    return sg.Model(loss, outputs={"prediction": h}, data=data)


model = network(depth=3)


def algorithm_6_4(depth: int, x: Array, y: Array, lam: float, values: Values) -> Values:
    """Return the gradients by hand: Algorithm 6.3 forward, then Algorithm 6.4 backward."""
    h = [x]
    for k in range(1, depth + 1):
        a = values[f"b{k}"] + values[f"W{k}"] @ h[-1]
        h.append(np.tanh(a))

    gradients: Values = {}
    g = h[depth] - y  # the gradient of L by ŷ
    for k in range(depth, 0, -1):
        g = g * (1 - h[k] ** 2)  # g ⊙ f′(a): now the gradient by a
        gradients[f"b{k}"] = g + lam * values[f"b{k}"]
        gradients[f"W{k}"] = np.outer(g, h[k - 1]) + lam * values[f"W{k}"]
        g = values[f"W{k}"].T @ g  # handed down to the layer below
    return gradients


def compare(depth: int, penalties: tuple[float, ...] = (0.0, 0.1)) -> list[tuple[float, float]]:
    """Return J and the largest difference between the two gradients, for each λ."""
    net = network(depth)
    step = net.compile()
    values = net.initial(seed=depth)
    x, y = net.data["x"], net.data["y"]
    results = []
    for lam in penalties:
        loss, gradients = step(x=x, y=y, λ=lam, **values)
        by_hand = algorithm_6_4(depth, x, y, lam, values)
        differences = [np.max(np.abs(gradients[name] - by_hand[name])) for name in by_hand]
        results.append((float(loss), float(max(differences))))
    return results


def main() -> None:
    print("Two layers, as symgrad derives them (Algorithm 6.4: g ⊙ f′(a), g hᵀ, Wᵀ g)\n")
    for gradient in network(depth=2).gradients.values():
        print(f"{gradient}\n")

    print("Largest difference between symgrad's gradients and Algorithm 6.4 by hand")
    print("  depth            λ = 0: J    difference          λ = 0.1: J    difference")
    for depth in range(1, 6):
        (plain, off), (penalised, off_penalised) = compare(depth)
        print(f"  {depth:>5}{plain:>20.6f}{off:>14.1e}{penalised:>20.6f}{off_penalised:>14.1e}")


if __name__ == "__main__":
    main()
