"""Write docs/ops.md from the registry: every op with its derivative, as symgrad prints it.

Run it after changing an op: python docs/make_ops.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import symgrad as sg
from symgrad.ir.call import apply
from symgrad.ir.op import Op, registered
from symgrad.tensor import FUNCTIONS, Tensor

PAGE = Path(__file__).parent / "ops.md"


def page() -> str:
    """Return the page."""
    rows = [_row(op) for op in registered() if op.name not in ("input", "constant", "size", "iota")]
    head = "| op | meaning | derivative, times the cotangent g | at kinks, or why it is zero |"
    names = sorted(f"`{f.__name__}`" for f in FUNCTIONS if callable(f) and hasattr(f, "__name__"))
    return "\n".join(
        [
            "# Ops",
            "",
            "Generated from the registry by `python docs/make_ops.py`. Each derivative is printed",
            "by symgrad itself: what reaches the inputs x, y, z when the output has the cotangent",
            "g.",
            "",
            head,
            "|---|---|---|---|",
            *rows,
            "",
            "## NumPy functions that tensors understand",
            "",
            ", ".join(dict.fromkeys(names)) + ".",
            "",
        ]
    )


def _row(op: Op) -> str:
    note = "; ".join(text for text in (op.kinks, op.why_zero) if text)
    cells = [f"`{op.name}`", op.summary, _derivative(op), note]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _derivative(op: Op) -> str:
    """Return the cotangents of an op's inputs as formulas, on scalars or on the op's samples."""
    if op.elementwise and op.partials:
        inputs = [sg.scalar(name) for name in "xyz"[: len(op.partials)]]
        if op.name == "where":
            inputs[0] = sg.tensor("x", (), "bool")
        elif op.name.startswith("logical"):
            inputs = [sg.tensor(name, (), "bool") for name in "xyz"[: len(op.partials)]]
        out = Tensor(apply(op, [t.node for t in inputs]))
    else:
        case = next(iter(op.samples(np.random.default_rng(0))), None)
        if case is None:
            return ""
        inputs = [
            sg.tensor(name, array.shape, array.dtype)
            for name, array in zip("xyzuvw", case.arrays, strict=False)
        ]
        out = Tensor(apply(op, [t.node for t in inputs], case.attrs))
    real = [t for t in inputs if t.type.is_float]
    if not out.type.is_float or not real:
        return "none"
    g = sg.tensor("g", out.shape, out.dtype)
    texts = []
    for tensor, pulled in zip(real, sg.vjp(out, real, g), strict=True):
        lines = [line.strip() for line in sg.pretty(pulled).splitlines()]
        texts.append(f"{tensor.name}: `{' '.join(lines)}`")
    return "<br>".join(texts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
