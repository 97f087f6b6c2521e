# mypy: disable-error-code="assignment,no-untyped-call,no-untyped-def"
"""Elementary functions of float32.

Most compute in float32, for twice the lanes, and say so of every number (Numba would widen); the
rest compute in float64.
"""

import numpy as np

from symgrad.lower.vectormath.float64 import (
    arctan_f64,
    cosh_f64,
    exp2_f64,
    exp_f64,
    log2_f64,
    near_tan_f64,
    nearest_f64,
    power_edges_f64,
    sinh_f64,
    tan_f64,
)


def scaled_f32(y, k):
    """Return y·2ᵏ, rounded once also where it is subnormal."""
    k = np.int32(k + 254)
    half = k >> 1
    return y * np.int32(half << 23).view(np.float32) * np.int32((k - half) << 23).view(np.float32)


def nearest_f32(x):
    """Return the whole number nearest to x, |x| < 2²², as a float and as an integer."""
    t = np.float32(x + np.float32(12582912.0))
    return t - np.float32(12582912.0), np.int32(t.view(np.int32) - 0x4B400000)


def exp_tail_f32(r):
    """Return eʳ - 1 - r for |r| <= ln(2)/2; the polynomial is minimax."""
    t = np.float32
    p = (t(0.0013938716) * r + t(0.008367154)) * r + t(0.041666426)
    return r * r * ((p * r + t(0.16666539)) * r + t(0.5))


def exp_parts_f32(x):
    """Return k and r with eˣ = eʳ·2ᵏ, |r| <= ln(2)/2 (Cody & Waite 1980)."""
    n, k = nearest_f32(x * np.float32(1.442695))
    return k, (x - n * np.float32(0.693359375)) + n * np.float32(0.00021219444)


def exp_f32(x):
    """Return eˣ."""
    k, r = exp_parts_f32(min(max(x, np.float32(-104.0)), np.float32(89.0)))
    return scaled_f32(np.float32(1.0) + (r + exp_tail_f32(r)), k)


def exp2_f32(x):
    """Return 2ˣ."""
    x = min(max(x, np.float32(-151.0)), np.float32(128.0))
    n, k = nearest_f32(x)
    r = (x - n) * np.float32(0.6931472)
    return scaled_f32(np.float32(1.0) + (r + exp_tail_f32(r)), k)


def half_expm1_f32(x):
    """Return (eˣ - 1)/2 for -80 < x < 89; no overflow before the result's own."""
    k, r = exp_parts_f32(x)
    s = np.int32((k + 126) << 23).view(np.float32)
    return (s - np.float32(0.5)) + s * (r + exp_tail_f32(r))


def expm1_f32(x):
    """Return eˣ - 1."""
    y = np.float32(2.0) * half_expm1_f32(min(max(x, np.float32(-20.0)), np.float32(88.8)))
    return x if abs(x) < np.float32(1e-8) else y


def split_f32(x):
    """Return m and k with x = m·2ᵏ and √½ <= m < √2, for a finite x > 0."""
    tiny = x < np.float32(1.1754944e-38)
    bits = np.float32(x * np.float32(33554432.0) if tiny else x).view(np.int32)
    k = np.int32(bits - 0x3F3504F3) >> 23
    m = np.int32(bits - (k << 23)).view(np.float32)
    return m, np.float32(np.int32(k - 25 if tiny else k))


def log1p_near_f32(f):
    """Return ln(1 + f) for √½ <= 1 + f < √2; the polynomial is minimax."""
    t = np.float32
    z = f * f
    p = (t(-0.078618735) * f + t(0.12883112)) * z + (t(-0.13128483) * f + t(0.14180917))
    p = (p * z + (t(-0.16624558) * f + t(0.20002303))) * z + (t(-0.2500081) * f + t(0.33333316))
    return f + z * (f * p - t(0.5))


def log_edges_f32(x, y):
    """Return y for a finite x > 0, and the logarithm of 0, infinity, NaN and negative x."""
    inf = np.float32(np.inf)
    y = y if x < inf else inf
    return y if x > np.float32(0.0) else (-inf if x == np.float32(0.0) else np.float32(np.nan))


def log_f32(x):
    """Return the natural logarithm."""
    m, k = split_f32(x)
    y = log1p_near_f32(m - np.float32(1.0)) - k * np.float32(0.00021219444)
    return log_edges_f32(x, k * np.float32(0.693359375) + y)


