"""Elementary functions of one float64 or float32 that LLVM's loop vectoriser can vectorise.

They are branch-free apart from selects, and use neither tables in memory nor a mathematical
library. Callers compile them with ``forceinline=True`` and may allow contraction to fused
multiply-adds, which every function is right with and without; any other fast-math flag would break
the exact sums. They run on NumPy scalars as well. The emitter copies a function as it stands, with
those above it that it calls, so nothing in `float64` and `float32` depends on a constant of theirs.

They stay within 2 ulp, and within 4 for erf, erfc, power, sigmoid, sinh, softplus and tanh, over
the whole range, subnormal numbers included. Polynomials called minimax were fitted for them.
"""

VECTOR = frozenset(
    {
        *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "power"),
        *("sin", "cos", "tan", "arctan", "sinh", "cosh", "tanh"),
        *("sigmoid", "softplus", "erf", "erfc"),
    }
)
"""The functions there are, each as ``<name>_f64`` and as ``<name>_f32``."""

NEAR = 4096.0
"""Below this, sin, cos and tan have a quick form: ``near_sin_f64`` and so on."""
