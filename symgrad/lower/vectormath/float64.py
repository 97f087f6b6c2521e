# mypy: disable-error-code="assignment,no-untyped-call,no-untyped-def"
"""Elementary functions of float64."""

import numpy as np


def scaled_f64(y, k):
    """Return y·2ᵏ, rounded once also where it is subnormal."""
    k = k + 2046
    half = k >> 1
    return y * np.int64(half << 52).view(np.float64) * np.int64((k - half) << 52).view(np.float64)


def nearest_f64(x):
    """Return the whole number nearest to x, |x| < 2⁵¹, as a float and as an integer."""
    t = x + 6755399441055744.0
    return t - 6755399441055744.0, np.float64(t).view(np.int64) - 0x4338000000000000


def exp_tail_f64(r):
    """Return eʳ - 1 - r for |r| <= ln(2)/2; the polynomial is minimax."""
    z = r * r
    p = (2.5053768202871885e-08 * z + 2.755740849368497e-06) * z + 0.00019841269717078597
    q = (2.762639199655069e-07 * z + 2.4801504426647904e-05) * z + 0.0013888888932227462
    p = (p * z + 0.008333333333390725) * z + 0.16666666666666588
    q = (q * z + 0.04166666666657489) * z + 0.5000000000000006
    return z * (p * r + q)


def exp_parts_f64(x, d):
    """Return k, r and c with eˣ⁺ᵈ = eʳ⁺ᶜ·2ᵏ, |r| <= ln(2)/2 and c tiny (Cody & Waite 1980)."""
    n, k = nearest_f64(x * 1.4426950408889634)
    t, u = x - n * 0.6931471803691238, n * 1.9082149292705877e-10 - d
    r = t - u
    return k, r, (t - r) - u


def exp_f64(x):
    """Return eˣ."""
    k, r, _ = exp_parts_f64(min(max(x, -746.0), 710.0), 0.0)
    return scaled_f64(1.0 + (r + exp_tail_f64(r)), k)


def exp2_f64(x):
    """Return 2ˣ."""
    x = min(max(x, -1076.0), 1024.0)
    n, k = nearest_f64(x)
    r = (x - n) * 0.6931471805599453
    return scaled_f64(1.0 + (r + exp_tail_f64(r)), k)


def half_expm1_f64(x):
    """Return (eˣ - 1)/2 for -700 < x < 710.6; no overflow before the result's own."""
    k, r, c = exp_parts_f64(x, 0.0)
    s = np.int64((k + 1021) << 52).view(np.float64)
    return 2.0 * (((s - 0.25) + s * r) + s * (exp_tail_f64(r) + c))


def expm1_f64(x):
    """Return eˣ - 1."""
    y = 2.0 * half_expm1_f64(min(max(x, -50.0), 710.0))
    return x if abs(x) < 1e-16 else y


def split_f64(x):
    """Return m and k with x = m·2ᵏ and √½ <= m < √2, for a finite x > 0."""
    tiny = x < 2.2250738585072014e-308
    bits = np.float64(x * 18014398509481984.0 if tiny else x).view(np.int64)
    k = (bits - 0x3FE6A09E667F3BCD) >> 52
    m = np.int64(bits - (k << 52)).view(np.float64)
    return m, np.float64(np.int32(k - 54 if tiny else k))


def log1p_near_f64(f):
    """Return ln(1 + f) for √½ <= 1 + f < √2 (fdlibm, e_log.c)."""
    s = f / (2.0 + f)
    z = s * s
    p = (0.14798198605116586 * z + 0.15313837699209373) * z + 0.1818357216161805
    p = ((p * z + 0.22222198432149784) * z + 0.2857142874366239) * z + 0.3999999999940942
    half = 0.5 * f * f
    return f - (half - s * (half + z * (p * z + 0.6666666666666735)))


def log_edges_f64(x, y):
    """Return y for a finite x > 0, and the logarithm of 0, infinity, NaN and negative x."""
    y = y if x < np.inf else np.inf
    return y if x > 0.0 else (-np.inf if x == 0.0 else np.nan)


