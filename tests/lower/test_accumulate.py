"""Matrix products: those added to what is there, and operands that BLAS reads as they lie."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad.backends.lowered import lowered
from symgrad.ir.graph import Graph
from symgrad.ir.types import Array
from symgrad.tensor import Tensor
from tests.numeric import assert_close, evaluate


def normal(*shape: int, dtype: str = "float64") -> Array:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


def body(inputs: list[Tensor], outputs: list[Any]) -> str:
    return lowered(sg.optimize(Graph(inputs, outputs))).body


def agree(inputs: list[Tensor], outputs: list[Any], *values: Array, rtol: float = 1e-12) -> None:
    """Assert that compiled results are those of the graph as it was written."""
    f = sg.compile(inputs, outputs)
    expected = evaluate(inputs, outputs, *values)
    for _ in range(2):
        results = f(*values) if len(outputs) > 1 else [f(*values)]
        for got, wanted in zip(results, expected, strict=True):
            assert_close(got, wanted, rtol)


def four(dtype: str = "float64") -> list[Tensor]:
    shapes = ("n", 20), (20, 30), ("n", 25), (25, 30)
    return [sg.matrix(f"x{i}", shape, dtype) for i, shape in enumerate(shapes)]


def arrays(dtype: str = "float64", n: int = 6) -> list[Array]:
    return [normal(*shape, dtype=dtype) for shape in ((n, 20), (20, 30), (n, 25), (25, 30))]


class TestSums:
    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    def test_of_two_products(self, dtype: str) -> None:
        a, A, b, B = inputs = four(dtype)
        outputs = [a @ A + b @ B]
        assert body(inputs, outputs).count("gemm(") == 1
        x, X, y, Y = arrays(dtype)
        got = sg.compile(inputs, outputs)(x, X, y, Y)
        assert got.dtype == dtype
        np.testing.assert_allclose(got, x @ X + y @ Y, 0, 1e-12 if dtype == "float64" else 1e-4)

    def test_scaled_and_subtracted(self) -> None:
        inputs = [*four(), sg.scalar("s"), sg.scalar("t")]
        a, A, b, B, s, t = inputs
        p, q = a @ A, b @ B
        given = [*arrays(), np.array(1.5), np.array(-0.25)]
        outputs = [p - q, q - p, s * p - q * t, p + s * q, 2 * p - 3 * q, -p - q, p + p]
        agree(inputs, outputs, *given)
        for output in outputs[:5]:
            assert "gemm(" in body(inputs, [output])
        for output in (outputs[0], outputs[2]):
            agree(inputs, [output], *given)

    def test_of_three_and_more(self) -> None:
        a, A, b, B = inputs = four()
        total = a @ A + b @ B - np.tanh(a) @ A + 2 * (np.tanh(b) @ B)
        assert body(inputs, [total]).count("gemm(") == 3
        agree(inputs, [total, np.sum(total, axis=0)], *arrays())

    def test_whose_product_is_used_elsewhere(self) -> None:
        a, A, b, B = inputs = four()
        p, q = a @ A, b @ B
        agree(inputs, [p + q, p, np.tanh(q)], *arrays())
        agree(inputs, [p + q, p - q], *arrays())
        agree(inputs, [(p + q) @ A.T, np.sum(p)], *arrays())

    def test_whose_base_reads_the_product(self) -> None:
        x = sg.matrix("x", ("n", "n"))
        p = x @ x
        agree([x], [p @ x + p, p + (p + x) @ p, x @ p + p @ x], normal(6, 6))

    def test_of_transposes(self) -> None:
        x, y = sg.matrix("x", ("n", 30)), sg.matrix("y", ("n", 30))
        agree([x, y], [x.T @ y + y.T @ x, (x @ y.T + y @ x.T).T], normal(5, 30), normal(5, 30) + 1)

    def test_that_are_broadcast(self) -> None:
        x, y = sg.matrix("x", (1, 30)), sg.matrix("y", ("n", 30))
        A = sg.matrix("A", (30, 30))
        agree([x, y, A], [x @ A + y @ A], normal(1, 30), normal(4, 30), normal(30, 30))

    def test_an_infinite_base_and_a_zero_factor(self) -> None:
        inputs = [*four(), sg.scalar("s")]
        a, A, b, B, s = inputs
        x, X, y, Y = arrays()
        x[0, 0], y[1, 1] = np.inf, np.nan
        with np.errstate(all="ignore"):
            agree(inputs, [s * (a @ A) + b @ B, a @ A - s * (b @ B)], x, X, y, Y, np.array(0.0))


class TestInPlace:
    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    @pytest.mark.parametrize("rate", [0.1, sg.scalar("rate")], ids=["number", "input"])
    def test_a_step_of_descent(self, dtype: str, rate: Any) -> None:
        x, t = sg.matrix("x", ("n", 20), dtype), sg.matrix("t", ("n", 30), dtype)
        W = sg.parameter("W", (20, 30), dtype, init=sg.init.normal())
        model = sg.Model(np.sum((x @ W - t) ** 2) / 2)
        train = model.compile(update=sg.optim.sgd(rate))
        held = train.parameters["W"]
        expected = held.astype("float64")
        data = {"x": normal(5, 20, dtype=dtype), "t": normal(5, 30, dtype=dtype)}
        more = {} if isinstance(rate, float) else {"rate": 0.01}
        step = 0.1 if isinstance(rate, float) else 0.01
        for _ in range(3):
            train(**data, **more)
            expected -= step * data["x"].T.astype("float64") @ (data["x"] @ expected - data["t"])
        scale = np.max(np.abs(expected))
        np.testing.assert_allclose(
            held, expected, 0, scale * (1e-11 if dtype == "float64" else 1e-4)
        )
        source = lowered(train.graph, updates=train.program.updates)
        assert any("gemm(" in str(getattr(line, "line", line)) for line in source.lines)
        assert not any(a.shape == (20, 30) for a in source.allocations)

    def test_a_decayed_weight(self) -> None:
        """The base has a factor, too: (1 - r) W - s xᵀ g."""
        x, W = sg.matrix("x", ("n", 30)), sg.parameter("W", (30, 30), init=sg.init.normal())
        model = sg.Model(np.sum(np.tanh(x @ W)) + 0.5 * np.sum(W**2))
        first, second = (model.compile(b, update=sg.optim.sgd(0.1)) for b in ("numba", "numpy"))
        for n in (5, 3):
            assert first(x=normal(n, 30)) == pytest.approx(second(x=normal(n, 30)), rel=1e-12)
        np.testing.assert_allclose(first.parameters["W"], second.parameters["W"], 1e-10, 1e-12)

    def test_a_weight_that_its_own_gradient_reads(self) -> None:
        """W is a factor of what is added to it."""
        x, W = sg.matrix("x", ("n", 30)), sg.parameter("W", (30, 30), init=sg.init.normal())
        for loss in (np.sum((x @ W @ W) ** 2), np.sum((W @ W.T) ** 2), np.sum((W.T @ W) @ W)):
            model = sg.Model(loss / 1000)
            data = {"x": normal(4, 30)} if "x" in model.inputs else {}
            first, second = (
                model.compile(b, update=sg.optim.sgd(0.01)) for b in ("numba", "numpy")
            )
            for _ in range(2):
                assert first(**data) == pytest.approx(second(**data), rel=1e-11)
            np.testing.assert_allclose(first.parameters["W"], second.parameters["W"], 1e-9, 1e-11)

    def test_two_weights_that_share_a_gradient(self) -> None:
        x = sg.matrix("x", ("n", 30))
        V, W = (sg.parameter(n, (30, 30), init=sg.init.normal()) for n in "VW")
        model = sg.Model(np.sum((x @ (V - W)) ** 2) + np.sum((x @ V @ W) ** 2) / 100)
        rule = sg.optim.momentum(1e-4)
        first, second = (model.compile(b, update=rule) for b in ("numba", "numpy"))
        for _ in range(3):
            assert first(x=normal(4, 30)) == pytest.approx(second(x=normal(4, 30)), rel=1e-11)
        for name, expected in second.parameters.items():
            np.testing.assert_allclose(first.parameters[name], expected, 1e-9, 1e-11)


class TestStacks:
    def test_attention_over_transposed_heads(self) -> None:
        q, k, v = (sg.tensor(name, ("b", "s", 2, 5)) for name in "qkv")
        heads = [x.transpose((0, 2, 1, 3)) for x in (q, k, v)]
        share = sg.nn.softmax(heads[0] @ heads[1].transpose((0, 1, 3, 2)) / 2)
        out = (share @ heads[2]).transpose((0, 2, 1, 3))
        given = [normal(3, 4, 2, 5) + i for i in range(3)]
        got = sg.compile([q, k, v], out)(*given)
        a, b, c = (x.transpose(0, 2, 1, 3) for x in given)
        e = np.exp(np.einsum("bhid,bhjd->bhij", a, b) / 2)
        by_hand = np.einsum("bhij,bhjd->bihd", e / e.sum(-1, keepdims=True), c)
        np.testing.assert_allclose(got, by_hand, rtol=1e-12)
        loss = np.sum(np.sin(out))
        agree([q, k, v], sg.grad(loss, [q, k, v]), *given, rtol=1e-11)

    def test_attention_from_slices_of_one_array(self) -> None:
        x, W = sg.tensor("x", ("b", "s", 6)), sg.matrix("W", (6, 18))
        qkv = np.reshape(x @ W, (*x.shape[:2], 3, 2, 3))
        q, k, v = (qkv[:, :, i].transpose((0, 2, 1, 3)) for i in range(3))
        share = sg.nn.softmax(q @ k.transpose((0, 1, 3, 2)))
        out = np.reshape((share @ v).transpose((0, 2, 1, 3)), x.shape)
        loss = np.sum(np.tanh(out))
        for shape in ((2, 4, 6), (1, 1, 6)):
            agree([x, W], [out, loss, *sg.grad(loss, [x, W])], normal(*shape), normal(6, 18) / 3)

    def test_slices_with_steps(self) -> None:
        a, b = sg.tensor("a", ("k", 8, 9)), sg.tensor("b", ("k", 9, 7))
        products = [a[:, ::2] @ b, a[:, :, ::-1] @ b, a[::-1, 1:5] @ b[:, :, ::3]]
        products += [a[:, :, 1::2] @ b[:, :4], b.transpose((0, 2, 1))[:, ::-2, :8] @ a]
        agree([a, b], products, normal(3, 8, 9), normal(3, 9, 7))

    def test_a_sum_over_a_stack_of_products(self) -> None:
        a, b = sg.tensor("a", ("k", "n", 5)), sg.tensor("b", ("k", "n", 7))
        product = a.transpose((0, 2, 1)) @ b
        outputs = [np.sum(product, axis=0), np.sum(product, axis=1), np.sum(product)]
        agree([a, b], outputs, normal(3, 4, 5), normal(3, 4, 7))
        c, d = sg.tensor("c", (2, "k", "n", 5)), sg.tensor("d", (2, "k", "n", 7))
        product = c.transpose((0, 1, 3, 2)) @ d
        sums = [np.sum(product, axis=(0, 1)), np.sum(product, axis=1), np.sum(product, axis=0)]
        agree([c, d], sums, normal(2, 3, 4, 5), normal(2, 3, 4, 7))
        got = sg.compile([a, b], outputs[0])(normal(3, 4, 5), normal(3, 4, 7))
        by_hand = np.einsum("kni,knj->ij", normal(3, 4, 5), normal(3, 4, 7))
        np.testing.assert_allclose(got, by_hand, rtol=1e-12, atol=1e-13)

    def test_stacks_that_are_broadcast(self) -> None:
        a, b, m = sg.tensor("a", ("k", 1, 4, 5)), sg.tensor("b", (3, 5, 6)), sg.matrix("m", (5, 6))
        v = sg.vector("v", 5)
        outputs = [a @ b, a @ m, m.T @ a.transpose((0, 1, 3, 2)), a @ v, v @ b, b[:1] + m]
        given = normal(2, 1, 4, 5), normal(3, 5, 6), normal(5, 6), normal(5)
        agree([a, b, m, v], outputs, *given)
        for got, (x, y) in zip(
            sg.compile([a, b, m, v], outputs[:2])(*given), ((0, 1), (0, 2)), strict=True
        ):
            np.testing.assert_allclose(got, given[x] @ given[y], rtol=1e-12, atol=1e-14)


class TestVectors:
    def test_matrices_in_every_layout(self) -> None:
        A, v, w = sg.matrix("A", ("m", "n")), sg.vector("v", "n"), sg.vector("w", "m")
        outputs = [
            A @ v, w @ A, A.T @ w, v @ A.T, A[::-1] @ v, A[:, ::-1] @ v, A[::2] @ v,
            w @ A[:, ::2], w[::-1] @ A, A @ v[::-1], A[1:, 1:] @ v[1:], A.T[::-1] @ w,
            A[:, 1:3] @ v[:2], w[:2] @ A[:2].T[::-1].T, (A * 2).T @ np.tanh(w), v[1:] @ A.T[1:],
        ]  # fmt: skip
        for m, n in ((6, 5), (40, 35)):
            agree([A, v, w], outputs, normal(m, n), normal(n), normal(m))

    @pytest.mark.parametrize("dtype", ["float64", "float32"])
    @pytest.mark.parametrize("inner", [0, 1, 2])
    def test_inner_sizes(self, inner: int, dtype: str) -> None:
        A, B, v = (
            sg.tensor(name, shape, dtype)
            for name, shape in (("A", ("m", "k")), ("B", ("k", "n")), ("v", ("k",)))
        )
        C = sg.tensor("C", ("s", "k", "n"), dtype)
        outputs = [A @ B, A @ v, v @ B, B.T @ A.T, A @ B + A @ (2 * B), A @ C, v @ v, v @ C]
        given = [normal(*shape, dtype=dtype) for shape in ((4, inner), (inner, 3), (inner,))]
        stack = normal(2, inner, 3, dtype=dtype)
        rtol = 1e-13 if dtype == "float64" else 1e-5
        agree([A, B, v, C], outputs, *given, stack, rtol=rtol)

    def test_outer_sizes(self) -> None:
        A, B = sg.matrix("A", ("m", "k")), sg.matrix("B", ("k", "n"))
        f = sg.compile([A, B], [A @ B, B.T @ A.T, A @ B - 2 * (np.tanh(A) @ B)])
        for m, k, n in itertools.product((0, 1, 3), (0, 2), (0, 1, 4)):
            a, b = normal(m, k), normal(k, n)
            first, second, third = f(a, b)
            np.testing.assert_allclose(first, a @ b, rtol=1e-13, atol=1e-14)
            np.testing.assert_allclose(second, (a @ b).T, rtol=1e-13, atol=1e-14)
            np.testing.assert_allclose(third, a @ b - 2 * np.tanh(a) @ b, rtol=1e-12, atol=1e-13)

    def test_known_inner_size_of_one(self) -> None:
        a, b = sg.matrix("a", ("m", 1)), sg.matrix("b", (1, "n"))
        s = sg.tensor("s", ("k", "m", 1))
        outputs = [a @ b, b.T @ a.T, s @ b, a @ b + 2 * (np.tanh(a) @ b), b[:, :1] @ b]
        agree([a, b, s], outputs, normal(3, 1), normal(1, 4), normal(2, 3, 1))
