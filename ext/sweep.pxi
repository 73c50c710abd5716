# `sweep` of the contract: stochastic gradient descent, a step for each row before the next.
# The weights are `scale * w`, padded to whole registers; see docs/internals/kernels.md.
#
# With `in_order` sums are added and products rounded as in scikit-learn, so that weights have its
# bits: the path of long steps is chaotic, and a last bit becomes another model.

cdef extern from "exponential.h" nogil:
    double fast_exp(double x)
    void fill_parts()

cdef extern from "math.h" nogil:
    double exp(double x)

fill_parts()

cdef enum:
    # Rows are prefetched into L2 by about so many bytes ahead, within these numbers of rows.
    SWEEP_AHEAD_BYTES = 8192
    MIN_ROWS_AHEAD = 2
    MAX_ROWS_AHEAD = 16
    # What a row costs besides its own elements.
    ROW_ELEMENTS = 16
    SWAPS_PER_CHECK = 1 << 20
    # Log-losses whose logarithms are taken together.
    PENDING_LOSSES = 64
    # Longest rows with look-ahead: its second dot product costs more than the wait that it
    # saves at d = 100 in float64.
    LOOK_AHEAD_BYTES = 512


cdef struct Sweeper:
    # One neuron, while it is trained.
    Pass *p
    SGDConfig config
    SGDScalars *state
    Py_ssize_t neuron
    int64_t thread
    real *w
    real *average           # NULL without averages
    real *l1_applied        # cumulative L1 penalty that each weight has had; NULL without l1
    real *row_copy          # where a row goes that cannot be read in place
    int32_t *order
    const uint8_t *held_out
    double positive_weight  # of rows whose target is positive
    double other_weight
    Py_ssize_t in_place     # rows before this one are read where they lie
    Py_ssize_t rows_ahead   # from the row at work to the one to prefetch
    vreal tail              # 1 in the lanes of the last register that belong to a row, else 0
    bint penalised          # the objective needs the norms of the weights


cdef struct Row:
    const real *x           # all d entries of a dense row, or those that a sparse one stores
    Py_ssize_t count
    const void *indices     # of a sparse row's entries
    const real *later       # a dense row to prefetch


cdef struct Norms:
    double squares
    double absolutes


cdef struct LookAhead:
    # The score of the next row as far as it does not depend on this row's derivative.
    Py_ssize_t next         # the row, -1 where it has to wait
    real[4] dots            # of the next row with the weights and with this row
    Py_ssize_t ready        # the row whose score is at hand, or -1
    double score


# --------------------------------------------------------------------- losses

cdef inline double row_loss(
    const SGDConfig *config, double p, double y, double *derivative
) noexcept nogil:
    """Loss of a row, and its derivative with respect to the score p."""
    cdef double threshold = config.parameter, z = p * y
    if config.loss == ROWLOSS_HINGE:
        derivative[0] = -y if z <= threshold else 0
        return threshold - z if z <= threshold else 0
    if config.loss == ROWLOSS_SQUARED_HINGE:
        z = threshold - z if threshold - z > 0 else 0
        derivative[0] = -2 * y * z
        return z * z
    if config.loss == ROWLOSS_MODIFIED_HUBER:
        derivative[0] = 0 if z >= 1 else (-2 * (1 - z) * y if z >= -1 else -4 * y)
        return 0 if z >= 1 else ((1 - z) * (1 - z) if z >= -1 else -4 * z)
    z = p - y
    if config.loss == ROWLOSS_SQUARED_ERROR or (
        config.loss == ROWLOSS_HUBER and fabs(z) <= threshold
    ):
        derivative[0] = z
        return 0.5 * z * z
    if config.loss == ROWLOSS_HUBER:
        derivative[0] = threshold if z >= 0 else -threshold
        return threshold * (fabs(z) - 0.5 * threshold)
    # Epsilon-insensitive. The sign of NaN must not make it a zero.
    if fabs(z) <= threshold:
        derivative[0] = 0
        return 0
    if config.loss == ROWLOSS_EPSILON_INSENSITIVE:
        derivative[0] = 1 if z > 0 else (-1 if z < 0 else 0)
        return fabs(z) - threshold
    derivative[0] = 2 * (z - threshold) if z > 0 else 2 * (z + threshold)
    return (fabs(z) - threshold) * (fabs(z) - threshold)