def log_f64(x):
    """Return the natural logarithm."""
    m, k = split_f64(x)
    y = k * 0.6931471803691238 + (k * 1.9082149292705877e-10 + log1p_near_f64(m - 1.0))
    return log_edges_f64(x, y)


def log2_f64(x):
    """Return the logarithm to base 2."""
    m, k = split_f64(x)
    return log_edges_f64(x, k + 1.4426950408889634 * log1p_near_f64(m - 1.0))


def log10_f64(x):
    """Return the logarithm to base 10."""
    m, k = split_f64(x)
    y = k * 8.241712586023572e-13 + 0.4342944819032518 * log1p_near_f64(m - 1.0)
    return log_edges_f64(x, k * 0.301029995663157 + y)


def log1p_f64(x):
    """Return ln(1 + x); the rounding of 1 + x is made up for."""
    u = 1.0 + x
    m, k = split_f64(u)
    y = k * 1.9082149292705877e-10 + (x - (u - 1.0)) / u
    y = k * 0.6931471803691238 + (y + log1p_near_f64(m - 1.0))
    return x if abs(x) < 1e-16 else log_edges_f64(u, y)


def tanh_f64(x):
    """Return the hyperbolic tangent."""
    t = half_expm1_f64(2.0 * min(abs(x), 22.0))
    return x if abs(x) < 1e-9 else np.copysign(t / (t + 1.0), x)


def sigmoid_f64(x):
    """Return 1/(1 + e⁻ˣ) without overflow."""
    e = exp_f64(-abs(x))
    return (1.0 if x >= 0.0 else e) / (1.0 + e)


def softplus_f64(x):
    """Return ln(1 + eˣ) without overflow."""
    e = exp_f64(-abs(x))
    far = e > 0.4142135623730951
    y = log1p_near_f64(0.5 * (e - 1.0) if far else e)
    return max(x, 0.0) + (y + 0.6931471805599453 if far else y)


def sinh_f64(x):
    """Return the hyperbolic sine."""
    y = half_expm1_f64(min(abs(x), 710.5))
    z = min(y, 1e300)
    y += z / (2.0 * z + 1.0)
    return x if abs(x) < 1e-9 else np.copysign(y, x)


def cosh_f64(x):
    """Return the hyperbolic cosine."""
    y = half_expm1_f64(min(abs(x), 710.5)) + 0.5
    return y + 0.25 / y


def high_f64(x):
    """Return x cut to its first 26 bits: the product of two such numbers is exact."""
    return np.int64(np.float64(x).view(np.int64) & -134217728).view(np.float64)


def erfc_tail_f64(x):
    """Return erfc(x) for x >= 0 as exp(-x²) u q(u), u = 3/(x + 3), q minimax."""
    x = min(x, 28.0)
    h, u = high_f64(x), 3.0 / (x + 3.0)
    v = high_f64(u)
    e = ((3.0 - 3.0 * v) - v * h) - v * (x - h)
    t = (2.0 * v - 1.0) + e * u * 0.6666666666666666
    z = t * t
    p = (2.0037656778549707e-09 * z - 1.5830702053894254e-08) * z + 7.705702909157698e-08
    p = ((p * z - 3.325891657027696e-07) * z + 1.5829540638063883e-06) * z - 1.0132693137014482e-05
    p = ((p * z + 9.225927722776677e-05) * z - 0.0010113539997741098) * z + 0.008942411541442635
    p = p * z + 0.10348908730019112
    q = (-4.707919916021849e-10 * z + 6.387437344250023e-10) * z + 1.35650894242641e-08
    q = ((q * z - 1.3424311156360437e-07) * z + 9.207661918060999e-07) * z - 5.823137347985048e-06
    q = ((q * z + 3.585373787871212e-05) * z - 0.00018276988399458266) * z - 0.0004041388768506733
    q = q * z + 0.039842587095811
    p = (p + t * q) * t + 0.1967427857013665
    y = u * ((p * t + 0.2944648177232945) * t + 0.3580023023627799)
    k, r, c = exp_parts_f64(-h * h, (h - x) * (h + x))
    c += ((v - u) * (x + 3.0) + e) * 0.3333333333333333
    return scaled_f64(y + y * (r + (exp_tail_f64(r) + c)), k)


