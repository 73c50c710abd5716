# The scalar formulas, each once, on a register of reals.
#
# Errors are bounded by bench/accuracy.py (all 2^32 floats, dense and random doubles) and by
# tests/conformance. Polynomials: Chebyshev fits in 40-digit arithmetic of
# (exp(r) - 1 - r) / r^2 on |r| <= log(2)/2 and of (atanh(s)/s - 1) / s^2 on s <= 1/3.


cdef inline inlined_void exp_reduced(vreal a, vreal *reduced, vreal *power) noexcept nogil:
    """r with e^a = 2^power (1 + r)."""
    # Neighbouring terms in pairs: half as long a chain of operations as Horner's, which small
    # problems wait for.
    cdef vreal n = v_round(a * v_set(<real>1.4426950408889634)), r, rest, p, q, r2, r4
    if REAL_SIZE == 4:
        if FUSED:
            # The remainder of log(2) as the next float is exact, and what that lacks, at most
            # 3e-7, is soon enough for the last step.
            r = v_remainder(a, n, v_set(<real>0.693147182464599609375))
            rest = r + n * v_set(<real>1.904654323148236e-09)
        else:
            # log(2) in two parts, the first short enough for n times it to be exact.
            r = a - n * v_set(<real>0.693145751953125)
            r = rest = r - n * v_set(<real>1.428606765330187e-06)
        r2 = r * r
        p = v_set(<real>0.00019891981313977690212) * r + v_set(<real>0.0013934541928270264477)
        q = v_set(<real>0.0083333100242252924299) * r + v_set(<real>0.041666456809677876034)
        p = p * r2 + q
        q = v_set(<real>0.16666666682534356071) * r + v_set(<real>0.50000000142862234172)
        p = p * r2 + q
    else:
        r = a - n * v_set(<real>0.6931471803691238)
        r = rest = r - n * v_set(<real>1.9082149292705877e-10)
        r2 = r * r
        r4 = r2 * r2
        p = v_set(<real>2.0915442297780115216e-9) * r + v_set(<real>2.5106274733573294687e-8)
        q = v_set(<real>2.7557271810219799569e-7) * r + v_set(<real>2.7557252833516909748e-6)
        p = p * r2 + q
        q = v_set(<real>0.000024801587327007186731) * r + v_set(<real>0.00019841269876864354929)
        p = p * r2 + q
        q = v_set(<real>0.0013888888888883326674) * r + v_set(<real>0.0083333333333255446996)
        q = q * r2 + (
            v_set(<real>0.041666666666666670074) * r + v_set(<real>0.16666666666666671438)
        )
        p = (p * r4 + q) * r + v_set(<real>0.5)
    power[0] = n
    reduced[0] = p * (rest * rest) + rest


cdef struct ScoreParts:
    # Of a score z, what `exp_parts` and `logistic_of_parts` give.
    vreal power
    vreal r
    vreal small


cdef inline inlined_void exp_parts(vreal z, vreal *power, vreal *r) noexcept nogil:
    """e^|z| = (1 + r) / power, with a power of two that may be subnormal."""
    # Beyond 104 (double: 746) its inverse rounds to 0; the bound keeps `v_exp2` in its range.
    cdef vreal n
    exp_reduced(v_min(v_set(110 if REAL_SIZE == 4 else 750), v_abs(z)), r, &n)
    power[0] = v_exp2(v_set(0) - n)


cdef inline vreal exp_minus_abs(vreal z) noexcept nogil:
    """e^(-|z|), subnormal results included."""
    cdef vreal n, power, r
    exp_reduced(v_max_scalar(v_minus_abs(z), -110 if REAL_SIZE == 4 else -750), &r, &n)
    power = v_exp2(n)
    return power + power * r


cdef inline vreal atanh_rest(vreal u) noexcept nogil:
    """(atanh(s) / s - 1) / u for u = s^2, s <= 1/3."""
    cdef vreal q
    if REAL_SIZE == 4:
        q = v_set(<real>0.11615127803448179542)
        q = q * u + v_set(<real>0.10852713536419283124)
        q = q * u + v_set(<real>0.14296213037334131581)
        q = q * u + v_set(<real>0.19999852539504327204)
        q = q * u + v_set(<real>0.33333333661987504681)
    else:
        q = v_set(<real>0.08086486882582435819)
        q = q * u + v_set(<real>0.043982635133370287926)
        q = q * u + v_set(<real>0.060009487603518856891)
        q = q * u + v_set(<real>0.066570287400614316425)
        q = q * u + v_set(<real>0.076927876777579189876)
        q = q * u + v_set(<real>0.090908946237957681686)
        q = q * u + v_set(<real>0.11111111360589110707)
        q = q * u + v_set(<real>0.14285714283535833874)
        q = q * u + v_set(<real>0.20000000000007361312)
        q = q * u + v_set(<real>0.33333333333333329238)
    return q