def log2_f32(x):
    """Return the logarithm to base 2."""
    m, k = split_f32(x)
    y = log1p_near_f32(m - np.float32(1.0))
    return log_edges_f32(x, k + (y * np.float32(1.442695) + y * np.float32(1.925963e-08)))


def log10_f32(x):
    """Return the logarithm to base 10."""
    m, k = split_f32(x)
    y = log1p_near_f32(m - np.float32(1.0))
    h = np.int32(np.float32(y).view(np.int32) & -4096).view(np.float32)
    t = y * np.float32(0.00070073234) + (y - h) * np.float32(0.43359375)
    y = h * np.float32(0.43359375) + (k * np.float32(4.605039e-06) + t)
    return log_edges_f32(x, k * np.float32(0.30102539) + y)


def log1p_f32(x):
    """Return ln(1 + x); the rounding of 1 + x is made up for."""
    u = np.float32(1.0) + x
    m, k = split_f32(u)
    y = (x - (u - np.float32(1.0))) / u - k * np.float32(0.00021219444)
    y = k * np.float32(0.693359375) + (y + log1p_near_f32(m - np.float32(1.0)))
    return x if abs(x) < np.float32(1e-8) else log_edges_f32(u, y)


def tanh_f32(x):
    """Return the hyperbolic tangent."""
    t = half_expm1_f32(np.float32(2.0) * min(abs(x), np.float32(10.0)))
    y = np.copysign(t / (t + np.float32(1.0)), x)
    return x if abs(x) < np.float32(1e-5) else y


def sigmoid_f32(x):
    """Return 1/(1 + e⁻ˣ) without overflow."""
    e = exp_f32(-abs(x))
    return (np.float32(1.0) if x >= np.float32(0.0) else e) / (np.float32(1.0) + e)


def softplus_f32(x):
    """Return ln(1 + eˣ) without overflow."""
    e = exp_f32(-abs(x))
    far = e > np.float32(0.41421357)
    y = log1p_near_f32(np.float32(0.5) * (e - np.float32(1.0)) if far else e)
    return max(x, np.float32(0.0)) + (y + np.float32(0.6931472) if far else y)


def sinh_f32(x):
    """Return the hyperbolic sine."""
    return np.float32(sinh_f64(np.float64(x)))


def cosh_f32(x):
    """Return the hyperbolic cosine."""
    return np.float32(cosh_f64(np.float64(x)))


def erfc_tail_f32(x):
    """Return erfc(x) in float64 for x >= 0, as exp(-x²) u q(u), u = 3/(x + 3), q minimax."""
    u = 3.0 / (min(x, 20.0) + 3.0)
    t = 2.0 * u - 1.0
    q = (0.00010864753763813137 * t - 0.00016145303379937195) * t - 0.0010266872797742193
    q = ((q * t - 0.00040860926837892465) * t + 0.008946529467976541) * t + 0.039842989429054156
    q = ((q * t + 0.10348868202556553) * t + 0.19674276816436703) * t + 0.29446482838489196
    return exp_f64(-x * x) * u * (q * t + 0.35800230256674714)


def erfc_f32(x):
    """Return 1 - erf(x), accurate for large x."""
    x = np.float64(x)
    y = erfc_tail_f32(abs(x))
    return np.float32(2.0 - y if x < 0.0 else y)


def erf_f32(x):
    """Return the error function; ln(erfc(x))/x and erf(x)/x are minimax polynomials."""
    t, a = np.float32, min(abs(x), np.float32(4.0))
    z = a * a
    p = (t(-2.7166698e-05) * z - t(0.0004804053)) * z + t(0.0048227594)
    p = ((p * z - t(0.02666103)) * z + t(0.11278966)) * z - t(0.37612218)
    near = a + a * (p * z + t(0.12837915))
    q = (t(-1.3342099e-05) * a + t(0.00034419063)) * a - t(0.0037305807)
    q = ((q * a + t(0.023951145)) * a - t(0.10645983)) * a - t(0.63501424)
    far = t(1.0) - exp_f32((q * a - t(1.1286829)) * a)
    return np.copysign(far if a > t(1.0) else near, x)


def arctan_f32(x):
    """Return the inverse tangent."""
    return np.float32(arctan_f64(np.float64(x)))