def erfc_f64(x):
    """Return 1 - erf(x), accurate for large x."""
    y = erfc_tail_f64(abs(x))
    return 2.0 - y if x < 0.0 else y


def erf_f64(x):
    """Return the error function."""
    z = x * x
    p = (1.146375499912527e-08 * z - 1.5937601144617582e-07) * z + 1.6430388610664248e-06
    p = ((p * z - 1.4924176683082207e-05) * z + 0.00012055288779975639) * z - 0.0008548326169186207
    p = ((p * z + 0.005223977615124203) * z - 0.026866170644402696) * z + 0.11283791670952482
    near = x * ((p * z - 0.37612638903183715) * z + 1.1283791670955126)
    far = np.copysign(1.0 - erfc_tail_f64(abs(x)), x)
    return far if abs(x) > 0.75 else near


def arctan_f64(x):
    """Return the inverse tangent (reduction as in Cephes, minimax polynomial)."""
    a = abs(x)
    mid, big = a > 0.41421356237309503, a > 2.414213562373095
    z = (-1.0 if big else (a - 1.0 if mid else a)) / (a if big else (a + 1.0 if mid else 1.0))
    s = z * z
    p = (-0.01782293069010735 * s + 0.038009964504417876) * s - 0.05038196785946558
    p = ((p * s + 0.058479176486429224) * s - 0.06663152866658618) * s + 0.07692069241663457
    p = ((p * s - 0.09090898585324296) * s + 0.11111110825706157) * s - 0.14285714281368891
    p = ((p * s + 0.19999999999969192) * s - 0.3333333333333327) * s * z
    p += 6.123233995736766e-17 if big else (3.061616997868383e-17 if mid else 0.0)
    y = (1.5707963267948966 if big else (0.7853981633974483 if mid else 0.0)) + (z + p)
    return np.copysign(y, x)


def two_over_pi_f64(e):
    """Return bits e - 41 to e + 138 of 2/π, 0 <= e < 1020, as three integers of 60 bits."""
    w = (
        0x28BE6, 0xDB9391054A7F09, 0xD5F47D4D377036D, 0x8A5664F10E4107F, 0x9458EAF7AEF1586,
        0xDC91B8E909374B8, 0x1924BBA8274648, 0x73F877AC72C4A69, 0xCFBA208D7D4BAED,
        0x1213A671C09AD17, 0xDF904E64758E60D, 0x4CE7D272117E2EF, 0x7E4A0EC7FE25FFF,
        0x7816603FBCBC462, 0xD6829B47DB4D9FB, 0x3C9F2C26DD3D18F, 0xD9A797FA8B5D49E,
        0xEB1FAF97C5ECF41, 0xCE7DE294A4BA9AF, 0xED7EC47E3574215,
    )  # fmt: skip
    j = (e * 1093) >> 16
    w = w[16:] + w[4:19] if j & 16 else w[:19]
    w = w[8:] if j & 8 else w[:11]
    w = w[4:] if j & 4 else w[:7]
    w = w[2:] if j & 2 else w[:5]
    w = w[1:] if j & 1 else w[:4]
    s, full = e - 60 * j, (1 << 60) - 1
    a = (w[0] << s) & full | w[1] >> (60 - s)
    b = (w[1] << s) & full | w[2] >> (60 - s)
    return a, b, (w[2] << s) & full | w[3] >> (60 - s)


