"""exp, log, tanh, sin, erf ... as plain arithmetic, so that loops around them become vectors.

Each function reduces its argument to a small interval and sums a Taylor series there. Every
helper takes a value of any width. Errors: about 1-2 units in the last place in float32 (3e-7),
1e-15 to 1e-13 in float64. NaN stays NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import factorial, log, pi, sqrt

from kiso.compiler.codegen.ir import BITS, Val

__all__ = ["FUNCTIONS", "whole_power"]

LOG2E = 1 / log(2)
# Near 1.5 * 2^52 the spacing of doubles is 1: adding it rounds to the nearest whole number, which
# then stands in the lowest bits.
ROUND = {"float": 1.5 * 2**23, "double": 1.5 * 2**52}
INT = {"float": "i32", "double": "i64"}
MANTISSA = {"float": 23, "double": 52}
BIAS = {"float": 127, "double": 1023}
# ln 2 in two parts: the first has few bits, so that n * LN2[0] is exact.
LN2 = {"float": (0.693359375, -2.1219444005469057e-4),
       "double": (6.93147180369123816490e-1, 1.90821492927058770002e-10)}
INFINITY = float("inf")


def _wide(x: Val) -> bool:
    return x.ty == "double"


def _series(x: Val, coefficients: Sequence[float]) -> Val:
    """c0 + c1 x + c2 x^2 + ... by Horner's rule."""
    total = x.w.widen(x.w.value(coefficients[-1], x.ty), x.width)
    for c in reversed(coefficients[:-1]):
        total = x.w.fma(total, x, c)
    return total


def _bits(x: Val) -> Val:
    """A float as an integer of its size."""
    return x.w.convert("bitcast", x, INT[x.ty])


def _nearest(x: Val, step: float) -> tuple[Val, Val]:
    """n = round(x * step), as a float and as an integer (of the float's size)."""
    shifted = x.w.fma(x, step, ROUND[x.ty])
    n = _bits(shifted)
    base = _bits(x.w.value(ROUND[x.ty], x.ty))
    return shifted - ROUND[x.ty], n - base


def _power_of_two(n: Val, ty: str) -> Val:
    """2^n, for n in the range of normal exponents."""
    bits = n.w.binary("shl", n + BIAS[ty], n.w.value(MANTISSA[ty], n.ty))
    return n.w.convert("bitcast", bits, ty)


def _clamp(x: Val, low: float, high: float) -> Val:
    """Both comparisons are false for NaN, which passes."""
    x = x.w.select(x < low, low, x)
    return x.w.select(x > high, high, x)


def _reduced_exp(x: Val) -> tuple[Val, Val]:
    """n and e^r - 1 with x = n ln 2 + r, |r| <= ln 2 / 2."""
    w = x.w
    whole, n = _nearest(x, LOG2E)
    high, low = LN2[x.ty]
    r = w.fma(whole, -low, w.fma(whole, -high, x))
    tail = _series(r, [1 / factorial(k) for k in range(2, 14 if _wide(x) else 8)])
    return n, w.fma(r * r, tail, r)


def exp(x: Val) -> Val:
    """e^x; 2^n is applied in two halves, since n may leave the range of exponents."""
    x = _clamp(x, *((-760.0, 720.0) if _wide(x) else (-110.0, 90.0)))
    n, e = _reduced_exp(x)
    half = x.w.binary("lshr", n + 4096, x.w.value(1, n.ty)) - 2048
    return (e + 1.0) * _power_of_two(half, x.ty) * _power_of_two(n - half, x.ty)


def expm1(x: Val) -> Val:
    """e^x - 1 = 2^n (e^r - 1) + (2^n - 1), without cancellation near 0."""
    x = _clamp(x, *((-40.0, 710.0) if _wide(x) else (-20.0, 89.0)))
    n, e = _reduced_exp(x)
    scale = _power_of_two(n - 1, x.ty)  # half of 2^n: 2^128 is no float32
    y = x.w.fma(scale, e, scale - 0.5) * 2.0
    return x.w.select(x.eq(0.0), x, y)


def log_(x: Val, lost: Val | None = None) -> Val:
    """log x (+ lost): x = 2^k (1 + f), log(1 + f) = 2 artanh(f / (2 + f)).

    log 0 = -inf, log inf = inf, log of negative numbers and NaN = NaN.
    """
    w, size = x.w, MANTISSA[x.ty]
    one = BIAS[x.ty] << size
    root = 0x3FE6A09E667F3BCD if _wide(x) else 0x3F3504F3  # sqrt(1/2)
    bits = _bits(x) + (one - root)
    k = w.binary("lshr", bits, w.value(size, bits.ty)) - BIAS[x.ty]
    m = w.convert("bitcast", (bits & ((1 << size) - 1)) + root, x.ty)
    # An integer becomes a float by adding it to the bits of ROUND: 64-bit conversion is slow.
    base = _bits(w.value(ROUND[x.ty], x.ty))
    n = w.convert("bitcast", k + base, x.ty) - ROUND[x.ty]
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    tail = z * _series(z, [2 / (2 * j + 3) for j in range(11 if _wide(x) else 5)])
    half = f * f * 0.5
    high, low = LN2[x.ty]
    small = w.fma(s, half + tail, n * low)
    if lost is not None:
        small = small + lost
    y = w.fma(n, high, f - (half - small))
    y = w.select(x.eq(0.0), -INFINITY, y)
    y = w.select(x.eq(INFINITY), INFINITY, y)
    return w.select(w.compare("ge", x, w.value(0.0, x.ty)), y, float("nan"))


