# The fused pass over a small X that was packed once into panels.
#
# A panel holds the rows of PANEL registers, column by column: the loops over features then
# have registers of rows as their only inner length, so no row length is a bad one, and the
# scores of a panel never leave the registers. Rows that fill no panel come in panels of one
# register; what pads the last of them weighs nothing.

cdef enum:
    FEW = 4     # parameters that `narrow_panels` has at most
    # Registers of rows whose sums are added to those of all rows in float64: of `narrow_panels`,
    # which adds them one by one, and of `panels`, which adds them panel by panel.
    NARROW_SUM = SUM_REGISTERS // 2
    PANELS_SUM = SUM_REGISTERS * PANEL


cdef struct PanelRows:
    const real *x
    const real *y
    const real *weights
    Py_ssize_t registers


cdef inline PanelRows panel_rows(Pass *p, Py_ssize_t k) noexcept nogil:
    cdef PanelRows rows
    rows.x, rows.y = p.x.panels, p.packed.y + k * p.packed.step
    rows.weights, rows.registers = p.packed.weights, p.packed.step // LANES
    return rows


cdef inline inlined_void skip_registers(
    PanelRows *rows, Py_ssize_t d, Py_ssize_t count
) noexcept nogil:
    rows.x += count * d * LANES
    rows.y += count * LANES
    rows.weights += count * LANES
    rows.registers -= count


cdef inline inlined_void weighted_losses(
    int loss, Py_ssize_t registers, vreal *z, const real *y, const real *s, vreal *value,
    vreal *bias
) noexcept nogil:
    """Scores become s dc/dz for a constant number of registers of rows.

    Adds to the value and to the intercept's gradient.
    """
    # Step by step for all of them: each waits through a chain of 60 operations, and a processor
    # looks ahead over three such at most. 64 -> 55 ns an epoch of 100 x 2 (Zen 5).
    cdef Py_ssize_t i
    cdef vreal c
    cdef ScoreParts[PANEL] parts
    for i in range(registers):
        exp_parts(z[i], &parts[i].power, &parts[i].r)
    for i in range(registers):
        parts[i].small = logistic_of_parts(parts[i].power, parts[i].r)
    for i in range(registers):
        loss_of_parts(loss, z[i], v_load(y + i * LANES), v_load(s + i * LANES), &parts[i], &c,
                      &z[i])
        value[0] = value[0] + c
        bias[0] = bias[0] + z[i]


cdef inline inlined_void add_panel(const vreal *g, const real *x, real *sum_) noexcept nogil:
    cdef vreal total = g[0] * v_load(x)
    total = total + g[1] * v_load(x + LANES)
    total = total + g[2] * v_load(x + 2 * LANES)
    total = total + g[3] * v_load(x + 3 * LANES)
    # As in `rows_sum` of dot_axpy.h.
    v_store(sum_, v_load(sum_) + v_rounded(total))


cdef inline inlined_void add_scores(vreal weight, const real *x, vreal *z) noexcept nogil:
    z[0] = z[0] + weight * v_load(x)
    z[1] = z[1] + weight * v_load(x + LANES)
    z[2] = z[2] + weight * v_load(x + 2 * LANES)
    z[3] = z[3] + weight * v_load(x + 3 * LANES)


