"""One pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)).

GELU is in its tanh form. Libraries that have layer norm, GELU or attention as one function use it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.problem import Array, Problem, Row

BATCH, LENGTH, WIDTH, HEADS, HIDDEN = 16, 64, 128, 4, 512
HEAD = WIDTH // HEADS
EPSILON = 1e-5
TANH_SCALE, CUBE = (2 / np.pi) ** 0.5, 0.044715


def problem() -> Problem:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        scale = np.float32(shape[-2] ** -0.5)
        return rng.standard_normal(shape, dtype=np.float32) * scale

    def ones(n: int) -> Array:
        return np.ones(n, np.float32)

    def zeros(n: int) -> Array:
        return np.zeros(n, np.float32)

    data = {
        "x": rng.standard_normal((BATCH, LENGTH, WIDTH), dtype=np.float32),
        "t": rng.standard_normal((BATCH, LENGTH, WIDTH), dtype=np.float32),
    }
    parameters = {
        "g1": ones(WIDTH),
        "c1": zeros(WIDTH),
        "Wqkv": normal(WIDTH, 3 * WIDTH),
        "Wo": normal(WIDTH, WIDTH),
        "g2": ones(WIDTH),
        "c2": zeros(WIDTH),
        "W1": normal(WIDTH, HIDDEN),
        "b1": zeros(HIDDEN),
        "W2": normal(HIDDEN, WIDTH),
        "b2": zeros(WIDTH),
    }
    return Problem(data, parameters, dict.fromkeys("xt", ("n", LENGTH, WIDTH)))


def layer_norm(m: Any, x: Any, gain: Any, bias: Any) -> Any:
    centred = x - m.mean(x, axis=-1, keepdims=True)
    variance = m.mean(centred * centred, axis=-1, keepdims=True)
    return centred / m.sqrt(variance + EPSILON) * gain + bias


def gelu(m: Any, x: Any) -> Any:
    return 0.5 * x * (1 + m.tanh(TANH_SCALE * (x + CUBE * x * x * x)))


def attention(m: Any, q: Any, k: Any, v: Any) -> Any:
    scores = q @ m.transpose(k, (0, 1, 3, 2)) * HEAD**-0.5
    return m.softmax(scores) @ v


def loss(m: Any, x: Any, t: Any, **p: Any) -> Any:
    norm = getattr(m, "layer_norm", partial(layer_norm, m))
    activation = getattr(m, "gelu", partial(gelu, m))
    attend = getattr(m, "attention", partial(attention, m))

    qkv = m.reshape(norm(x, p["g1"], p["c1"]) @ p["Wqkv"], (-1, LENGTH, 3, HEADS, HEAD))
    qkv = m.transpose(qkv, (2, 0, 3, 1, 4))
    heads = m.transpose(attend(qkv[0], qkv[1], qkv[2]), (0, 2, 1, 3))
    x = x + m.reshape(heads, (-1, LENGTH, WIDTH)) @ p["Wo"]
    hidden = activation(m.linear(norm(x, p["g2"], p["c2"]), p["W1"], p["b1"]))
    x = x + m.linear(hidden, p["W2"], p["b2"])
    return m.mean((x - t) ** 2)


def _norm_forward(x: Array, gain: Array, bias: Array) -> tuple[Array, Array, Array]:
    unit = x - x.mean(axis=-1, keepdims=True)
    scale = 1 / np.sqrt((unit * unit).mean(axis=-1, keepdims=True) + x.dtype.type(EPSILON))
    unit *= scale
    return unit * gain + bias, unit, scale


def _norm_backward(g: Array, unit: Array, scale: Array, gain: Array) -> tuple[Array, Array, Array]:
    axes = (0, 1)
    by_gain, by_bias = (g * unit).sum(axis=axes), g.sum(axis=axes)
    g = g * gain
    along = (g * unit).mean(axis=-1, keepdims=True)
    return (g - g.mean(axis=-1, keepdims=True) - unit * along) * scale, by_gain, by_bias


def _weights(x: Array, g: Array) -> Array:
    return x.reshape(-1, x.shape[-1]).T @ g.reshape(-1, g.shape[-1])


def _attention_forward(u: Array, Wqkv: Array) -> tuple[Array, ...]:
    qkv = (u @ Wqkv).reshape(-1, LENGTH, 3, HEADS, HEAD).transpose(2, 0, 3, 1, 4)
    q, k, v = qkv
    scores = q @ k.swapaxes(-1, -2)
    scores *= HEAD**-0.5
    scores -= scores.max(axis=-1, keepdims=True)
    shares = np.exp(scores, out=scores)
    shares /= shares.sum(axis=-1, keepdims=True)
    heads = (shares @ v).transpose(0, 2, 1, 3).reshape(-1, LENGTH, WIDTH)
    return heads, q, k, v, shares


def _attention_backward(g: Array, q: Array, k: Array, v: Array, shares: Array) -> Array:
    g = g.reshape(-1, LENGTH, HEADS, HEAD).transpose(0, 2, 1, 3)
    by_v = shares.swapaxes(-1, -2) @ g
    by_scores = g @ v.swapaxes(-1, -2)
    by_scores -= (by_scores * shares).sum(axis=-1, keepdims=True)
    by_scores *= shares
    by_scores *= HEAD**-0.5
    by_qkv = np.stack([by_scores @ k, by_scores.swapaxes(-1, -2) @ q, by_v])
    return by_qkv.transpose(1, 3, 0, 2, 4).reshape(-1, LENGTH, 3 * WIDTH)


def by_hand(x: Array, t: Array, **p: Array) -> tuple[Any, ...]:
    u, unit1, scale1 = _norm_forward(x, p["g1"], p["c1"])
    heads, *kept = _attention_forward(u, p["Wqkv"])
    y = x + heads @ p["Wo"]
    r, unit2, scale2 = _norm_forward(y, p["g2"], p["c2"])
    z = r @ p["W1"] + p["b1"]
    squared = z * z
    bend = np.tanh(TANH_SCALE * z * (1 + CUBE * squared))
    hidden = 0.5 * z * (1 + bend)
    delta = y + hidden @ p["W2"] + p["b2"] - t
    value = (delta * delta).mean()

    delta *= 2 / delta.size
    by_W2, by_b2 = _weights(hidden, delta), delta.sum(axis=(0, 1))
    slope = 0.5 * (1 + bend)
    slope += 0.5 * TANH_SCALE * z * (1 - bend * bend) * (1 + 3 * CUBE * squared)
    by_z = delta @ p["W2"].T * slope
    by_W1, by_b1 = _weights(r, by_z), by_z.sum(axis=(0, 1))
    back, by_g2, by_c2 = _norm_backward(by_z @ p["W1"].T, unit2, scale2, p["g2"])
    delta += back
    by_Wo = _weights(heads, delta)
    by_qkv = _attention_backward(delta @ p["Wo"].T, *kept)
    by_Wqkv = _weights(u, by_qkv)
    _, by_g1, by_c1 = _norm_backward(by_qkv @ p["Wqkv"].T, unit1, scale1, p["g1"])
    return value, by_g1, by_c1, by_Wqkv, by_Wo, by_g2, by_c2, by_W1, by_b1, by_W2, by_b2


row = Row(
    name="transformer",
    title="Pre-norm transformer block, width 128, 4 heads, length 64, batch 16, MLP 512 with "
    "GELU (tanh form), mean square; gradient by all parameters, float32",
    problem=problem,
    loss=loss,
    by_hand=by_hand,
    tolerance=1e-4,
    without=dict.fromkeys(("casadi", "casadi-jit"), "it has matrices of two dimensions only"),
)