cdef inline double log_loss(double p, double y, double *derivative, real *e_) noexcept nogil:
    """Log-loss of a row but for ``log(1 + min(e, 1 / e))``, and its derivative.

    The next row waits for the derivative, so its latency counts. The logarithms are left for
    whole registers of rows, and so is which of e and 1 / e is the smaller: `sum_logarithms`.
    """
    # For y = 0 and y = 1 the derivative is sigma(q) and -sigma(q), without a difference.
    cdef double q = p if y == 0 else -p
    cdef double e = fast_exp(-q), sigma = 1 / (1 + e)
    e_[0] = <real>e
    if y == 0 or y == 1:
        derivative[0] = sigma if y == 0 else -sigma
        return max(q, 0.0)
    # Of soft targets.
    derivative[0] = (1 - sigma) * (1 - y) - sigma * y
    return max(p, 0.0) - p * y


cdef inline double log_loss_in_order(
    double p, double y, double *derivative, real *e_
) noexcept nogil:
    """`log_loss`, its derivative rounded as scikit-learn's."""
    cdef double e
    if p > -37:
        e = exp(-p)
        derivative[0] = ((1 - y) - rounded(y * e)) / (1 + e)
    else:
        e = exp(p)
        derivative[0] = e - y
    e_[0] = <real>e
    return max(p, 0.0) - p * y


cdef double sum_logarithms(real *e, Py_ssize_t count) noexcept nogil:
    """Sum of log(1 + min(e, 1 / e)) of up to PENDING_LOSSES rows."""
    cdef vreal total = v_set(0), v
    cdef Py_ssize_t j = 0
    memset(e + count, 0, (round_up(count, LANES) - count) * REAL_SIZE)
    while j < count:
        v = v_load(e + j)
        total = total + log1p_of_parts(v_min(v, v_set(1) / v), v_set(0))
        j += LANES
    return v_sum(total)


cdef inline double learning_rate(const SGDConfig *config, const SGDScalars *state) noexcept nogil:
    if config.schedule == SCHEDULE_OPTIMAL:
        return 1 / (config.alpha * (config.shift + state.t - 1))
    if config.schedule == SCHEDULE_INVSCALING:
        return config.eta0 / pow(state.t, config.power_t)
    return state.step


# --------------------------------------------------------------------- dense rows

cdef inline vreal load_row(const real *x, Py_ssize_t j, Py_ssize_t d, vreal tail) noexcept nogil:
    """A register of a row, zero beyond its end, whatever lies there."""
    return v_load(x + j) if j + LANES <= d else v_where_zero(tail, tail, v_load(x + j))