cdef inline inlined_void panels(
    int loss, PanelRows rows, Py_ssize_t d, const real *theta, real *sums, double *losses
) noexcept nogil:
    """Sum of the losses of one neuron; sums[j * LANES:] gets a register for each gradient.

    As in theta the intercept is the last parameter, at j = d; up to whole registers there are
    zeros.
    """
    cdef Py_ssize_t j, step = PANEL * LANES
    cdef double total = 0
    cdef const real *x
    cdef bint more
    cdef vreal value, panel_bias, bias = v_set(0), b = v_set(theta[d])
    cdef vreal[PANEL] z, g
    # By registers, as they will be loaded.
    for j in range(round_up(d + 1, LANES)):
        v_store(sums + j * LANES, v_set(0))
    z[0] = z[1] = z[2] = z[3] = b
    for j in range(d if PANEL <= rows.registers else 0):
        add_scores(v_set(theta[j]), rows.x + j * step, z)
    while PANEL <= rows.registers:
        value = panel_bias = v_set(0)
        for j in range(PANEL):
            g[j] = z[j]
            z[j] = b
        weighted_losses(loss, PANEL, g, rows.y, rows.weights, &value, &panel_bias)
        total += v_sum(value)
        bias = bias + v_rounded(panel_bias)
        x = rows.x
        skip_registers(&rows, d, PANEL)
        more = PANEL <= rows.registers
        # The scores of the next panel come from L2, the sums of this from L1: in one loop neither
        # waits for the other.
        for j in range(d if more else 0):
            add_scores(v_set(theta[j]), rows.x + j * step, z)
            add_panel(g, x + j * step, sums + j * LANES)
        for j in range(0 if more else d):
            add_panel(g, x + j * step, sums + j * LANES)
    while rows.registers:
        z[0] = b
        z[1] = z[2] = z[3] = value = v_set(0)
        x = rows.x
        j = 0
        while j + PANEL <= d:
            z[0] = z[0] + v_set(theta[j]) * v_load(x + j * LANES)
            z[1] = z[1] + v_set(theta[j + 1]) * v_load(x + (j + 1) * LANES)
            z[2] = z[2] + v_set(theta[j + 2]) * v_load(x + (j + 2) * LANES)
            z[3] = z[3] + v_set(theta[j + 3]) * v_load(x + (j + 3) * LANES)
            j += PANEL
        while j < d:
            z[0] = z[0] + v_set(theta[j]) * v_load(x + j * LANES)
            j += 1
        z[0] = (z[0] + z[1]) + (z[2] + z[3])
        weighted_losses(loss, 1, z, rows.y, rows.weights, &value, &bias)
        total += v_sum(value)
        for j in range(d):
            v_store(sums + j * LANES, v_load(sums + j * LANES) + z[0] * v_load(x + j * LANES))
        skip_registers(&rows, d, 1)
    v_store(sums + d * LANES, bias)
    losses[0] = total


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


cdef inline inlined_void add_registers(
    int loss, Py_ssize_t d, Py_ssize_t registers, const PanelRows *rows, const vreal *w,
    vreal *sums, vreal *value
) noexcept nogil:
    """Add the losses and gradients of so many registers of rows: a panel, or single ones."""
    cdef Py_ssize_t row = LANES if registers == PANEL else d * LANES
    cdef Py_ssize_t column = PANEL * LANES if registers == PANEL else LANES
    cdef Py_ssize_t i, j
    cdef vreal[PANEL] z
    for i in range(registers):
        z[i] = w[d]
        for j in range(d):
            z[i] = z[i] + w[j] * v_load(rows.x + i * row + j * column)
    weighted_losses(loss, registers, z, rows.y, rows.weights, value, sums + d)
    for i in range(registers):
        for j in range(d):
            sums[j] = sums[j] + z[i] * v_load(rows.x + i * row + j * column)