cdef inline vreal log1p_of_parts(vreal power, vreal r) noexcept nogil:
    """log(1 + e^-|z|) from e^|z| = (1 + r) / power, as 2 atanh(1 / (1 + 2 e^|z|))."""
    cdef vreal s = power / (v_set(2) + (power + (r + r)))
    cdef vreal u = s * s
    s = s + s
    return s + s * (u * atanh_rest(u))


cdef inline vreal log1p_up_to(vreal x, Py_ssize_t most) noexcept nogil:
    """log(1 + x), x from 0 to `most`: 1 + x is halved to 2 or less, then 2 atanh(x / (2 + x))."""
    cdef vreal one = v_set(1), halvings = v_set(0), above, s, u
    while most > 1:
        above = one - x
        halvings = halvings + v_where_negative(above, one, v_set(0))
        x = v_where_negative(above, (x - one) * v_set(<real>0.5), x)
        most //= 2
    s = x / (v_set(2) + x)
    u = s * s
    s = s + s
    return halvings * v_set(<real>0.6931471805599453) + (s + s * (u * atanh_rest(u)))


cdef inline vreal logistic_of_parts(vreal power, vreal r) noexcept nogil:
    """sigma(-|z|), at most 1/2, from e^|z| = (1 + r) / power.

    The power is exact, so that nothing but the sum and the division is rounded. The errors are
    largest, 2.44 ULP, where 1 + power loses half a unit, at |z| = 16.6 (double: 36.7).
    """
    # r comes last.
    return power / ((v_set(1) + power) + r)


cdef inline vreal logistic_derivative(vreal small) noexcept nogil:
    """sigma' from sigma(-|z|); within 2.5 ULP."""
    return small - small * small


cdef inline vreal log_logistic(vreal z) noexcept nogil:
    """log sigma(z) = -log(1 + e^-z)."""
    cdef vreal power, r
    exp_parts(z, &power, &r)
    return v_where_negative(z, z, v_set(0)) - log1p_of_parts(power, r)


cdef inline vreal logistic_of(vreal z) noexcept nogil:
    """sigma(z) = 1 / (1 + e^-z)."""
    cdef vreal power, r, small
    exp_parts(z, &power, &r)
    small = logistic_of_parts(power, r)
    return v_where_negative(z, small, v_set(1) - small)


cdef inline vreal tanh_of(vreal z) noexcept nogil:
    """tanh |z| = -x / (2 + x) with x = e^(-2|z|) - 1, which loses no digit near 0."""
    cdef vreal n, power, x, r
    # Beyond |z| = 20 both types round to 1.
    exp_reduced(v_max_scalar(v_minus_abs(z + z), -40), &r, &n)
    power = v_exp2_int(n)
    x = power * r + (power - v_set(1))
    x = v_set(0) - x / (v_set(2) + x)
    return v_where_negative(z, v_set(0) - x, x)


cdef inline inlined_void loss_of_parts(
    int loss, vreal z, vreal y, vreal weight, const ScoreParts *parts, vreal *value,
    vreal *derivative
) noexcept nogil:
    """As `loss_of`, from the parts of the score."""
    cdef vreal sign, rest, residual, share
    if loss == LOSS_QUADRATIC:
        value[0] = z * z * v_set(<real>0.5) * weight
        derivative[0] = z * weight
        return
    # sigma(z) - y is sigma(-|z|) - y or (1 - y) - sigma(-|z|): no digit is lost where sigma rounds
    # to 0 or 1 and y is 0 or 1. What depends on the sign is known long before sigma is.
    sign = v_where_negative(z, v_set(1), v_set(-1))
    rest = v_where_negative(z, v_set(0) - y, v_set(1) - y)
    residual = sign * parts.small + rest
    if loss == LOSS_SQUARED_ERROR:
        value[0] = residual * residual * v_set(<real>0.5) * weight
        derivative[0] = residual * (logistic_derivative(parts.small) * weight)
    else:
        # Its share of |z| is 0 for the right label, of an infinite score too.
        share = v_where_negative(z, y, v_set(1) - y)
        share = v_where_zero(share, share, share * v_abs(z))
        value[0] = (log1p_of_parts(parts.power, parts.r) + share) * weight
        derivative[0] = residual * weight


cdef inline inlined_void loss_of(
    int loss, vreal z, vreal y, vreal weight, vreal *value, vreal *derivative
) noexcept nogil:
    """A loss c(z, y) and dc/dz, both weighted; `loss` is a constant at every call."""
    cdef ScoreParts parts
    exp_parts(z, &parts.power, &parts.r)
    parts.small = logistic_of_parts(parts.power, parts.r)
    loss_of_parts(loss, z, y, weight, &parts, value, derivative)