def far_quarter_f64(x):
    """Return what quarter_f64 does for x >= 2¹², in integers (Payne & Hanek 1983).

    Only those bits of 2/π take part that neither add multiples of 4 to x·2/π nor vanish.
    """
    low, full = (1 << 30) - 1, (1 << 60) - 1
    bits = np.float64(x).view(np.int64)
    m = bits & ((1 << 52) - 1) | (1 << 52)
    a, b, c = two_over_pi_f64((bits >> 52) - 1035)
    mh, ml, bh, bl, ch = m >> 30, m & low, b >> 30, b & low, c >> 30
    t = ml * bh + mh * bl
    g = ml * bl + ((t & low) << 30) + mh * ch + ((ml * ch + mh * (c & low)) >> 30)
    f = (m * a + mh * bh + (t >> 30) + (g >> 60)) & full
    k = (f + (1 << 57)) >> 58
    f -= k << 58
    u = np.float64(np.int32(f >> 30)) * 3.725290298461914e-09
    v = np.float64(np.int32(f & low)) * 3.469446951953614e-18
    y = u + v
    z = (u - y) + v + np.float64(g & full) * 3.009265538105056e-36
    h = high_f64(y + z)
    u, v = h * 1.570796251296997, h * 7.549789954891882e-08 + ((y - h) + z) * 1.5707963267948966
    r = u + v
    return k, r, (u - r) + v


def near_quarter_f64(x):
    """Return k, r and c with x = k·π/2 + r + c, |r| <= π/4, for 0 <= x < 4096 (Cody & Waite)."""
    n, k = nearest_f64(x * 0.6366197723675814)
    t, w = x - n * 1.5707963267341256, n * 6.077100506303966e-11
    y = t - w
    w = n * 2.0222662487959506e-21 - ((t - y) - w)
    r = y - w
    return k, r, (y - r) - w


def quarter_f64(x):
    """Return k, r and c with x = k·π/2 + r + c, |r| <= π/4, for x >= 0."""
    k, r, c = near_quarter_f64(x)
    fk, fr, fc = far_quarter_f64(x)
    far = x >= 4096.0
    return fk if far else k, fr + (x - x) if far else r, fc if far else c


def sine_terms_f64(z):
    """Return p with sin(r) = r + r³(p r² - 1/6), z = r², |r| <= π/4 (fdlibm, k_sin.c)."""
    p = (1.58969099521155e-10 * z - 2.5050760253406863e-08) * z + 2.7557313707070068e-06
    return (p * z - 0.0001984126982985795) * z + 0.00833333333332249


def cosine_terms_f64(z):
    """Return p with cos(r) = 1 - r²/2 + p r⁴, z = r², |r| <= π/4 (fdlibm, k_cos.c)."""
    p = (-1.1359647557788195e-11 * z + 2.087572321298175e-09) * z - 2.7557314351390663e-07
    return ((p * z + 2.480158728947673e-05) * z - 0.001388888888887411) * z + 0.0416666666666666


def sine_f64(r):
    """Return sin(r) for |r| <= π/4."""
    z = r * r
    return r + r * z * (sine_terms_f64(z) * z - 0.16666666666666632)


def cosine_f64(r):
    """Return cos(r) for |r| <= π/4."""
    z = r * r
    return (1.0 - 0.5 * z) + z * z * cosine_terms_f64(z)


def sides_f64(k, r):
    """Return the bits of the sine and the cosine of k·π/2 + r, |r| <= π/4, but for the signs."""
    s, c = np.float64(sine_f64(r)).view(np.int64), np.float64(cosine_f64(r)).view(np.int64)
    swap = (s ^ c) & -(k & 1)
    return s ^ swap, c ^ swap


def signed_f64(y, sign):
    """Return the number of these bits, with the first bit of ``sign`` turned in it."""
    return np.int64(y ^ (sign & -0x8000000000000000)).view(np.float64)


def sin_turned_f64(x, k, r, c):
    """Return the sine of x from its place in a quarter turn; c is half an ulp at most."""
    sine, _ = sides_f64(k, r)
    return signed_f64(sine, (k << 62) ^ np.float64(x).view(np.int64))


def sin_f64(x):
    """Return the sine."""
    return sin_turned_f64(x, *quarter_f64(abs(x)))


def near_sin_f64(x):
    """Return the sine for |x| < 4096."""
    return sin_turned_f64(x, *near_quarter_f64(abs(x)))


def cos_turned_f64(k, r, c):
    """Return a cosine from its place in a quarter turn; c is half an ulp at most."""
    _, cosine = sides_f64(k, r)
    return signed_f64(cosine, (k + 1) << 62)


def cos_f64(x):
    """Return the cosine."""
    return cos_turned_f64(*quarter_f64(abs(x)))