cdef inline void prefetch_row(const real *x, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t j = 0
    while j < count:
        prefetch_far(x + j)
        j += CACHE_LINE // REAL_SIZE
    prefetch_far(x + count - 1)


cdef inline double dense_dot(
    const real *w, const real *x, Py_ssize_t d, vreal tail, const real *later
) noexcept nogil:
    """w . x; prefetches the row at `later` on the way."""
    cdef Py_ssize_t j = 0
    cdef vreal a0, a1, a2, a3
    a0 = a1 = a2 = a3 = v_set(0)
    while j + 4 * LANES <= d:
        prefetch_row(later + j, 4 * LANES)
        a0 = a0 + v_load(w + j) * v_load(x + j)
        a1 = a1 + v_load(w + j + LANES) * v_load(x + j + LANES)
        a2 = a2 + v_load(w + j + 2 * LANES) * v_load(x + j + 2 * LANES)
        a3 = a3 + v_load(w + j + 3 * LANES) * v_load(x + j + 3 * LANES)
        j += 4 * LANES
    prefetch_row(later + j, d - j)
    while j < d:
        a0, a1 = a1, a0 + v_load(w + j) * load_row(x, j, d, tail)
        j += LANES
    return v_sum((a0 + a1) + (a2 + a3))


cdef inline double dot_in_order(
    const real *w, const real *x, Py_ssize_t d, vreal tail, const real *later
) noexcept nogil:
    """`dense_dot` from the first product to the last."""
    cdef real[MAX_LANES] products
    cdef double total = 0
    cdef Py_ssize_t j = 0, k
    prefetch_row(later, d)
    while j < d:
        v_store(products, v_rounded(v_load(w + j) * load_row(x, j, d, tail)))
        for k in range(min(LANES, d - j)):
            total += products[k]
        j += LANES
    return total


cdef inline inlined_void dense_dots(
    const real *w, const Row *row, const real *next, Py_ssize_t d, vreal tail, real *dots
) noexcept nogil:
    """w . next and x . next."""
    cdef vreal a0, a1, b0, b1, v
    cdef Py_ssize_t j = 0
    a0 = a1 = b0 = b1 = v_set(0)
    prefetch_row(row.later, d)
    while j < d:
        v = load_row(next, j, d, tail)
        a0, a1 = a1, a0 + v_load(w + j) * v
        # Beyond the end of a row v is zero, but what lies there may be no number.
        b0, b1 = b1, b0 + load_row(row.x, j, d, tail) * v
        j += LANES
    v_sum4(a0 + a1, b0 + b1, v_set(0), v_set(0), dots)


cdef inline inlined_void add_register(
    real *w, vreal product, bint l2, bint l1, vreal *squares, vreal *absolutes
) noexcept nogil:
    # Rounded before it is added, as in scikit-learn: a step and its opposite then cancel to the
    # same zero, which the perceptron's threshold tells.
    cdef vreal v = v_load(w) + v_rounded(product)
    v_store(w, v)
    if l2:
        squares[0] = squares[0] + v * v
    if l1:
        absolutes[0] = absolutes[0] + v_abs(v)


cdef inline inlined_void dense_add(
    real *w, const real *x, Py_ssize_t d, vreal tail, real factor, bint l2, bint l1, Norms *norms
) noexcept nogil:
    """w += factor x, and those norms of the new w that are wanted."""
    cdef vreal f = v_set(factor), s0, s1, b0, b1
    cdef Py_ssize_t j = 0
    s0 = s1 = b0 = b1 = v_set(0)
    while j + 2 * LANES <= d:
        add_register(w + j, f * v_load(x + j), l2, l1, &s0, &b0)
        add_register(w + j + LANES, f * v_load(x + j + LANES), l2, l1, &s1, &b1)
        j += 2 * LANES
    while j < d:
        add_register(w + j, f * load_row(x, j, d, tail), l2, l1, &s0, &b0)
        j += LANES
    if l2:
        norms.squares = v_sum(s0 + s1)
    if l1:
        norms.absolutes = v_sum(b0 + b1)


cdef void dense_l1(
    real *w, real *applied, Py_ssize_t d, double scale, double total, bint in_order
) noexcept nogil:
    """Apply the cumulative L1 penalty, as far as the weights have not had it yet."""
    cdef vreal zero = v_set(0), s = v_set(<real>scale), u = v_set(<real>total)
    cdef vreal inverse = v_set(<real>(1 / scale)), v, q, low, high
    cdef Py_ssize_t j = 0
    while j < d:
        v = v_load(w + j)
        q = v_load(applied + j)
        if in_order:
            high = v_max(zero, v - (u + q) / s)
            low = v_min(zero, v + (u - q) / s)
        else:
            high = v_max(zero, v - (u + q) * inverse)
            low = v_min(zero, v + (u - q) * inverse)
        high = v_where_zero(v, v, v_where_negative(v, low, high))
        v_store(w + j, high)
        v_store(applied + j, q + v_rounded(s * (high - v)))
        j += LANES


# --------------------------------------------------------------------- sparse rows

cdef inline void find_entries(
    index_t *indices, index_t *indptr, const real *values, Py_ssize_t at, Py_ssize_t later, Row *row
) noexcept nogil:
    """Where the entries of a row lie; prefetches those of a later row."""
    cdef Py_ssize_t start = indptr[at], i = indptr[later], stop = indptr[later + 1]
    row.x, row.indices, row.count = values + start, indices + start, indptr[at + 1] - start
    while i < stop:
        prefetch_far(values + i)
        prefetch_far(indices + i)
        i += CACHE_LINE // REAL_SIZE


cdef inline void sparse_add(
    index_t *indices, const Row *row, real *w, double factor, Norms *norms
) noexcept nogil:
    """w += factor x; the norms are those of the weights that the row touches."""
    cdef Py_ssize_t j
    cdef real v
    norms.squares = norms.absolutes = 0
    for j in range(row.count):
        v = <real>(w[indices[j]] + rounded(row.x[j] * factor))
        w[indices[j]] = v
        norms.squares += v * v
        norms.absolutes += fabs(v)


cdef void sparse_l1(
    index_t *indices, Py_ssize_t count, real *w, real *applied, double scale, double total
) noexcept nogil:
    """As `dense_l1`, for the weights that a row touches."""
    cdef Py_ssize_t i, j
    cdef double z, v
    for i in range(count):
        j = indices[i]
        z = v = w[j]
        if z > 0:
            v = max(0., z - (total + applied[j]) / scale)
        elif z < 0:
            v = min(0., z + (total - applied[j]) / scale)
        w[j] = <real>v
        applied[j] = <real>(applied[j] + rounded(scale * (w[j] - z)))


cdef inline double sparse_dot_in_order(
    index_t *indices, const Row *row, const real *w
) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t j
    for j in range(row.count):
        total += rounded(w[indices[j]] * row.x[j])
    return total


cdef inline void sparse_average_in_order(
    index_t *indices, const Row *row, real *average, double share, double factor
) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(row.count):
        average[indices[j]] += <real>rounded(rounded(share * row.x[j]) * factor)


# --------------------------------------------------------------------- rows of any layout

cdef inline inlined_void point_at_row(
    const Sweeper *s, Py_ssize_t at, Py_ssize_t later, Row *row
) noexcept nogil:
    """Point at the entries of a row, prefetch what belongs to a later one."""
    cdef Pass *p = s.p
    if p.targets.soft != NULL:
        prefetch_far(p.targets.soft + s.neuron * p.targets.step + later)
    elif p.targets.codes_8 != NULL:
        prefetch_far(p.targets.codes_8 + later)
    if p.targets.weights != NULL:
        prefetch_far(p.targets.weights + later)
    if p.x.layout != SPARSE:
        row.x, row.count = <const real *>(p.x.base + at * p.x.row_stride), p.x.d
        row.later = <const real *>(p.x.base + later * p.x.row_stride)
        if at >= s.in_place:
            convert(s.row_copy, <const char *>row.x, p.x.d, p.x.column_stride, p.x.kind)
            row.x = s.row_copy
    elif p.x.index_size == 4:
        find_entries(<int32_t *>p.x.indices, <int32_t *>p.x.indptr, p.x.values, at, later, row)
    else:
        find_entries(<int64_t *>p.x.indices, <int64_t *>p.x.indptr, p.x.values, at, later, row)


cdef inline double score_row(const Sweeper *s, const Row *row) noexcept nogil:
    if s.config.in_order:
        if s.p.x.layout != SPARSE:
            return dot_in_order(s.w, row.x, row.count, s.tail, row.later)
        if s.p.x.index_size == 4:
            return sparse_dot_in_order(<int32_t *>row.indices, row, s.w)
        return sparse_dot_in_order(<int64_t *>row.indices, row, s.w)
    if s.p.x.layout != SPARSE:
        return dense_dot(s.w, row.x, row.count, s.tail, row.later)
    if s.p.x.index_size == 4:
        return entries_dot(<int32_t *>row.indices, row.x, 0, <int32_t>row.count, s.w)
    return entries_dot(<int64_t *>row.indices, row.x, 0, <int64_t>row.count, s.w)


cdef inline inlined_void add_row(
    const Sweeper *s, const Row *row, real *target, double factor, Norms *norms
) noexcept nogil:
    """target += factor x, and where `norms` is not NULL, norms of the new target."""
    cdef Norms unused
    if s.p.x.layout == SPARSE:
        if s.p.x.index_size == 4:
            sparse_add(<int32_t *>row.indices, row, target, factor, norms if norms else &unused)
        else:
            sparse_add(<int64_t *>row.indices, row, target, factor, norms if norms else &unused)
    elif norms == NULL or not s.penalised:
        dense_add(target, row.x, row.count, s.tail, <real>factor, False, False, norms)
    elif s.config.l1 > 0:
        dense_add(target, row.x, row.count, s.tail, <real>factor, True, True, norms)
    else:
        dense_add(target, row.x, row.count, s.tail, <real>factor, True, False, norms)


cdef inline inlined_void average_in_order(
    const Sweeper *s, const Row *row, double share, double factor
) noexcept nogil:
    """average += (share x) factor, each product rounded."""
    cdef vreal v, a = v_set(<real>share), f = v_set(<real>factor)
    cdef Py_ssize_t j = 0
    if s.p.x.layout != SPARSE:
        while j < row.count:
            v = v_rounded(v_rounded(a * load_row(row.x, j, row.count, s.tail)) * f)
            v_store(s.average + j, v_load(s.average + j) + v)
            j += LANES
    elif s.p.x.index_size == 4:
        sparse_average_in_order(<int32_t *>row.indices, row, s.average, share, factor)
    else:
        sparse_average_in_order(<int64_t *>row.indices, row, s.average, share, factor)


cdef inline inlined_void apply_l1(
    const Sweeper *s, const Row *row, double scale, double total
) noexcept nogil:
    if s.p.x.layout != SPARSE:
        dense_l1(s.w, s.l1_applied, row.count, scale, total, s.config.in_order)
    elif s.p.x.index_size == 4:
        sparse_l1(<int32_t *>row.indices, row.count, s.w, s.l1_applied, scale, total)
    else:
        sparse_l1(<int64_t *>row.indices, row.count, s.w, s.l1_applied, scale, total)


cdef inline double squared_norm(const Row *row) noexcept nogil:
    cdef Py_ssize_t j
    cdef double total = 0
    for j in range(row.count):
        total += rounded(<double>row.x[j] * row.x[j])
    return total


cdef inline double target(Pass *p, Py_ssize_t neuron, Py_ssize_t row, double low) noexcept nogil:
    cdef double y = target_of(&p.targets, neuron, row)
    return low if p.targets.soft == NULL and y == 0 else y


# --------------------------------------------------------------------- a step

cdef inline bint passive_step(
    const SGDConfig *config, const Row *row, double loss, double residual, double y,
    double *update
) noexcept nogil:
    """Step of PA1 or PA2 along the row; returns whether the row allows one."""
    cdef double size = squared_norm(row)
    if config.schedule == SCHEDULE_PA1:
        if size == 0:
            return False
        update[0] = min(config.eta0, loss / size)
    else:
        update[0] = loss / (size + 0.5 / config.eta0)
    if config.loss == ROWLOSS_HINGE:
        update[0] *= y
    elif residual < 0:
        update[0] = -update[0]
    return True


cdef void fold_scale(Sweeper *s, double scale, double share, double whole) noexcept nogil:
    """Multiply the scale into the weights and their averages, before it underflows."""
    cdef Py_ssize_t j
    if s.average != NULL:
        for j in range(s.p.x.d):
            s.average[j] = <real>((s.average[j] + share * s.w[j]) / whole)
    for j in range(s.p.x.d):
        s.w[j] *= <real>scale


cdef inline bint shrink_weights(Sweeper *s, SGDScalars *state) noexcept nogil:
    """Multiply the weights by 1 - learning rate * l2; returns whether they were rewritten."""
    cdef double decrease = (1 - s.config.l1_ratio) * state.step * s.config.alpha
    cdef double factor = <real>max(0., 1 - rounded(decrease))
    state.scale *= factor
    state.squares *= factor * factor
    state.absolutes *= factor
    if state.scale < s.config.least_scale:
        fold_scale(s, state.scale, state.share, state.whole)
        state.scale, state.share, state.whole = 1, 0, 1
        return True
    return False


cdef inline inlined_void move(
    const Sweeper *s, const Row *row, double update, SGDScalars *state
) noexcept nogil:
    """Add the row to the weights, the averages too, and apply the L1 penalty."""
    cdef const SGDConfig *config = &s.config
    cdef double scale = state.scale, seen, factor
    cdef Norms norms
    norms.squares = norms.absolutes = 0
    # The reciprocal is at hand before the update is.
    factor = <real>update / scale if s.config.in_order else <real>update * (1 / scale)
    if update != 0:
        add_row(s, row, s.w, factor, &norms)
        state.squares = norms.squares * (scale * scale)
        state.absolutes = norms.absolutes * scale
        if config.fit_intercept:
            state.intercept += rounded(update * config.decay)
    if s.average != NULL and config.average_from <= state.t:
        seen = state.t - config.average_from + 1
        if update != 0 and s.config.in_order:
            average_in_order(s, row, state.share, -factor)
        elif update != 0:
            add_row(s, row, s.average, state.share * -factor, NULL)
        if seen > 1:
            state.whole /= 1 - 1 / seen
        state.share += rounded(1 / seen * state.whole * scale)
        state.average_intercept += (state.intercept - state.average_intercept) / seen
    if config.l1 > 0:
        state.l1_total += rounded(config.l1_ratio * state.step * config.alpha)
        apply_l1(s, row, scale, state.l1_total)


# --------------------------------------------------------------------- epochs

cdef int sweep_epoch(Sweeper *s, double *objective) noexcept nogil:
    """All rows once. Returns whether a signal's handler has raised on the way."""
    cdef Pass *p = s.p
    cdef const SGDConfig *config = &s.config
    cdef SGDScalars state = s.state[0]  # whose fields so may stay in registers
    cdef Py_ssize_t n = p.x.n, i, at, pending = 0, learnt = 0, budget = ELEMENTS_PER_CHECK
    cdef bint passive = config.schedule >= SCHEDULE_PA1, interrupted = False
    cdef double low = 0 if config.loss == ROWLOSS_LOG_LOSS else -1
    cdef double largest = config.largest_derivative
    cdef double total = 0, nonfinite = 0, y, score, loss, derivative = 0, update, weight
    cdef real[PENDING_LOSSES] e
    cdef Row row
    cdef LookAhead ahead
    # Not where a threshold might tell the rounding errors from those of a plain score.
    cdef bint looks_ahead = (
        not config.in_order and p.x.layout != SPARSE and config.loss == ROWLOSS_LOG_LOSS
        and config.l1 == 0 and p.x.d * REAL_SIZE <= LOOK_AHEAD_BYTES
    )
    memset(&row, 0, sizeof(row))
    ahead.next = ahead.ready = -1
    ahead.score = 0
    for i in range(n):
        at = s.order[i]
        if s.held_out != NULL and s.held_out[at]:
            continue
        point_at_row(s, at, s.order[min(i + s.rows_ahead, n - 1)], &row)
        budget -= row.count + ROW_ELEMENTS
        if budget < 0:
            budget = ELEMENTS_PER_CHECK
            if is_interrupted(s):
                interrupted = True
                break
        if ahead.ready == at:
            score = ahead.score
        else:
            score = <real>rounded(score_row(s, &row) * state.scale) + state.intercept
        nonfinite += 0 * score
        if looks_ahead:
            ahead.next = s.order[min(i + 1, n - 1)]
            if max(at, ahead.next) >= s.in_place:
                ahead.next = -1
            else:
                dense_dots(s.w, &row, <const real *>(p.x.base + ahead.next * p.x.row_stride),
                           p.x.d, s.tail, ahead.dots)
        y = target(p, s.neuron, at, low)
        state.step = learning_rate(config, &state)
        if config.loss == ROWLOSS_LOG_LOSS:
            if s.config.in_order:
                loss = log_loss_in_order(score, y, &derivative, e + pending)
            else:
                loss = log_loss(score, y, &derivative, e + pending)
            pending += 1
            if pending == PENDING_LOSSES:
                total += sum_logarithms(e, pending)
                pending = 0
        else:
            loss = row_loss(config, score, y, &derivative)
        total += loss
        if s.penalised:
            total += 0.5 * config.l2 * state.squares + config.l1 * state.absolutes
        learnt += 1
        weight = s.positive_weight if y > 0 else s.other_weight
        if p.targets.weights != NULL:
            weight *= p.targets.weights[at]
        if not passive:
            derivative = max(min(derivative, largest), -largest)
            update = -state.step * derivative
        elif not passive_step(config, &row, loss, y - score, y, &update):
            continue
        update *= weight
        if config.l2 > 0 and shrink_weights(s, &state):
            ahead.next = -1
        ahead.ready = ahead.next
        if ahead.next >= 0:
            ahead.score = ahead.dots[0] * state.scale + state.intercept - derivative * (
                state.step * weight * (ahead.dots[1] + config.fit_intercept * config.decay)
            )
        move(s, &row, update, &state)
        state.t += 1
    if not nonfinite == 0:
        state.nonfinite_score = 1
    s.state[0] = state
    objective[0] = (total + sum_logarithms(e, pending)) / max(learnt, 1)
    return interrupted


cdef bint is_interrupted(Sweeper *s) noexcept nogil:
    """After some hundredths of a second of work."""
    return check_signals(s.p.team, s.thread, ELEMENTS_PER_CHECK)


cdef bint swap_rows(Sweeper *s, int32_t *rows, Py_ssize_t n, uint32_t state) noexcept nogil:
    """The same swaps for the same state; a state of 0 would stay there.

    Returns whether it was interrupted.
    """
    cdef Py_ssize_t i
    cdef uint32_t j
    cdef int32_t row
    if state == 0:
        state = 1
    for i in range(n - 1):
        state ^= state << 13
        state ^= state >> 17
        state ^= state << 5
        j = <uint32_t>i + (state & 0x7fffffff) % <uint32_t>(n - i)
        row = rows[i]
        rows[i] = rows[j]
        rows[j] = row
        if (i + 1) % SWAPS_PER_CHECK == 0 and is_interrupted(s):
            return True
    return False


cdef bint is_finite(const Sweeper *s) noexcept nogil:
    cdef Py_ssize_t j = 0
    cdef vreal nonfinite = v_set(0)
    while j < s.p.x.d:
        nonfinite = nonfinite + v_set(0) * v_load(s.w + j)
        j += LANES
    return isfinite(s.state.intercept) and v_sum(nonfinite) == 0


cdef int judge_epoch(const Sweeper *s, double objective) noexcept nogil:
    """Status after an epoch; an adaptive schedule may lower the learning rate instead."""
    cdef SGDScalars *state = s.state
    cdef const SGDConfig *config = &s.config
    if not is_finite(s):
        return STATUS_NONFINITE
    if config.tol > -INFINITY and objective > state.best - config.tol:
        state.waited += 1
    else:
        state.waited = 0
    if objective < state.best:
        state.best = objective
    if state.waited < config.patience:
        return STATUS_RAN
    if config.schedule != SCHEDULE_ADAPTIVE or not state.step > config.least_step:
        return STATUS_CONVERGED
    state.step /= config.divisor
    state.waited = 0
    return STATUS_RAN


cdef void sweep_epochs(
    Sweeper *s, bint shuffled, uint32_t seed, int32_t *permutation, double *history,
    Py_ssize_t epochs,
) noexcept nogil:
    """One neuron's epochs, up to its end or an interruption."""
    cdef Py_ssize_t epoch, i, n = s.p.x.n
    cdef double objective = 0
    if shuffled and epochs > 1:
        # The swaps are the same in each epoch, and gathering is quicker than dividing.
        for i in range(n):
            permutation[i] = <int32_t>i
        if swap_rows(s, permutation, n, seed):
            return
    for epoch in range(epochs):
        if shuffled and epochs == 1:
            if swap_rows(s, s.order, n, seed):
                return
        elif shuffled:
            for i in range(n):
                permutation[n + i] = s.order[permutation[i]]
            memcpy(s.order, permutation + n, n * sizeof(int32_t))
        if sweep_epoch(s, &objective):
            return
        s.state.epochs = epoch + 1
        history[2 * epoch * s.p.w.K] = objective
        history[2 * epoch * s.p.w.K + 1] = s.state.step
        s.state.status = judge_epoch(s, objective)
        if s.state.status != STATUS_RAN:
            return


cdef class Sweep(NeuronJob):
    """A call of `sweep`: a neuron at a time for each thread."""

    cdef SGDConfig config
    cdef real[:, ::1] coef
    cdef real[:, ::1] average
    cdef real[:, ::1] l1_applied
    cdef int32_t[:, ::1] order
    cdef double[:, ::1] scalars
    cdef double[:, :, ::1] history
    cdef const double[:, ::1] class_weight
    cdef const uint8_t[::1] held_out
    cdef const uint32_t[::1] seeds
    cdef Py_ssize_t n_vectors   # of the averages and the L1 penalties
    cdef real *vectors
    cdef int32_t *permutations

    def __cinit__(self):
        self.vectors = NULL
        self.permutations = NULL

    def __dealloc__(self):
        free(self.vectors)
        free(self.permutations)

    def __init__(self, data, state, config, class_weight, held_out, seeds, history, n_threads):
        cdef Pass *p = &self.p
        self.coef, self.average, self.l1_applied = state.coef, state.average, state.l1_applied
        self.order, self.scalars, self.history = state.order, state.scalars, history
        self.class_weight, self.held_out, self.seeds = class_weight, held_out, seeds
        self.bind(data.X, self.coef.shape[0], LOSS_QUADRATIC, data.y, data.sample_weight)
        self.set_up(min(n_threads, self.coef.shape[0]), False)
        # Neurons end after different numbers of epochs.
        self.team.uneven = True
        self.config = read_SGDConfig(config)
        # For each neuron its averages and L1 penalties, padded; for each thread a row.
        self.n_vectors = (self.average.shape[1] > 0) + (self.l1_applied.shape[1] > 0)
        self.vectors = <real *>reserve(
            (self.n_vectors * p.w.K + self.team.n_threads) * p.w.length, REAL_SIZE,
            f"{self.n_vectors} arrays like the weights of {p.w.K} x {p.x.d}", True,
        )
        if seeds is not None and history.shape[0] > 1:
            self.permutations = <int32_t *>reserve(
                2 * self.team.n_threads * p.x.n, sizeof(int32_t), f"the orders of {p.x.n} rows"
            )

    def lead(self):
        cdef Py_ssize_t k
        with nogil:
            run_chunks(&self.team, sweep_chunk, <void *>self, self.p.w.K)
        raise_if_interrupted(&self.team)
        return max(int(self.scalars[k, SGDSCALAR_EPOCHS]) for k in range(self.p.w.K))

    cdef void sweep_one(self, Py_ssize_t k, int64_t thread) noexcept nogil:
        cdef Sweeper s
        self.scalars[k, SGDSCALAR_EPOCHS] = 0
        if self.scalars[k, SGDSCALAR_STATUS] != STATUS_RAN:
            return
        self.set_up_neuron(&s, k, thread)
        sweep_epochs(
            &s, self.seeds is not None, self.seeds[k] if self.seeds is not None else 0,
            NULL if self.permutations == NULL else self.permutations + 2 * thread * self.p.x.n,
            &self.history[0, k, 0], self.history.shape[0],
        )
        self.copy_vectors(&s, into=False)

    cdef void set_up_neuron(self, Sweeper *s, Py_ssize_t k, int64_t thread) noexcept nogil:
        cdef Pass *p = &self.p
        cdef Py_ssize_t j, row_bytes = p.x.d * REAL_SIZE
        cdef real[MAX_LANES] tail
        memset(s, 0, sizeof(Sweeper))
        s.p, s.config, s.neuron, s.thread = p, self.config, k, thread
        s.order, s.state = &self.order[k, 0], <SGDScalars *>&self.scalars[k, 0]
        s.positive_weight, s.other_weight = self.class_weight[k, 0], self.class_weight[k, 1]
        s.penalised = (s.config.l2 > 0 or s.config.l1 > 0) and s.config.schedule < SCHEDULE_PA1
        if self.held_out is not None:
            s.held_out = &self.held_out[0]
        s.w = p.w.theta + k * p.w.length
        if self.average.shape[1]:
            s.average = self.vectors + self.n_vectors * k * p.w.length
        if self.l1_applied.shape[1]:
            s.l1_applied = self.vectors + (self.n_vectors * (k + 1) - 1) * p.w.length
        s.row_copy = self.vectors + (self.n_vectors * p.w.K + thread) * p.w.length
        if p.x.layout == ROWS and p.x.row_stride == row_bytes:
            # Whole registers of the last rows would end beyond the array.
            s.in_place = p.x.n if p.x.d % LANES == 0 else max(0, p.x.n - LANES)
        if p.x.layout == SPARSE:
            row_bytes = 2 * REAL_SIZE * entries_between(&p.x, 0, p.x.n) // max(p.x.n, 1)
        s.rows_ahead = clamp(MIN_ROWS_AHEAD, SWEEP_AHEAD_BYTES // max(row_bytes, 1), MAX_ROWS_AHEAD)
        for j in range(LANES):
            tail[j] = j < p.x.d % LANES
        s.tail = v_load(tail)
        self.copy_vectors(s, into=True)

    cdef void copy_vectors(self, Sweeper *s, bint into) noexcept nogil:
        """Between the caller's vectors and the padded ones."""
        copy_vector(&self.coef[s.neuron, 0], s.w, s.p.x.d, into)
        if s.average != NULL:
            copy_vector(&self.average[s.neuron, 0], s.average, s.p.x.d, into)
        if s.l1_applied != NULL:
            copy_vector(&self.l1_applied[s.neuron, 0], s.l1_applied, s.p.x.d, into)


cdef void sweep_chunk(void *job, int64_t thread, Py_ssize_t k) noexcept nogil:
    if not atomic_read(&(<Sweep>job).team.interrupted):
        (<Sweep>job).sweep_one(k, thread)


cdef inline void copy_vector(
    real *callers, real *padded, Py_ssize_t count, bint into
) noexcept nogil:
    memcpy(padded if into else callers, callers if into else padded, count * REAL_SIZE)
