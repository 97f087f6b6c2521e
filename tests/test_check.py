"""Gradient checks: right gradients pass, wrong ones do not, whatever the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import symgrad as sg
from symgrad import errors
from symgrad.check import Report, check, in_float64, integer_bounds, random_sizes, sample
from symgrad.ir import op
from symgrad.ops.elementwise import entry
from symgrad.tensor import Tensor

Unary = Callable[..., Tensor]


@pytest.fixture
def defined() -> Iterator[Callable[..., Unary]]:
    """Define elementwise ops for one test."""
    before = set(op._REGISTRY)

    def define(name: str, partial: Callable[..., Any], reference: Any = None) -> Unary:
        cube = reference or (lambda x: x**3)
        return entry(name, cube, [partial], scalar="{0} * {0} * {0}")

    yield define
    for name in set(op._REGISTRY) - before:
        del op._REGISTRY[name]


def passed(report: Report) -> dict[str, bool]:
    return {row.name: row.passed for row in report.rows}


def network(dtype: str = "float64", **options: Any) -> sg.Model:
    x, t = sg.tensor("x", ("n", 3), dtype), sg.tensor("t", ("n",), "int64")
    W = sg.parameter("W", (3, 4), dtype, init=sg.init.glorot_uniform)
    b = sg.parameter("b", (4,), dtype)
    return sg.Model(sg.nn.cross_entropy(np.tanh(x @ W + b), t), **options)


class TestRight:
    def test_a_network(self) -> None:
        report = check(network())
        assert report.passed
        assert passed(report) == {"W": True, "b": True}
        assert all(0 <= row.error < 1e-6 for row in report.rows)
        assert report.data == "random data"

    def test_on_its_own_data(self) -> None:
        x = np.random.default_rng(0).normal(size=(7, 3))
        report = check(network(data={"x": x, "t": np.arange(7) % 4}))
        assert report.passed
        assert report.data == "the model's data"

    def test_a_float32_model_is_checked_in_float64(self) -> None:
        model = network("float32")
        report = check(model)
        assert report.passed
        assert all(row.error < 1e-6 for row in report.rows)
        assert all(v.dtype != np.float64 for v in sample(model, np.random.default_rng(0)).values())

    def test_same_seed_same_report(self) -> None:
        model = network()
        assert check(model, seed=3) == check(model, seed=3)
        assert check(model, seed=3) != check(model, seed=4)

    def test_constants_of_float32_and_casts(self) -> None:
        w = sg.parameter("w", (3,), "float32", init=sg.init.normal())
        c = sg.constant(np.array([0.1, 0.2, 0.3], "float32"))
        assert check(sg.Model(sg.sum((c * w).astype("float64") ** 2).astype("float32"))).passed

    def test_large_and_small_values(self) -> None:
        for scale in (1e-6, 1.0, 1e6):
            w = sg.parameter("w", init=scale * np.array([1.0, -2.0, 3.0]))
            assert check(sg.Model(sg.sum(w**3) / scale**3)).passed

    def test_no_gradients_at_all(self) -> None:
        k = sg.tensor("k", ("n",), "int64")
        assert check(sg.Model(sg.mean(k))).rows == ()

    def test_a_gradient_that_is_zero(self) -> None:
        w, v = sg.parameter("w", init=[1.0, 2.0]), sg.parameter("v", init=[1.0])
        report = check(sg.Model(sg.sum(w) + sg.sum(v - v)))
        assert passed(report) == {"w": True, "v": True}

    def test_a_parameter_that_only_an_output_uses(self) -> None:
        w, v = sg.parameter("w", init=[1.0, 2.0]), sg.parameter("v", init=[3.0])
        assert check(sg.Model(sg.sum(w * w), outputs={"v": 2 * v})).passed

    def test_an_op_that_was_defined_just_now(self, defined: Callable[..., Unary]) -> None:
        cube = defined("right_cube", lambda y, x: 3 * x * x)
        assert check(sg.Model(sg.sum(cube(sg.parameter("w", init=[0.5, -1.0]))))).passed


class TestWrong:
    def test_a_wrong_partial(self, defined: Callable[..., Unary]) -> None:
        cube = defined("wrong_cube", lambda y, x: 2 * x * x)
        w, v = sg.parameter("w", init=[0.5, -1.0]), sg.parameter("v", init=[2.0])
        report = check(sg.Model(sg.sum(cube(w)) + sg.sum(v * v)))
        assert not report.passed
        assert passed(report) == {"w": False, "v": True}

    def test_the_first_wrong_node_is_named(self, defined: Callable[..., Unary]) -> None:
        cube = defined("wrong_cube", lambda y, x: 2 * x * x)
        x, w = sg.tensor("x", ("n", 3)), sg.parameter("w", (3,))
        report = check(sg.Model(sg.mean(sg.tanh(cube(sg.sin(x[1:] @ w))))))
        assert not report.passed
        assert report.culprit.startswith("wrong_cube, made at test_check.py:")

    @pytest.mark.parametrize(
        "partial",
        [
            lambda y, x: 3 * x * x * (1 + 1e-4),
            lambda y, x: -3 * x * x,
            lambda y, x: 0 * x,
            lambda y, x: 3 * x * x + 1e-3,
            lambda y, x: 3 * x * x * sg.nn.step(x),
            lambda y, x: x / 0,
            lambda y, x: sg.log(-x * x),
        ],
    )
    def test_slightly_or_wildly_wrong(
        self, partial: Callable[..., Any], defined: Callable[..., Unary]
    ) -> None:
        cube = defined("wrong_cube", partial)
        w = sg.parameter("w", init=[0.5, -1.0, 1.5])
        assert not check(sg.Model(sg.sum(cube(w)))).passed

    def test_one_wrong_element_among_many(self, defined: Callable[..., Unary]) -> None:
        cube = defined("wrong_cube", lambda y, x: sg.where(x > 2, 0.0, 3 * x * x))
        w = sg.parameter("w", init=np.append(np.linspace(-1, 1, 200), 3.0))
        assert not check(sg.Model(sg.sum(cube(w)))).passed

    def test_a_wrong_float32_gradient(self, defined: Callable[..., Unary]) -> None:
        cube = defined("wrong_cube", lambda y, x: 3.001 * x * x)
        w = sg.parameter("w", init=np.array([0.5, -1.0], "float32"))
        assert not check(sg.Model(sg.sum(cube(w)))).passed

    def test_a_gradient_that_is_nan_where_the_loss_is_smooth(self) -> None:
        """The branch that is not taken has an infinite derivative: 0 * inf."""
        w = sg.parameter("w", init=[-1.0, 2.0])
        report = check(sg.Model(sg.sum(sg.where(w > 0, sg.sqrt(w), 0.0))))
        assert not report.passed

    def test_a_loss_that_is_not_finite(self) -> None:
        w = sg.parameter("w", init=[-5.0])
        with pytest.raises(errors.ModelError, match="the loss is nan"):
            check(sg.Model(sg.sum(sg.log(w))))


class TestSamples:
    def test_sizes_are_small_and_different(self) -> None:
        x, w = sg.matrix("x", ("n", "d")), sg.parameter("w", ("d",))
        model = sg.Model(sg.mean(x @ w))
        sizes = random_sizes(model)
        assert sizes.keys() == {"n", "d"}
        assert len(set(sizes.values())) == 2
        values = sample(model, np.random.default_rng(0))
        assert values["x"].shape == (sizes["n"], sizes["d"])
        assert np.any(values["w"] != 0)

    def test_labels_are_within_range(self) -> None:
        values = [sample(network(), np.random.default_rng(seed))["t"] for seed in range(30)]
        assert set(np.concatenate(values).tolist()) == {0, 1, 2, 3}

    def test_every_kind_of_index_is_within_range(self) -> None:
        table = sg.parameter("table", (5, "d"), init=sg.init.normal())
        i, k, c = (sg.tensor(name, ("n",), "int64") for name in ("i", "k", "c"))
        rows = table[i] + table[c]
        picked = sg.take_along_axis(rows, sg.expand_dims(k, 1), axis=1)
        loss = sg.mean(picked) + sg.mean(sg.nn.log_softmax(rows)[:, 0] * sg.one_hot(c, 2)[:, 1])
        model = sg.Model(loss)
        assert integer_bounds(loss.node, {"d": 4, "n": 3})["c"] == 2
        for seed in range(10):
            assert check(model, seed=seed).passed

    def test_classes_whose_number_is_symbolic(self) -> None:
        x = sg.parameter("x", ("n", "m"), init=sg.init.normal())
        t = sg.tensor("t", ("n",), "int64")
        model = sg.Model(sg.nn.cross_entropy(x, t))
        assert all(check(model, seed=seed).passed for seed in range(5))

    def test_two_named_sizes_that_must_be_equal(self) -> None:
        a, b = sg.vector("a", "n"), sg.vector("b", "m")
        assert check(sg.Model(sg.sum((a - b) ** 2))).passed

    def test_truth_values_and_integers(self) -> None:
        w, c = sg.parameter("w", (3,)), sg.tensor("c", (3,), "bool")
        k = sg.tensor("k", (), "int32")
        assert check(sg.Model(sg.sum(sg.where(c, w**2, w)) * k + sg.sum(w))).passed


def test_in_float64_nothing_narrow_is_left() -> None:
    model = network("float32")
    [wide] = in_float64([model.loss.node])
    assert wide.type.dtype == np.float64
    graph = sg.Graph([Tensor(n) for n in _inputs(wide)], [Tensor(wide)])
    assert all(node.type.dtype != np.float32 for node in graph.nodes)


def _inputs(node: Any) -> list[Any]:
    from symgrad.ir.walk import reachable

    return [n for n in reachable([node]) if n.is_input]
