# The fused pass over a small X that was packed once into panels.
#
# A panel holds the rows of PANEL registers, column by column: the loops over features then
# have registers of rows as their only inner length, so no row length is a bad one, and the
# scores of a panel never leave the registers. Rows that fill no panel come in panels of one
# register; what pads the last of them weighs nothing.

cdef enum:
    FEW = 4     # gradients that `narrow_panels` has: one fold of registers


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


cdef inline inlined_void add_panel(
    vreal g0, vreal g1, vreal g2, vreal g3, const real *x, real *sum_
) noexcept nogil:
    cdef vreal even = v_load(sum_) + g0 * v_load(x), odd = g1 * v_load(x + LANES)
    even = even + g2 * v_load(x + 2 * LANES)
    odd = odd + g3 * v_load(x + 3 * LANES)
    v_store(sum_, even + odd)


cdef inline inlined_void panels(
    int loss, const real *x, Py_ssize_t registers, Py_ssize_t d, const real *y, const real *s,
    const real *theta, real *sums, Py_ssize_t size, double *costs,
) noexcept nogil:
    """Sum of the costs of one neuron; sums[j * LANES:] gets a register for each gradient.

    As in theta the intercept is the last parameter, at j = d; up to `size` there are zeros.
    """
    cdef Py_ssize_t j, i = 0
    cdef double total = 0
    cdef const real *column = x
    cdef vreal z0, z1, z2, z3, g0, g1, g2, g3, f, value, bias = v_set(0), b = v_set(theta[d])
    for j in range(size):
        v_store(sums + j * LANES, v_set(0))
    z0 = z1 = z2 = z3 = b
    if PANEL <= registers:
        for j in range(d):
            f = v_set(theta[j])
            z0 = z0 + f * v_load(column)
            z1 = z1 + f * v_load(column + LANES)
            z2 = z2 + f * v_load(column + 2 * LANES)
            z3 = z3 + f * v_load(column + 3 * LANES)
            column += PANEL * LANES
    while i + PANEL <= registers:
        value = v_set(0)
        g0 = weighted_cost(loss, z0, y, s, &value, &bias)
        g1 = weighted_cost(loss, z1, y + LANES, s + LANES, &value, &bias)
        g2 = weighted_cost(loss, z2, y + 2 * LANES, s + 2 * LANES, &value, &bias)
        g3 = weighted_cost(loss, z3, y + 3 * LANES, s + 3 * LANES, &value, &bias)
        total += v_sum(value)
        y += PANEL * LANES
        s += PANEL * LANES
        i += PANEL
        z0 = z1 = z2 = z3 = b
        # The scores of the next panel come from the second cache, the sums of this from the
        # first: in one loop neither waits for the other.
        for j in range(d if i + PANEL <= registers else 0):
            f = v_set(theta[j])
            z0 = z0 + f * v_load(column)
            z1 = z1 + f * v_load(column + LANES)
            z2 = z2 + f * v_load(column + 2 * LANES)
            z3 = z3 + f * v_load(column + 3 * LANES)
            column += PANEL * LANES
            add_panel(g0, g1, g2, g3, x, sums + j * LANES)
            x += PANEL * LANES
        for j in range(0 if i + PANEL <= registers else d):
            add_panel(g0, g1, g2, g3, x, sums + j * LANES)
            x += PANEL * LANES
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
    costs[0] = total


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


cdef inline inlined_void narrow_panels(
    int loss, Problem *p, Py_ssize_t d, Py_ssize_t k, real scale, double *costs
) noexcept nogil:
    """As `packed_sums`, for a constant number of features below FEW."""
    # They never leave the registers: what is stored and loaded again comes 12 cycles later
    # (Zen 5), of 190 that an epoch of 4 x 2 took.
    cdef real[FEW * MOST_LANES] sums
    cdef vreal[4] folded
    cdef Py_ssize_t j
    panels(loss, p.x.panels, p.padded_step // LANES, d, p.padded_targets + k * p.padded_step,
           p.padded_weights, p.theta + k * p.span, sums, FEW, costs)
    if LANES >= 4:
        folded[0] = v_fold4(v_load(sums), v_load(sums + LANES), v_load(sums + 2 * LANES),
                            v_load(sums + 3 * LANES))
        folded[1] = folded[2] = folded[3] = v_set(0)
        v_store(p.total + k * p.span, v_join(folded) * v_set(scale))
    else:
        for j in range(d + 1):
            p.total[k * p.span + j] = v_sum(v_load(sums + j * LANES)) * scale


cdef inline inlined_void packed_sums(
    int loss, Problem *p, Py_ssize_t k, real scale, double *costs
) noexcept nogil:
    """The sum of the costs of one neuron, and its gradient times `scale` into `total`."""
    cdef Py_ssize_t d = p.x.d
    if d == 1:
        narrow_panels(loss, p, 1, k, scale, costs)
    elif d == 2:
        narrow_panels(loss, p, 2, k, scale, costs)
    elif d == 3:
        narrow_panels(loss, p, 3, k, scale, costs)
    else:
        panels(loss, p.x.panels, p.padded_step // LANES, d,
               p.padded_targets + k * p.padded_step, p.padded_weights, p.theta + k * p.span,
               p.partial, round_up(d + 1, LANES), costs)
        sums_of(p.partial, d + 1, scale, p.total + k * p.span)


cdef double packed_pass(Problem *p, double factor) noexcept nogil:
    """Value at `theta`; the gradient is left in `total`."""
    cdef Py_ssize_t k
    cdef real scale = <real>factor
    cdef double value = 0, costs
    for k in range(p.K):
        # The loss is a constant in each call, so the loops hold no branch on it.
        if p.loss == LOSS_SQUARED_ERROR:
            packed_sums(LOSS_SQUARED_ERROR, p, k, scale, &costs)
        elif p.loss == LOSS_LOG_LOSS:
            packed_sums(LOSS_LOG_LOSS, p, k, scale, &costs)
        else:
            packed_sums(LOSS_QUADRATIC, p, k, scale, &costs)
        value += costs
    return value * factor
