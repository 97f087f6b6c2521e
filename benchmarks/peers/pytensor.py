"""PyTensor: shared variables with updates; by the C linker or by Numba.

Wheels of PyTensor come without a BLAS. The one inside SciPy's wheel serves: its functions have
the usual arguments and a prefix, which the C compiler is told.
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode, get_mode

from benchmarks.problem import Problem, Row

warnings.filterwarnings("ignore", module="pytensor")


def cross_entropy(logits: Any, t: Any) -> Any:
    return -pt.special.log_softmax(logits, axis=1)[pt.arange(t.shape[0]), t].mean()


m = SimpleNamespace(
    exp=pt.exp,
    log=pt.log,
    sin=pt.sin,
    tanh=pt.tanh,
    sum=pt.sum,
    mean=pt.mean,
    sqrt=pt.sqrt,
    reshape=pt.reshape,
    transpose=pt.transpose,
    sigmoid=pt.sigmoid,
    softmax=lambda x: pt.special.softmax(x, axis=-1),
    linear=lambda x, W, b: x @ W + b,
    cross_entropy=cross_entropy,
    logistic_loss=lambda z, t: pt.mean(pt.softplus(z) - t * z),
)


def linker(name: str) -> Mode:
    """Return PyTensor's mode for "cvm" (C) or "numba"."""
    if name == "numba":
        return get_mode("NUMBA")
    _lend_blas()
    return Mode(linker="cvm", optimizer="fast_run")


def _lend_blas() -> None:
    import scipy

    folder = Path(scipy.__file__).parent.parent / "scipy.libs"
    found = sorted(folder.glob("libscipy_openblas-*.so"))
    if pytensor.config.blas__ldflags or not found:
        return
    names = [t + f for t in "sd" for f in ("gemm_", "gemv_", "ger_", "dot_", "axpy_", "scal_")]
    renamed = " ".join(f"-D{name}=scipy_{name}" for name in names)
    pytensor.config.gcc__cxxflags = f"{pytensor.config.gcc__cxxflags} {renamed}".strip()
    pytensor.config.blas__ldflags = f"-L{folder} -l:{found[0].name} -Wl,-rpath,{folder}"


def variables(problem: Problem, names: Any) -> dict[str, Any]:
    return {
        name: pt.tensor(
            name,
            dtype=str(problem.arguments[name].dtype),
            shape=tuple(n if isinstance(n, int) else None for n in problem.shape(name)),
        )
        for name in names
    }


def value_and_grad(row: Row, problem: Problem, mode: str) -> Any:
    tensors = variables(problem, problem.arguments)
    loss = row.loss_for("pytensor")(m, **tensors)
    gradients = pytensor.grad(loss, [tensors[name] for name in problem.parameters])
    f = pytensor.function(
        [pytensor.In(tensor, borrow=True) for tensor in tensors.values()],
        [pytensor.Out(output, borrow=True) for output in (loss, *gradients)],
        mode=linker(mode),
        trust_input=True,
    )
    return lambda problem: partial(f, *problem.arguments.values())


def train(row: Row, problem: Problem, mode: str) -> Any:
    data = variables(problem, problem.data)
    shared = {
        name: pytensor.shared(array, name=name, shape=array.shape)
        for name, array in problem.parameters.items()
    }
    loss = row.loss_for("pytensor")(m, **data, **shared)
    parameters = list(shared.values())
    gradients = pytensor.grad(loss, parameters)
    f = pytensor.function(
        [pytensor.In(tensor, borrow=True) for tensor in data.values()],
        pytensor.Out(loss, borrow=True),
        updates=[
            (p, p - pt.constant(problem.rate, dtype=p.dtype) * g)
            for p, g in zip(parameters, gradients, strict=True)
        ],
        mode=linker(mode),
        trust_input=True,
    )
    return partial(f, *problem.data.values()), lambda: [p.get_value() for p in parameters]