def log1p(x: Val) -> Val:
    """log(1 + x): what rounding 1 + x loses is added as (x - (u - 1)) / u."""
    u = x + 1.0
    lost = x.w.select(x > 1.0, 1.0 - (u - x), x - (u - 1.0)) / u
    y = log_(u, lost)
    return x.w.select(x.eq(0.0), x, y)


def tanh(x: Val) -> Val:
    """t / (t + 2) with t = e^(2|x|) - 1; the sign is put back."""
    limit = 20.0 if _wide(x) else 10.0
    size = x.w.intrinsic("fabs", x)
    t = expm1(x.w.select(size > limit, limit, size) * 2.0)
    return x.w.intrinsic("copysign", t / (t + 2.0), x)


def _quarter(x: Val) -> tuple[Val, Val]:
    """q and r with x = q pi/2 + r; float32 is reduced in double precision."""
    w = x.w
    wide = x if _wide(x) else w.convert("fpext", x, "double")
    whole, n = _nearest(wide, 2 / pi)
    r = wide
    for part in (1.57079632673412561417, 6.07710050630396597660e-11, 2.02226624879595063154e-21):
        r = w.fma(whole, -part, r)
    if _wide(x):
        return n, r
    return w.convert("trunc", n, "i32"), w.convert("fptrunc", r, "float")


def _sine_or_cosine(q: Val, r: Val) -> Val:
    """sin(q pi/2 + r): the sine of r for even q, the cosine for odd q, and a sign."""
    w, z = r.w, r * r
    top = 9 if _wide(r) else 5
    sine = w.fma(r * z, _series(z, [(-1)**k / factorial(2 * k + 1) for k in range(1, top)]), r)
    cosine = w.fma(z, _series(z, [(-1)**k / factorial(2 * k) for k in range(1, top + 1)]), 1.0)
    y = w.select((q & 1).eq(1), cosine, sine)
    return w.select((q & 2).eq(2), 0.0 - y, y)


def sin(x: Val) -> Val:
    """Sine; good to |x| of about 1e5."""
    q, r = _quarter(x)
    return x.w.select(x.eq(0.0), x, _sine_or_cosine(q, r))


def cos(x: Val) -> Val:
    """Cosine."""
    q, r = _quarter(x)
    return _sine_or_cosine(q + 1, r)


# e^(x^2) erfc(x) as a polynomial in t = (x - 2.5) / (x + 2.5); Chebyshev interpolation on
# 1 <= x <= 4 (float32) and 1 <= x <= 6 (float64).
ERFC = {
    "float": (0.21080636406737904, -0.37173673436863947, 0.2517131902385596, -0.1250329994854434,
              0.03992281399717429, -0.003995211087693793, -0.0026510804264341273,
              0.0008817331857071882, 0.00031380087121397454),
    "double": (0.2108063640611436, -0.37173673394897, 0.2517131932174261, -0.12503305237934423,
               0.039922539078674095, -0.003993701141567174, -0.0026423660968657695,
               0.0008759149349452536, 0.00022838286600219564, -0.0001288715949087675,
               -3.420413905242201e-05, 1.8582706333206706e-05, 7.633168113924777e-06,
               -2.209870553570713e-06, -1.8278865765924594e-06)}


def erf(x: Val) -> Val:
    """Taylor series below 1, 1 - e^(-x^2) P((x - 2.5) / (x + 2.5)) above."""
    w = x.w
    size = w.intrinsic("fabs", x)
    limit = 6.0 if _wide(x) else 4.0
    far = w.select(size > limit, limit, size)
    near = w.select(size > 1.0, 1.0, size)
    z = near * near
    small = near * _series(z, [2 / sqrt(pi) * (-1)**k / (factorial(k) * (2 * k + 1))
                               for k in range(20 if _wide(x) else 11)])
    rest = exp(0.0 - far * far) * _series((far - 2.5) / (far + 2.5), ERFC[x.ty])
    return w.intrinsic("copysign", w.select(size > 1.0, 1.0 - rest, small), x)


def pow_(x: Val, y: Val) -> Val:
    """e^(y log|x|), negative for negative x and odd y; float32 is computed in double precision."""
    w = x.w
    x, y = w.alike(x, y)
    if not _wide(x):
        a, b = w.convert("fpext", x, "double"), w.convert("fpext", y, "double")
        return w.convert("fptrunc", pow_(a, b), "float")
    size = w.intrinsic("fabs", x)
    z = exp(y * log_(size))
    half = y * 0.5
    whole = w.intrinsic("floor", y).eq(y)
    odd = w.binary("and", whole, w.compare("ne", w.intrinsic("floor", half), half))
    z = w.select(w.binary("and", x < 0.0, odd), 0.0 - z, z)
    impossible = w.binary("and", x < 0.0, w.compare("ne", w.intrinsic("floor", y), y))
    z = w.select(impossible, float("nan"), z)
    return w.select(w.binary("or", y.eq(0.0), x.eq(1.0)), 1.0, z)


def whole_power(a: Val, b: Val) -> Val:
    """a^b of integers by squaring; exponents below 2^16 (larger ones overflow but for 0, 1, -1)."""
    w = a.w
    y = w.value(1, a.ty)
    for bit in range(min(16, BITS[a.ty])):
        y = w.select((b & (1 << bit)).eq(0), y, y * a)
        a = a * a
    return y


FUNCTIONS: dict[str, Callable[..., Val]] = {
    "exp": exp, "expm1": expm1, "log": log_, "log1p": log1p, "tanh": tanh, "sin": sin,
    "cos": cos, "erf": erf, "pow": pow_}