def near_cos_f64(x):
    """Return the cosine for |x| < 4096."""
    return cos_turned_f64(*near_quarter_f64(abs(x)))


def tan_turned_f64(x, k, r, c):
    """Return the tangent as a quotient, and what rounding took from its two terms."""
    z = r * r
    s, t = r, c - z * (0.5 * c - z * r * sine_terms_f64(z)) - z * r * 0.16666666666666632
    w = 1.0 - 0.5 * z
    u, v = w, ((1.0 - w) - 0.5 * z) + (z * z * cosine_terms_f64(z) - r * c)
    n, d = s + t, u + v
    t, v = (s - n) + t, (u - d) + v
    s, t, u, v = (-d, -v, n, t) if k & 1 else (n, t, d, v)
    y = s / u
    return np.copysign(1.0, x) * (y + (t - y * v) / u)


def tan_f64(x):
    """Return the tangent."""
    return tan_turned_f64(x, *quarter_f64(abs(x)))


def near_tan_f64(x):
    """Return the tangent for |x| < 4096."""
    return tan_turned_f64(x, *near_quarter_f64(abs(x)))


def log2_pair_f64(x):
    """Return log2(x) as a sum of two numbers, the first of 26 bits (fdlibm, e_pow.c)."""
    m, k = split_f64(x)
    f, d = m - 1.0, m + 1.0
    v = 1.0 / d
    s = f * v
    sh, dh = high_f64(s), high_f64(d)
    sl = ((f - sh * dh) - sh * (m - (dh - 1.0))) * v
    z = s * s
    w = z * z
    p = (0.19885025699703185 * w + 0.2727267638363987) * w + 0.42857142855140323
    q = ((0.1979644259244434 * w + 0.2308014418687298) * w + 0.3333333378165402) * w
    p = (p * z + (q + 0.6000000000000341)) * w + sl * (sh + s)
    t = high_f64(3.0 + sh * sh + p)
    p -= (t - 3.0) - sh * sh
    v = sl * t + s * p
    h = high_f64(sh * t + v)
    v -= h - sh * t
    u = 0.9617966860532761 * h
    v = 0.9617966939259756 * v + 7.872699542894897e-09 * h
    h = high_f64(k + (u + v))
    return h, ((k - h) + u) + v


def power_edges_f64(x, y, p):
    """Return xʸ from p = |x|ʸ: its sign, and the cases of C99, Annex F.9.4.4."""
    a = abs(x)
    p = p if 0.0 < a < np.inf else (np.inf if (a > 1.0) == (y > 0.0) else 0.0)
    whole, odd = np.rint(y) == y, np.rint(0.5 * y) != 0.5 * y
    p = np.copysign(p, x) if whole and odd else p
    p = np.nan if (-np.inf < x < 0.0 and not whole) or x != x or y != y else p
    return 1.0 if x == 1.0 or y == 0.0 else p


def power_f64(x, y):
    """Return xʸ."""
    h, t = log2_pair_f64(abs(x))
    v = min(max(y, -1e20), 1e20)
    yh = high_f64(v)
    u = yh * h
    v = (v - yh) * h + v * t
    w = u + v
    far = abs(w) > 1100.0
    n, k = nearest_f64(min(max(w, -1100.0), 1100.0))
    r = (0.0 if far else (u - n) + v) * 0.6931471805599453
    return power_edges_f64(x, y, scaled_f64(1.0 + (r + exp_tail_f64(r)), k))


def extreme_f64(x):
    """Return whether x or 1/x is zero, subnormal or infinite."""
    return (abs(x) < 4.450147717014403e-308) | (abs(x) > 2.247116418577895e307)


def shared_quotient_f64(x, y):
    """Return x/y within 1.5 ulp unless 1/y is subnormal or too large; 1/y is computed once."""
    return x * (np.float64(1.0) / y)


def near_quotient_f64(x, y):
    """Return x/y within 1.5 ulp, y not extreme."""
    return shared_quotient_f64(x, y)


def quotient_f64(x, y):
    """Return x/y, and where y is not extreme the same as the quick form."""
    return np.float64(x) / y if extreme_f64(y) else near_quotient_f64(x, y)