cdef inline inlined_void narrow_panels(
    int loss, Py_ssize_t d, PanelRows rows, const vreal *w, vreal *sums, bint repeated,
    double *losses
) noexcept nogil:
    """As `panels`, for a constant number of features below FEW, with registers of equal weights.

    Where each four lanes hold the same rows, as those of one register may, they count once.
    `w` and `sums`, of which the last is the intercept's, never leave the registers: what is
    stored and loaded again comes 12 cycles later, and an epoch of 4 x 2 takes about 100 (Zen 5).
    """
    cdef Py_ssize_t r, done = 0
    cdef bint long_sum = REAL_SIZE == 4 and rows.registers >= NARROW_SUM
    cdef double total = 0
    cdef double[FEW] totals
    cdef real[MAX_LANES] lanes
    cdef vreal value = v_set(0)
    for r in range(d + 1):
        sums[r] = v_set(0)
        totals[r] = 0
    while PANEL <= rows.registers:
        add_registers(loss, d, PANEL, &rows, w, sums, &value)
        skip_registers(&rows, d, PANEL)
        done += PANEL
        if done % NARROW_SUM == 0:
            total += v_sum(value)
            value = v_set(0)
            for r in range(d + 1 if REAL_SIZE == 4 else 0):
                totals[r] += v_sum(sums[r])
                sums[r] = v_set(0)
    if rows.registers == 1:
        add_registers(loss, d, 1, &rows, w, sums, &value)
    elif rows.registers == 2:
        add_registers(loss, d, 2, &rows, w, sums, &value)
    elif rows.registers == 3:
        add_registers(loss, d, 3, &rows, w, sums, &value)
    losses[0] = total + (v_first(v_sum_fours(value)) if repeated else v_sum(value))
    if long_sum:
        v_store(lanes, v_set(0))
        for r in range(d + 1):
            lanes[0] = <real>(totals[r] + v_sum(sums[r]))
            sums[r] = v_load(lanes)


cdef inline inlined_void narrow_sums(
    int loss, Py_ssize_t d, Pass *p, Py_ssize_t k, real scale, double *losses
) noexcept nogil:
    """As `packed_sums`, for a constant number of features below FEW."""
    cdef Py_ssize_t j
    cdef vreal[FEW] w, sums
    for j in range(d + 1):
        w[j] = v_set(p.w.theta[k * p.w.length + j])
    narrow_panels(loss, d, panel_rows(p, k), w, sums, False, losses)
    for j in range(d + 1):
        p.sums.total[k * p.w.length + j] = v_sum(sums[j]) * scale


cdef inline inlined_void packed_sums(
    int loss, Pass *p, Py_ssize_t k, real scale, double *losses
) noexcept nogil:
    """The sum of the losses of one neuron, and its gradient times `scale` into `total`."""
    cdef Py_ssize_t d = p.x.d, j
    cdef real *grad = p.sums.total + k * p.w.length
    cdef double *total = p.sums.sums
    cdef double part
    cdef PanelRows rows = panel_rows(p, k), some
    if SCHUSS_NARROW_PANELS and d == 1:
        narrow_sums(loss, 1, p, k, scale, losses)
    elif SCHUSS_NARROW_PANELS and d == 2:
        narrow_sums(loss, 2, p, k, scale, losses)
    elif SCHUSS_NARROW_PANELS and d == 3:
        narrow_sums(loss, 3, p, k, scale, losses)
    else:
        losses[0] = 0
        while rows.registers:
            some = rows
            if REAL_SIZE == 4:
                some.registers = min(<Py_ssize_t>PANELS_SUM, rows.registers)
            panels(loss, some, d, p.w.theta + k * p.w.length, p.packed.sums, &part)
            losses[0] += part
            if some.registers == p.packed.step // LANES:
                sums_of(p.packed.sums, d + 1, scale, grad)
                return
            sums_of(p.packed.sums, d + 1, 1, grad)
            for j in range(d + 1):
                total[j] = grad[j] if some.x == p.x.panels else total[j] + grad[j]
            skip_registers(&rows, d, some.registers)
        for j in range(d + 1):
            grad[j] = <real>(total[j] * scale)


cdef double packed_pass(Pass *p, double factor) noexcept nogil:
    """Value at `theta`; the gradient is left in `sums.total`."""
    cdef Py_ssize_t k
    cdef real scale = <real>factor
    cdef double value = 0, losses
    for k in range(p.w.K):
        # The loss is a constant in each call, so the loops hold no branch on it.
        if p.loss == LOSS_SQUARED_ERROR:
            packed_sums(LOSS_SQUARED_ERROR, p, k, scale, &losses)
        elif p.loss == LOSS_LOG_LOSS:
            packed_sums(LOSS_LOG_LOSS, p, k, scale, &losses)
        else:
            packed_sums(LOSS_QUADRATIC, p, k, scale, &losses)
        value += losses
        if check_signals(p.team, 0, p.x.n * p.x.d):
            return 0
    return value * factor
