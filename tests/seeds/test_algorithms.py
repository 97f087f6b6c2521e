"""Seed cases, section 1: the algorithms of the decks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.autodiff.reverse import build_grad, ones
from symgrad.ir.node import Node
from symgrad.ir.sweep import Sweep
from symgrad.ir.walk import reachable
from tests.oracles import Array, Dual, Variable, difference, sigmoid, softmax

Activation = tuple[Callable[[Any], Any], Callable[[Any], Any], Callable[[Any], Any]]
ACTIVATIONS: dict[str, Activation] = {
    "tanh": (np.tanh, np.tanh, lambda a: 1 - np.tanh(a) ** 2),
    "sigmoid": (sg.nn.sigmoid, sigmoid, lambda a: sigmoid(a) * (1 - sigmoid(a))),
    "relu": (sg.nn.relu, lambda a: np.maximum(a, 0), lambda a: (a > 0) * 1.0),
    "softplus": (sg.nn.softplus, lambda a: np.log(1 + np.exp(a)), sigmoid),
    "absolute": (np.abs, np.abs, np.sign),
}


# Algorithms 6.1 and 6.2: scalars


def test_algorithm_6_1_interpreter_equals_kernel(backend: str) -> None:
    x, A = sg.vector("x", 3), sg.matrix("A", (3, 3))
    z = np.sum(np.exp(np.tanh(A @ x)) * x)
    graph = sg.Graph([x, A], [z])
    assert graph.nodes[:2] == graph.inputs  # u(1) ... u(n_i)
    assert graph.nodes[-1] is graph.outputs[0]  # u(n)

    functions: dict[str, Callable[..., Any]] = {
        "matmul": np.matmul,
        "tanh": np.tanh,
        "exp": np.exp,
        "multiply": np.multiply,
        "sum": np.sum,
    }
    rng = np.random.default_rng(0)
    given = [rng.normal(size=3), rng.normal(size=(3, 3))]
    u: dict[Node, Any] = dict(zip(graph.inputs, given, strict=True))
    for node in graph.nodes[2:]:
        assert all(parent in u for parent in node.inputs)
        u[node] = functions[node.op.name](*(u[parent] for parent in node.inputs))
    kernel = sg.compile([x, A], z, backend=backend)
    np.testing.assert_allclose(kernel(*given), u[graph.nodes[-1]], rtol=1e-13)


Step = tuple[np.ufunc, tuple[int, ...]]


def random_dag(rng: np.random.Generator, inputs: int, length: int) -> list[Step]:
    """Return steps (function, positions of its arguments); repeated arguments and steps occur."""
    unary, binary = [np.sin, np.cos, np.tanh], [np.add, np.subtract, np.multiply]
    steps: list[Step] = []
    for i in range(inputs, inputs + length):
        arity = int(rng.integers(1, 3))
        function = rng.choice(unary if arity == 1 else binary)  # type: ignore[arg-type]
        recent = max(0, i - 6)
        steps.append((function, tuple(int(k) for k in rng.integers(recent, i, arity))))
    return steps


def evaluated(steps: list[Step], u: list[Any], fixed: tuple[int, Any] | None = None) -> list[Any]:
    """Return all u(i) by Algorithm 6.1, with one of them held at a given value."""
    u = list(u)
    if fixed and fixed[0] < len(u):
        u[fixed[0]] = fixed[1]
    for function, parents in steps:
        value = function(*(u[j] for j in parents))
        u.append(fixed[1] if fixed and fixed[0] == len(u) else value)
    return u


@pytest.mark.parametrize("seed", range(4))
def test_algorithm_6_2_every_derivative_of_a_random_dag(seed: int, backend: str) -> None:
    rng = np.random.default_rng(seed)
    steps, x = random_dag(rng, 3, 14), list(rng.uniform(-1, 1, 3))
    declared = [sg.scalar(f"x{i}") for i in range(3)]
    u = evaluated(steps, declared)
    table = sg.compile(declared, sg.grad(u[-1], u), backend=backend)(*x)
    values = evaluated(steps, x)
    for j, derivative in enumerate(table):

        def moved(v: Any, j: int = j) -> Any:
            return evaluated(steps, x, (j, v))[-1]

        expected = difference(moved, values[j])
        np.testing.assert_allclose(derivative, expected, rtol=1e-9, atol=1e-11)
    # The deck's "grad_table[∂u(n)] <- 1" is grad_table[u(n)] <- 1.
    assert table[-1] == 1


@pytest.mark.parametrize("seed", range(8))
def test_algorithm_6_2_one_partial_for_each_edge(seed: int) -> None:
    steps = random_dag(np.random.default_rng(seed), 3, 30)
    u = evaluated(steps, [sg.scalar(f"x{i}") for i in range(3)])
    edges, ancestors = 0, {len(u) - 1}
    for i in range(len(u) - 1, 2, -1):
        if i in ancestors:
            edges += len(steps[i - 3][1])
            ancestors |= set(steps[i - 3][1])
    record = Sweep()
    build_grad({u[-1].node: ones(u[-1].node)}, [v.node for v in u], record)
    assert len(record.contributions) == edges
    assert len({(c.consumer, c.position) for c in record.contributions}) == edges


# Algorithms 6.3 and 6.4: the multi-layer perceptron


def declared_mlp(widths: list[int]) -> tuple[list[sg.Tensor], list[sg.Tensor]]:
    pairs = list(zip(widths[1:], widths[:-1], strict=True))
    weights = [sg.parameter(f"W{k}", shape) for k, shape in enumerate(pairs, 1)]
    biases = [sg.parameter(f"b{k}", (m,)) for k, (m, _) in enumerate(pairs, 1)]
    return weights, biases


def forward_6_3(
    x: Any, weights: list[Any], biases: list[Any], f: Callable[[Any], Any]
) -> tuple[list[Any], list[Any]]:
    a: list[Any] = []
    h = [x]
    for W, b in zip(weights, biases, strict=True):
        a.append(b + W @ h[-1])
        h.append(f(a[-1]))
    return a, h


def backward_6_4(
    a: list[Array],
    h: list[Array],
    y: Array,
    theta: tuple[list[Array], list[Array]],
    slope: Callable[[Array], Array],
    penalty: Callable[[Array], Array],
) -> list[Array]:
    """Return the gradients of L = 1/2 |h - y|^2 plus a penalty whose gradient is given."""
    weights, biases = theta
    by_weights: list[Array] = []
    by_biases: list[Array] = []
    g = h[-1] - y
    for k in reversed(range(len(weights))):
        g = g * slope(a[k])
        by_biases.insert(0, g + penalty(biases[k]))
        by_weights.insert(0, np.outer(g, h[k]) + penalty(weights[k]))
        g = weights[k].T @ g
    return by_weights + by_biases


@pytest.mark.parametrize("norm", ["half squared L2", "L1"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_algorithms_6_3_and_6_4_mlp(depth: int, norm: str, backend: str) -> None:
    symbolic, f, slope = list(ACTIVATIONS.values())[depth - 1]
    rng = np.random.default_rng(depth)
    widths = [int(n) for n in rng.integers(2, 5, depth + 1)]
    x, y, lam = sg.vector("x", widths[0]), sg.vector("y", widths[-1]), sg.scalar("λ")
    weights, biases = declared_mlp(widths)
    _, hidden = forward_6_3(x, weights, biases, symbolic)
    squared = norm == "half squared L2"
    omega = sum(np.sum(p**2) / 2 if squared else np.sum(np.abs(p)) for p in weights + biases)
    J = np.sum((hidden[-1] - y) ** 2) / 2 + lam * omega
    arguments = [x, y, lam, *weights, *biases]
    run = sg.compile(arguments, [J, *sg.grad(J, weights + biases)], backend=backend)

    Ws = [rng.normal(size=w.shape) for w in weights]
    bs = [rng.normal(size=b.shape) for b in biases]
    at, target = rng.normal(size=widths[0]), rng.normal(size=widths[-1])
    a, h = forward_6_3(at, Ws, bs, f)
    for rate in (0.0, 0.3):
        cost, *gradients = run(at, target, rate, *Ws, *bs)
        loss = ((h[-1] - target) ** 2).sum() / 2
        omegas = [(p**2).sum() / 2 if squared else np.abs(p).sum() for p in Ws + bs]
        np.testing.assert_allclose(cost, loss + rate * sum(omegas), rtol=1e-12)

        def penalty(p: Array, rate: float = rate) -> Array:
            return rate * (p if squared else np.sign(p))

        by_hand = backward_6_4(a, h, target, (Ws, bs), slope, penalty)
        for got, expected in zip(gradients, by_hand, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def test_algorithm_6_4_softmax_output_needs_the_jacobian(backend: str) -> None:
    # "g ⊙ f'(a)" holds for elementwise f only; for softmax it is Jᵀg with J = diag(ŷ) - ŷŷᵀ.
    a, y = sg.vector("a", 4), sg.vector("y", 4)
    loss = np.sum((sg.nn.softmax(a) - y) ** 2) / 2
    at, target = np.array([0.3, -1.0, 2.0, 0.5]), np.array([0.1, 0.2, 0.3, 0.4])
    p = softmax(at)
    expected = (np.diag(p) - np.outer(p, p)).T @ (p - target)
    got = sg.compile([a, y], sg.grad(loss, a), backend=backend)(at, target)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-15)
    assert not np.allclose(got, (p - target) * p * (1 - p))


# Algorithms 6.5 and 6.6: the general form


def test_algorithm_6_5_prunes_to_ancestors_of_z_and_descendants_of_t() -> None:
    x, w = sg.scalar("x"), sg.scalar("w")
    a = x * w
    b: Any = np.sin(a)
    beside = np.cos(x)  # an ancestor of z, but no descendant of w
    z = b + beside
    np.exp(a)  # a descendant of w, but no ancestor of z
    record = Sweep()
    table = build_grad({z.node: ones(z.node)}, [w.node], record)
    assert {node for c in record.contributions for node in (c.of, c.consumer)} == {
        w.node, a.node, b.node, z.node
    }  # fmt: skip
    assert list(table) == [w.node]  # restricted to T


def test_algorithm_6_5_z_itself_and_unreachable_targets(backend: str) -> None:
    x, w, v = sg.scalar("x"), sg.scalar("w"), sg.vector("v", 3)
    z: Any = np.sin(x * w)
    by_z, by_w, by_v = sg.compile([x, w, v], sg.grad(z, [z, w, v]), backend=backend)(
        2.0, 0.5, [1, 2, 3]
    )
    assert by_z == 1
    assert by_w == pytest.approx(2 * np.cos(1.0), rel=1e-14)
    np.testing.assert_array_equal(by_v, np.zeros(3))
    with pytest.raises(sg.errors.GradientError, match="v is never used in it"):
        sg.grad(z, [w, v], disconnected="raise")


def test_algorithm_6_6_is_memoised_over_exponentially_many_paths(backend: str) -> None:
    x = sg.scalar("x")
    u: Any = x
    v: Any = (number := Variable(0.7))
    depth = 40
    for _ in range(depth):
        u, v = np.sin(u) * np.cos(u), np.sin(v) * np.cos(v)  # four edges, two paths
    record = Sweep()
    build_grad({u.node: ones(u.node)}, [x.node], record)
    assert len(record.contributions) == 4 * depth
    assert len({(c.consumer, c.position) for c in record.contributions}) == 4 * depth
    v.backward()
    got = sg.compile([x], sg.grad(u, x), backend=backend)(0.7)
    np.testing.assert_allclose(got, number.derivative, rtol=1e-12)


def test_algorithm_6_6_appends_to_the_same_graph() -> None:
    x, c = sg.scalar("x"), sg.scalar("c")
    a = c * x
    z: Any = np.exp(a)
    forward = reachable([z.node])
    table = build_grad({z.node: ones(z.node)}, [x.node])
    backward = reachable([table[x.node]])
    # The deck's get_inputs(C, G') must be the inputs in G: c is not in G', yet ∂a/∂x = c.
    assert c.node in backward
    assert z.node in backward  # exp' = exp: the node that is there already
    both = sg.Graph([x, c], [z, sg.Tensor(table[x.node])])
    new = [node for node in both.nodes if node not in forward]
    assert set(forward) < set(both.nodes)
    assert min(node.number for node in new) > z.node.number


@pytest.mark.parametrize(
    ("f", "derivative"),
    [
        (lambda x: x + x, lambda x: 2.0),
        (lambda x: x - x, lambda x: 0.0),
        (lambda x: x * x, lambda x: 2 * x),
        (lambda x: x / x, lambda x: 0.0),
        (lambda x: x**x, lambda x: x**x * (np.log(x) + 1)),
        (lambda x: np.sin(x) + np.cos(x) + x * np.exp(x), None),
    ],
    ids=["add", "subtract", "multiply", "divide", "power", "fan-out"],
)
def test_algorithm_6_6_sums_over_consumers_and_positions(
    f: Callable[[Any], Any], derivative: Callable[[float], float] | None, backend: str
) -> None:
    x = sg.scalar("x")
    expected = derivative(1.3) if derivative else difference(f, 1.3)
    got = sg.compile([x], sg.grad(f(x), x), backend=backend)(1.3)
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-15)


def test_algorithm_6_6_matrix_used_twice_by_one_product(backend: str) -> None:
    A = sg.matrix("A", (3, 3))
    at = np.arange(9.0).reshape(3, 3) / 4 - 1
    weight = np.random.default_rng(0).normal(size=(3, 3))
    z = sg.sum(weight * (A @ A))
    got = sg.compile([A], sg.grad(z, A), backend=backend)(at)
    np.testing.assert_allclose(got, weight @ at.T + at.T @ weight, rtol=1e-13, atol=1e-14)


# Reverse mode, forward mode, symbolic and finite differences


def composite(x: Any, y: Any) -> Any:
    t = x**2
    return np.cos(np.sin(t) + 3 * t) * np.exp(x * y) / (1 + t) - np.log(y) * np.tanh(x - y)


def test_reverse_mode_recipe_of_increments(backend: str) -> None:
    x, y = sg.scalar("x"), sg.scalar("y")
    z = composite(x, y)
    value, by_x, by_y = sg.compile([x, y], [z, *sg.grad(z, [x, y])], backend=backend)(0.8, 1.7)
    u, v = Variable(0.8), Variable(1.7)
    tape = composite(u, v)
    tape.backward()
    np.testing.assert_allclose(
        [value, by_x, by_y], [tape.value, u.derivative, v.derivative], rtol=1e-13
    )


def test_forward_mode_equals_dual_numbers(backend: str) -> None:
    x, y = sg.vector("x", 4), sg.vector("y", 4)
    rng = np.random.default_rng(1)
    at, dx, dy = rng.uniform(0.5, 2, (2, 4)), rng.normal(size=4), rng.normal(size=4)
    tangent = sg.compile([x, y], sg.jvp(composite(x, y), [x, y], [dx, dy]), backend=backend)(*at)
    dual = composite(Dual(at[0], dx), Dual(at[1], dy))
    np.testing.assert_allclose(tangent, dual.tangent, rtol=1e-12)


def test_forward_mode_is_the_adjoint_of_reverse_mode(backend: str) -> None:
    # <v, Jᵀu> = <Jv, u>; tests/ops/test_registry.py holds every op to it.
    W, x = sg.matrix("W", (4, 3)), sg.vector("x", 3)
    y = sg.nn.softmax(np.tanh(W @ x) * np.max(W, axis=1))
    rng = np.random.default_rng(7)
    u, v = rng.normal(size=4), [rng.normal(size=(4, 3)), rng.normal(size=3)]
    outputs = [*sg.vjp(y, [W, x], u), sg.jvp(y, [W, x], v)]
    by_W, by_x, pushed = sg.compile([W, x], outputs, backend=backend)(
        rng.normal(size=(4, 3)), rng.normal(size=3)
    )
    np.testing.assert_allclose(np.sum(v[0] * by_W) + v[1] @ by_x, pushed @ u, rtol=1e-12)


def test_symbolic_differentiation_blows_up_but_the_graph_does_not() -> None:
    # "Exponential if not carefully implemented": the tree is, the graph with shared nodes is not.
    def sizes(depth: int) -> tuple[int, int]:
        x = sg.scalar("x")
        u = x
        for _ in range(depth):
            u = 4 * u * (1 - u)
        graph = sg.optimize(sg.Graph([x], [sg.grad(u, x)]))
        tree: dict[Node, int] = {}
        for node in graph.nodes:
            tree[node] = 1 + sum(tree[parent] for parent in node.inputs)
        return len(graph), tree[graph.outputs[0]]

    (g10, t10), (g20, t20), (g30, t30) = sizes(10), sizes(20), sizes(30)
    assert g30 - g20 == g20 - g10 <= 10 * 12
    assert t20 > 2**10 * t10 > 2**20 and t30 > 2**10 * t20


def test_centered_finite_difference_has_order_2_and_a_u_shape(backend: str) -> None:
    theta = sg.vector("θ", 3)
    J = np.sum(np.sin(theta) * np.exp(theta))
    f = sg.compile([theta], [J, sg.grad(J, theta)], backend=backend)
    at = np.array([0.3, -0.8, 1.1])
    exact = f(at)[1]

    def error(step: float) -> float:
        d = np.eye(3)  # d_i is one-hot
        slopes = [(f(at + step * d[i])[0] - f(at - step * d[i])[0]) / (2 * step) for i in range(3)]
        return float(np.max(np.abs(slopes - exact)))

    errors = {k: error(10.0**-k) for k in (1, 2, 3, 5, 8, 12)}
    assert np.log10(errors[1] / errors[2]) == pytest.approx(2, abs=0.05)
    assert np.log10(errors[2] / errors[3]) == pytest.approx(2, abs=0.05)
    assert errors[1] > errors[2] > errors[3] > errors[5] < errors[8] < errors[12]
    assert errors[5] < 1e-9


# Training


def layers_of(rng: np.random.Generator, widths: list[int]) -> list[Array]:
    """Return θ = [W₁ ... W_L, b₁ ... b_L]; W_L is k×n, not n×k, as a_L = b_L + W_L h says."""
    pairs = list(zip(widths[1:], widths[:-1], strict=True))
    return [rng.normal(size=s) * 0.5 for s in pairs] + [rng.normal(size=m) * 0.1 for m, _ in pairs]


def forward_propagation(theta: list[Any], x: Any) -> tuple[list[Any], list[Any], Any]:
    """Return a₁ ... a_L, h₀ ... h_(L-1) and ŷ for L = len(theta) / 2, g = tanh, O = softmax."""
    L = len(theta) // 2
    a, h = [], [x]
    for k in range(L - 1):
        a.append(theta[L + k] + theta[k] @ h[-1])
        h.append(np.tanh(a[-1]))
    a.append(theta[-1] + theta[L - 1] @ h[-1])
    return a, h, softmax(a[-1])


def back_propagation(theta: list[Array], x: Array, label: int) -> list[Array]:
    L = len(theta) // 2
    a, h, y_hat = forward_propagation(theta, x)
    by_a = -(np.eye(len(y_hat))[label] - y_hat)
    by_weights: list[Array] = []
    by_biases: list[Array] = []
    for k in reversed(range(L)):
        by_weights.insert(0, np.outer(by_a, h[k]))
        by_biases.insert(0, by_a)
        if k > 0:  # there is nothing below the first layer
            by_a = (theta[k].T @ by_a) * (1 - np.tanh(a[k - 1]) ** 2)
    return by_weights + by_biases


def three_layers() -> tuple[sg.Tensor, sg.Tensor, list[sg.Tensor], sg.Tensor]:
    x, label = sg.vector("x", 4), sg.scalar("label", "int64")
    weights, biases = declared_mlp([4, 4, 4, 3])
    a, _, _ = forward_propagation([*weights, *biases], x)
    return x, label, [*weights, *biases], sg.nn.cross_entropy(a[-1], label)


def test_forward_and_back_propagation_pseudo_code(backend: str) -> None:
    x, label, theta, loss = three_layers()
    run = sg.compile([x, label, *theta], [loss, *sg.grad(loss, theta)], backend=backend)
    rng = np.random.default_rng(3)
    values, at = layers_of(rng, [4, 4, 4, 3]), rng.normal(size=4)
    for true in range(3):
        got, *gradients = run(at, true, *values)
        _, _, y_hat = forward_propagation(values, at)
        assert got == pytest.approx(-np.log(y_hat[true]), rel=1e-13)
        for g, expected in zip(gradients, back_propagation(values, at, true), strict=True):
            np.testing.assert_allclose(g, expected, rtol=1e-12, atol=1e-14)


def test_gradient_descent_of_1000_iterations(backend: str) -> None:
    x, label, theta, loss = three_layers()
    run = sg.compile([x, label, *theta], [loss, *sg.grad(loss, theta)], backend=backend)
    rng = np.random.default_rng(5)
    ours, at, eta = layers_of(rng, [4, 4, 4, 3]), rng.normal(size=4), 0.02
    by_hand, losses = [p.copy() for p in ours], []
    t, max_iterations = 0, 1000
    while t < max_iterations:
        value, *gradients = run(at, 1, *ours)
        ours = [p - eta * g for p, g in zip(ours, gradients, strict=True)]
        expected = back_propagation(by_hand, at, 1)
        by_hand = [p - eta * g for p, g in zip(by_hand, expected, strict=True)]
        losses.append(float(value))
        t += 1
    assert np.all(np.diff(losses) < 0) and losses[-1] < 0.05 * losses[0]
    for p, q in zip(ours, by_hand, strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-9, atol=1e-11)


def test_sgd_minibatch_and_momentum_updates_compile(backend: str) -> None:
    # "θ(t) → −η∇ℓ" lost its left side: θ(t+1) ← θ(t) − η_t ∇ℓ.
    X, y, eta, mu = sg.matrix("X", ("n", 3)), sg.vector("y", "n"), sg.scalar("η"), sg.scalar("μ")
    w, v = sg.parameter("w", (3,)), sg.parameter("v", (3,))
    gradient = sg.grad(sg.mean((X @ w - y) ** 2), w)
    velocity = mu * v - eta * gradient
    step = sg.compile([X, y, eta, mu, w, v], [w - eta * gradient, w + velocity, velocity],
                      backend=backend)  # fmt: skip

    rng = np.random.default_rng(2)
    data = rng.normal(size=(40, 3))
    target = data @ [1.0, -2.0, 0.5]
    plain, heavy, speed = np.zeros(3), np.zeros(3), np.zeros(3)
    for t in range(400):
        rows = rng.choice(40, size=1 if t % 2 else 8, replace=False)  # one kernel, any batch
        A, b, rate = data[rows], target[rows], 0.1 / (1 + 0.01 * t)

        def slope(w: Array, A: Array = A, b: Array = b) -> Array:
            out: Array = 2 * A.T @ (A @ w - b) / len(b)
            return out

        got_plain = step(A, b, rate, 0.5, plain, speed)[0]
        np.testing.assert_allclose(got_plain, plain - rate * slope(plain), rtol=1e-10, atol=1e-13)
        _, got_heavy, got_speed = step(A, b, rate / 4, 0.5, heavy, speed)
        speed_by_hand = 0.5 * speed - rate / 4 * slope(heavy)
        np.testing.assert_allclose(got_speed, speed_by_hand, rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(got_heavy, heavy + speed_by_hand, rtol=1e-10, atol=1e-13)
        plain, heavy, speed = got_plain, got_heavy, got_speed
    np.testing.assert_allclose(plain, [1, -2, 0.5], atol=1e-4)
    np.testing.assert_allclose(heavy, [1, -2, 0.5], atol=1e-3)


def test_hessian_vector_product(backend: str) -> None:
    # Listed in the deck under first-order methods: second derivatives at first-order cost.
    w, v = sg.vector("w", 4), sg.vector("v", 4)
    A = np.random.default_rng(4).normal(size=(3, 4))
    z = np.sum(np.tanh(A @ w) ** 2) + np.sum(np.exp(w * w[::-1]))
    outputs = [sg.grad(z, w), sg.hvp(z, w, v), sg.hessian(z, w)]
    f = sg.compile([w, v], outputs, backend=backend)
    at, direction = np.array([0.2, -0.4, 0.6, 0.1]), np.array([1.0, -1.0, 0.5, 2.0])
    _, product, dense = f(at, direction)
    H = difference(lambda u: f(u, direction)[0], at)
    np.testing.assert_allclose(dense, H, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(product, H @ direction, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(product, dense @ direction, rtol=1e-12)


def test_normal_equations_make_the_gradient_zero(backend: str) -> None:
    # f must be 1/(2n) Σ (x_i'w - y_i)² for the deck's gradient (1/n) Σ (x_i'w) x_i - y_i x_i.
    X, Y, w = sg.matrix("X", ("d", "n")), sg.vector("Y", "n"), sg.vector("w", "d")
    f = np.sum((X.T @ w - Y) ** 2) / (2 * X.shape[1])
    gradient = sg.compile([X, Y, w], sg.grad(f, w), backend=backend)
    rng = np.random.default_rng(6)
    data, target, other = rng.normal(size=(3, 20)), rng.normal(size=20), rng.normal(size=3)
    optimum = np.linalg.solve(data @ data.T, data @ target)  # w* = (XX')⁻¹XY
    np.testing.assert_allclose(gradient(data, target, optimum), np.zeros(3), atol=1e-13)
    by_hand = sum((x @ other) * x - y * x for x, y in zip(data.T, target, strict=True)) / 20
    np.testing.assert_allclose(gradient(data, target, other), by_hand, rtol=1e-12)