def near_quarter_f32(x):
    """Return k, r and c with x = k·π/2 + r + c, |r| <= π/4, for 0 <= x < 4096 (Cody & Waite).

    The first three parts of π/2 have 11 bits, so that their products are exact, and so are the
    first two differences; |c| < 7e-9.
    """
    n, k = nearest_f32(x * np.float32(0.63661975))
    t = (x - n * np.float32(1.5703125)) - n * np.float32(0.0004837513)
    return k, t - n * np.float32(7.5495336e-08), n * np.float32(-2.563344e-12)


def quarter_f32(x):
    """Return k, r and 0 with x = k·π/2 + r, |r| <= π/4, for x >= 0.

    x·2/π is summed exactly from pieces of 2/π of 29 bits; for a large x those are left out
    that only add multiples of 4 (Payne & Hanek 1983).
    """
    x = np.float64(x)
    c = (
        0.636619770899415, 1.4681663246252086e-09, 2.2760100671971816e-18, 5.8812147387730434e-27,
        1.0346868700836215e-35, 3.783256351091319e-45, 3.720474878517739e-53,
    )  # fmt: skip
    far = x >= 3.094850098213451e26
    c = c[2:] if far else c[:5]
    c = c[1:] if x >= (1.661534994731145e35 if far else 5.764607523034235e17) else c[:4]
    t = x * c[0]
    t = t - 4.0 * np.rint(0.25 * t) + x * c[1]
    n, j = nearest_f64(t)
    t = t - n + x * c[2]
    n, k = nearest_f64(t)
    return j + k, np.float32((t - n + x * c[3]) * 1.5707963267948966), np.float32(0.0)


def sine_f32(r, c):
    """Return sin(r + c) for |r| <= π/4 and a tiny c; the polynomial is minimax."""
    z = r * r
    p = np.float32(-0.00019506841) * z + np.float32(0.008332102)
    return r + (r * z * (p * z - np.float32(0.16666654)) + c)


def cosine_f32(r):
    """Return cos(r) for |r| <= π/4; the polynomial is minimax."""
    z = r * r
    p = np.float32(2.4430088e-05) * z - np.float32(0.0013887298)
    return (np.float32(1.0) - np.float32(0.5) * z) + z * z * (p * z + np.float32(0.041666646))


def sides_f32(k, r, c):
    """Return the bits of the sine and the cosine of k·π/2 + r + c, |r| <= π/4, but for the signs.

    What c adds to a cosine, at most 5e-9, is less than a tenth of an ulp.
    """
    s, c = np.float32(sine_f32(r, c)).view(np.int32), np.float32(cosine_f32(r)).view(np.int32)
    swap = np.int32((s ^ c) & -(k & 1))
    return s ^ swap, c ^ swap


def signed_f32(y, sign):
    """Return the number of these bits, with the first bit of ``sign`` turned in it."""
    return np.int32(y ^ (sign & -0x80000000)).view(np.float32)


def sin_turned_f32(x, k, r, c):
    """Return the sine of x from its place in a quarter turn."""
    sine, _ = sides_f32(k, r, c)
    return signed_f32(sine, (k << 30) ^ np.float32(x).view(np.int32))


def sin_f32(x):
    """Return the sine."""
    return sin_turned_f32(x, *quarter_f32(abs(x)))


def near_sin_f32(x):
    """Return the sine for |x| < 4096."""
    return sin_turned_f32(x, *near_quarter_f32(abs(x)))


def cos_turned_f32(k, r, c):
    """Return a cosine from its place in a quarter turn."""
    _, cosine = sides_f32(k, r, c)
    return signed_f32(cosine, (k + 1) << 30)


def cos_f32(x):
    """Return the cosine."""
    return cos_turned_f32(*quarter_f32(abs(x)))


def near_cos_f32(x):
    """Return the cosine for |x| < 4096."""
    return cos_turned_f32(*near_quarter_f32(abs(x)))


def tan_f32(x):
    """Return the tangent."""
    return np.float32(tan_f64(np.float64(x)))


def near_tan_f32(x):
    """Return the tangent for |x| < 4096."""
    return np.float32(near_tan_f64(np.float64(x)))


def power_f32(x, y):
    """Return xʸ."""
    x, y = np.float64(x), min(max(np.float64(y), -1e40), 1e40)
    return np.float32(power_edges_f64(x, y, exp2_f64(y * log2_f64(abs(x)))))


def shared_quotient_f32(x, y):
    """Return x/y within 1.5 ulp unless 1/y is subnormal or too large; 1/y is computed once."""
    return x * (np.float32(1.0) / y)
