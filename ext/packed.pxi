# The fused pass over a small X that was packed once into panels.
#
# A panel holds the rows of PANEL registers, column by column: the loops over features then
# have registers of rows as their only inner length, so no row length is a bad one, and the
# scores of a panel never leave the registers. Rows that fill no panel come in panels of one
# register; what pads the last of them weighs nothing.

cdef inline vreal weighted_cost(
    int loss, vreal z, const real *y, const real *s, vreal *value, vreal *bias
) noexcept nogil:
    """s dc/dz for a register of rows; adds to the value and to the intercept's gradient."""
    cdef vreal c, g, weight = v_load(s)
    cost(loss, z, v_load(y), &c, &g)
    g = g * weight
    value[0] = value[0] + c * weight
    bias[0] = bias[0] + g
    return g


cdef inline double panels(
    int loss, const real *x, Py_ssize_t registers, Py_ssize_t d, const real *y, const real *s,
    const real *theta, real *sums,
) noexcept nogil:
    """Sum of the cost of one neuron; sums[j * LANES:] gets a register for each gradient.

    As in theta the intercept is the last parameter, at j = d.
    """
    cdef Py_ssize_t j, i = 0
    cdef double total = 0
    cdef const real *column
    cdef vreal z0, z1, z2, z3, s0, s1, s2, s3, f, value, bias = v_set(0), b = v_set(theta[d])
    for j in range(round_up(d + 1, LANES)):
        v_store(sums + j * LANES, v_set(0))
    while i + PANEL <= registers:
        z0 = z1 = z2 = z3 = b
        s0 = s1 = s2 = s3 = v_set(0)
        column = x
        j = 0
        # Two columns at a time: one chain of additions would wait for each of its links.
        while j + 2 <= d:
            f = v_set(theta[j])
            z0 = z0 + f * v_load(column)
            z1 = z1 + f * v_load(column + LANES)
            z2 = z2 + f * v_load(column + 2 * LANES)
            z3 = z3 + f * v_load(column + 3 * LANES)
            f = v_set(theta[j + 1])
            s0 = s0 + f * v_load(column + 4 * LANES)
            s1 = s1 + f * v_load(column + 5 * LANES)
            s2 = s2 + f * v_load(column + 6 * LANES)
            s3 = s3 + f * v_load(column + 7 * LANES)
            column += 2 * PANEL * LANES
            j += 2
        if j < d:
            f = v_set(theta[j])
            z0 = z0 + f * v_load(column)
            z1 = z1 + f * v_load(column + LANES)
            z2 = z2 + f * v_load(column + 2 * LANES)
            z3 = z3 + f * v_load(column + 3 * LANES)
        z0, z1, z2, z3 = z0 + s0, z1 + s1, z2 + s2, z3 + s3
        value = v_set(0)
        z0 = weighted_cost(loss, z0, y, s, &value, &bias)
        z1 = weighted_cost(loss, z1, y + LANES, s + LANES, &value, &bias)
        z2 = weighted_cost(loss, z2, y + 2 * LANES, s + 2 * LANES, &value, &bias)
        z3 = weighted_cost(loss, z3, y + 3 * LANES, s + 3 * LANES, &value, &bias)
        total += v_sum(value)
        for j in range(d):
            f = v_load(sums + j * LANES) + z0 * v_load(x)
            value = z1 * v_load(x + LANES)
            f = f + z2 * v_load(x + 2 * LANES)
            value = value + z3 * v_load(x + 3 * LANES)
            v_store(sums + j * LANES, f + value)
            # Of the next panel: the second cache is a few cycles too far away.
            prefetch(x + d * PANEL * LANES)
            prefetch(x + d * PANEL * LANES + LANES)
            prefetch(x + d * PANEL * LANES + 2 * LANES)
            prefetch(x + d * PANEL * LANES + 3 * LANES)
            x += PANEL * LANES
        y += PANEL * LANES
        s += PANEL * LANES
        i += PANEL
    while i < registers:
        z0 = b
        for j in range(d):
            z0 = z0 + v_set(theta[j]) * v_load(x + j * LANES)
        value = v_set(0)
        z0 = weighted_cost(loss, z0, y, s, &value, &bias)
        total += v_sum(value)
        for j in range(d):
            v_store(sums + j * LANES, v_load(sums + j * LANES) + z0 * v_load(x))
            x += LANES
        y += LANES
        s += LANES
        i += 1
    v_store(sums + d * LANES, bias)
    return total


cdef inline double packed_sums(int loss, Problem *p, Py_ssize_t k) noexcept nogil:
    return panels(
        loss, p.x.panels, p.padded_step // LANES, p.x.d, p.padded_targets + k * p.padded_step,
        p.padded_weights, p.theta + k * p.span, p.partial,
    )


cdef inline void sums_of(
    const real *parts, Py_ssize_t count, real scale, real *out
) noexcept nogil:
    """out[j] = scale times the sum of register j, in whole registers.

    What takes the step loads them so: sums stored one by one would be waited for.
    """
    cdef Py_ssize_t j = 0, q
    cdef const real *part
    cdef vreal[4] folded
    while LANES >= 4 and j < count:
        for q in range(LANES // 4):
            part = parts + (j + 4 * q) * LANES
            folded[q] = v_fold4(v_load(part), v_load(part + LANES), v_load(part + 2 * LANES),
                                v_load(part + 3 * LANES))
        v_store(out + j, v_join(folded) * v_set(scale))
        j += LANES
    while j < count:
        out[j] = v_sum(v_load(parts + j * LANES)) * scale
        j += 1


cdef double packed_pass(Problem *p, double factor) noexcept nogil:
    """Value at `theta`; the gradient is left in `total`."""
    cdef Py_ssize_t k
    cdef real scale = <real>factor
    cdef double value = 0
    for k in range(p.K):
        # The loss is a constant in each call, so the loops hold no branch on it.
        if p.loss == LOSS_SQUARED_ERROR:
            value += packed_sums(LOSS_SQUARED_ERROR, p, k)
        elif p.loss == LOSS_LOG_LOSS:
            value += packed_sums(LOSS_LOG_LOSS, p, k)
        else:
            value += packed_sums(LOSS_QUADRATIC, p, k)
        sums_of(p.partial, p.x.d + 1, scale, p.total + k * p.span)
    return value * factor
