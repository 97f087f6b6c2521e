"""Logistic regression with an L2 penalty, fitted by SciPy and compared with scikit-learn.

Both minimise the same objective. Ours is Σ log-loss + λ/2 ‖w‖², scikit-learn's C Σ log-loss +
1/2 ‖w‖², so C = 1/λ; neither penalises the intercept b. symgrad compiles the value with its
gradient, and the product of the Hessian with a vector, which is all that Newton's method needs.

    python examples/breast_cancer.py
    symgrad print examples/breast_cancer.py --latex
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import symgrad as sg

Array = npt.NDArray[Any]

LAMBDA = 0.5

measurements, labels = load_breast_cancer(return_X_y=True)
features = StandardScaler().fit_transform(measurements)
count = features.shape[1]

X = sg.tensor("X", ("n", count))
t = sg.tensor("t", ("n",), "int64")
w = sg.parameter("w", (count,))
b = sg.parameter("b")

z = X @ w + b
loss = sg.nn.binary_cross_entropy_with_logits(z, t, reduction="sum") + LAMBDA / 2 * (w**2).sum()

model = sg.Model(loss, outputs={"z": z}, data={X: features, t: labels})

# The Hessian times a direction (v, u) in the space of (w, b).
v = sg.vector("v", count)
u = sg.scalar("u")
Hv, Hu = sg.hvp(loss, [w, b], [v, u])


def fit() -> dict[str, tuple[Array, int]]:
    """Return, for two of SciPy's minimisers, (w, b) as one vector and the iterations."""
    step = model.compile()
    product = sg.compile([X, t, w, b, v, u], [Hv, Hu])

    def value_and_gradient(theta: Array) -> tuple[float, Array]:
        value, gradient = step(X=features, t=labels, w=theta[:-1], b=theta[-1])
        return float(value), np.append(gradient["w"], gradient["b"])

    def hessian_product(theta: Array, direction: Array) -> Array:
        at = (theta[:-1], theta[-1], direction[:-1], direction[-1])
        return np.append(*product(features, labels, *at))

    start = np.zeros(count + 1)
    quasi_newton = minimize(
        value_and_gradient,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-8, "maxiter": 1000},
    )
    newton = minimize(
        value_and_gradient,
        start,
        jac=True,
        hessp=hessian_product,
        method="Newton-CG",
        options={"xtol": 1e-9},
    )
    return {
        "L-BFGS-B, gradient": (quasi_newton.x, quasi_newton.nit),
        "Newton-CG, gradient and hvp": (newton.x, newton.nit),
    }


def reference() -> Array:
    """Return scikit-learn's (w, b) for the same objective, as one vector."""
    exact = LogisticRegression(C=1 / LAMBDA, solver="newton-cholesky", tol=1e-10)
    fitted = exact.fit(features, labels)
    return np.append(fitted.coef_[0], fitted.intercept_)


def main() -> None:
    print(f"{len(labels)} tumours, {count} measurements, λ = {LAMBDA:g} (C = {1 / LAMBDA:g})\n")
    expected = reference()
    print("                                iterations   max |difference to scikit-learn|")
    for method, (theta, iterations) in fit().items():
        difference = np.max(np.abs(theta - expected))
        print(f"  {method:<30}{iterations:>10}{difference:>35.1e}")

    right = np.mean((features @ theta[:-1] + theta[-1] > 0) == labels)
    print(f"\nIntercept {theta[-1]:.6f}, {right:.1%} of the training cases on the right side")
    print("Largest coefficients:")
    names = load_breast_cancer().feature_names
    for k in np.argsort(-np.abs(theta[:-1]))[:5]:
        print(f"  {names[k]:<22}{theta[k]:>9.4f}")


if __name__ == "__main__":
    main()
