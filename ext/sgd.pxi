# The sweep from row to row: each row's step is taken before the next row is read.
#
# The weights are `scale * w`: shrinking them is one multiplication, as in Bottou's
# "Stochastic Gradient Descent Tricks" (2012), from where the lazy averages are, too.
# Vectors are padded with zeros to whole registers. A row's last register is read whole, and
# what lies beyond the row masked away; the rows at the end of X, where that would leave the
# array, and rows that must be converted, are copied first.
#
# Products are rounded before they are added to the weights, as in scikit-learn's code: a step
# and its opposite then cancel to the same zero, which the perceptron's threshold tells.

cdef extern from "exponential.h" nogil:
    double fast_exp(double x)
    void fill_parts()

fill_parts()

cdef enum:
    # How far ahead rows are asked for: about this many bytes, within these numbers of rows.
    # 4 rows or 24 made no difference at d = 100; into the first cache it was 1.5 to 3 times
    # as slow (100,000 x 100 and 20,000 x 1000).
    AHEAD_BYTES = 8192
    MIN_AHEAD = 2
    MAX_AHEAD = 16
    ROW_ELEMENTS = 16       # what a row costs besides its own
    SWAPS_PER_CHECK = 1 << 20
    ROWS_OF_LOSSES = 64      # whose logarithms are taken together
    # Bytes of rows whose scores are foreseen, at most: beyond that the second product of rows
    # costs more than the time that it saves (100,000 x 100 in float64).
    FORESEEN_BYTES = 512


cdef struct Sweeper:
    # One neuron on its way.
    Problem *p
    SGDConfig config
    Py_ssize_t k
    int64_t thread
    real *w
    real *average       # NULL without averages
    real *debt          # NULL without l1
    real *line          # a copied row
    int32_t *order
    double *marks
    const uint8_t *held_out
    double if_positive
    double if_not
    Py_ssize_t in_place  # rows before this one are read where they lie
    Py_ssize_t ahead     # rows from the one at work to the one asked for
    vreal mask           # 1 in the lanes of a row's ragged register


# --------------------------------------------------------------------- one row

cdef inline double row_loss(
    int loss, double parameter, double p, double y, double *slope
) noexcept nogil:
    """Cost of a row, and its derivative with respect to the score."""
    cdef double z
    if loss <= ROWLOSS_MODIFIED_HUBER:
        z = p * y
        if loss == ROWLOSS_HINGE:
            slope[0] = -y if z <= parameter else 0
            return parameter - z if z <= parameter else 0
        if loss == ROWLOSS_SQUARED_HINGE:
            z = parameter - z if parameter - z > 0 else 0
            slope[0] = -2 * y * z
            return z * z
        if z >= 1:
            slope[0] = 0
            return 0
        if z >= -1:
            slope[0] = -2 * (1 - z) * y
            return (1 - z) * (1 - z)
        slope[0] = -4 * y
        return -4 * z
    z = p - y
    if loss == ROWLOSS_SQUARED_ERROR or (loss == ROWLOSS_HUBER and fabs(z) <= parameter):
        slope[0] = z
        return 0.5 * z * z
    if loss == ROWLOSS_HUBER:
        slope[0] = parameter if z >= 0 else -parameter
        return parameter * (fabs(z) - 0.5 * parameter)
    # Epsilon-insensitive. The sign of NaN must not make it a zero.
    if fabs(z) <= parameter:
        slope[0] = 0
        return 0
    if loss == ROWLOSS_EPSILON_INSENSITIVE:
        slope[0] = 1 if z > 0 else (-1 if z < 0 else 0)
        return fabs(z) - parameter
    slope[0] = 2 * (z - parameter) if z > 0 else 2 * (z + parameter)
    return (fabs(z) - parameter) * (fabs(z) - parameter)


cdef inline double log_loss_derivative(
    double p, double y, double *linear, real *rest
) noexcept nogil:
    """Derivative of the log-loss of a row: ``linear + log(1 + min(rest, 1 / rest))``.

    The next row waits for it, so its latency is what counts. The logarithms are left for whole
    registers of rows, and so is which of e and 1 / e is the smaller: log_sum.
    """
    # For y = 0 and y = 1 the derivative is sigma(q) and -sigma(q), without a difference.
    cdef double q = p if y == 0 else -p
    cdef double e = fast_exp(-q), slope = 1 / (1 + e)
    rest[0] = <real>e
    linear[0] = q if q > 0 else 0
    if y == 0:
        return slope
    if y == 1:
        return -slope
    # Of soft targets.
    linear[0] = (p if p > 0 else 0) - p * y
    return (1 - slope) * (1 - y) - slope * y


cdef double log_sum(real *rests, Py_ssize_t count) noexcept nogil:
    """Sum of log(1 + min(rest, 1 / rest)) of up to ROWS_OF_COSTS rows."""
    cdef vreal total = v_set(0), e
    cdef Py_ssize_t j = 0
    memset(rests + count, 0, (round_up(count, LANES) - count) * REAL_SIZE)
    while j < count:
        e = v_load(rests + j)
        total = total + log1p_unit(v_min(e, v_set(1) / e))
        j += LANES
    return v_sum(total)


cdef inline vreal ragged(const real *x, vreal mask) noexcept nogil:
    return v_where_zero(mask, mask, v_load(x))


cdef inline void prefetch_row(const real *line, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t j = 0
    while j < length:
        prefetch_far(line + j)
        j += CACHE_LINE // REAL_SIZE


cdef inline real line_dot(
    const real *w, const real *x, Py_ssize_t d, vreal mask, const real *prefetch_ptr
) noexcept nogil:
    """w . x, asking for a row that comes later on the way."""
    cdef Py_ssize_t whole = d - d % LANES, j = 0
    cdef vreal a0, a1, a2, a3
    a0 = a1 = a2 = a3 = v_set(0)
    while j + 4 * LANES <= whole:
        prefetch_row(prefetch_ptr + j, 4 * LANES)
        a0 = a0 + v_load(w + j) * v_load(x + j)
        a1 = a1 + v_load(w + j + LANES) * v_load(x + j + LANES)
        a2 = a2 + v_load(w + j + 2 * LANES) * v_load(x + j + 2 * LANES)
        a3 = a3 + v_load(w + j + 3 * LANES) * v_load(x + j + 3 * LANES)
        j += 4 * LANES
    prefetch_row(prefetch_ptr + j, d - j)
    prefetch_far(prefetch_ptr + d - 1)
    while j + 2 * LANES <= whole:
        a0 = a0 + v_load(w + j) * v_load(x + j)
        a1 = a1 + v_load(w + j + LANES) * v_load(x + j + LANES)
        j += 2 * LANES
    if j < whole:
        a2 = a2 + v_load(w + j) * v_load(x + j)
    if whole < d:
        a3 = a3 + v_load(w + whole) * ragged(x + whole, mask)
    return v_sum((a0 + a1) + (a2 + a3))


cdef inline void line_dots(
    const real *w, const real *x, const real *next, Py_ssize_t d, vreal mask,
    const real *prefetch_ptr, const real *squares, real *sums
) noexcept nogil:
    """w . next, x . next and the sum of a register; asks for a row that comes later on the way."""
    cdef Py_ssize_t whole = d - d % LANES, j = 0
    cdef vreal a0, a1, b0, b1, v
    a0 = a1 = b0 = b1 = v_set(0)
    prefetch_row(prefetch_ptr, d)
    prefetch_far(prefetch_ptr + d - 1)
    while j + 2 * LANES <= whole:
        v = v_load(next + j)
        a0 = a0 + v_load(w + j) * v
        b0 = b0 + v_load(x + j) * v
        v = v_load(next + j + LANES)
        a1 = a1 + v_load(w + j + LANES) * v
        b1 = b1 + v_load(x + j + LANES) * v
        j += 2 * LANES
    if j < whole:
        v = v_load(next + j)
        a0 = a0 + v_load(w + j) * v
        b0 = b0 + v_load(x + j) * v
    if whole < d:
        v = ragged(next + whole, mask)
        a1 = a1 + v_load(w + whole) * v
        b1 = b1 + ragged(x + whole, mask) * v
    v_sum4(a0 + a1, b0 + b1, v_load(squares), v_set(0), sums)


cdef inline void line_add(
    real *w, const real *x, Py_ssize_t d, vreal mask, real factor, bint norms, bint absolutes,
    real *squares_out, double *absolutes_out,
) noexcept nogil:
    """w += factor x; and, where asked for, the norms of the new w: a register of squares."""
    cdef Py_ssize_t whole = d - d % LANES, j = 0
    cdef vreal f = v_set(factor), v0, v1, s0, s1, b0, b1
    s0 = s1 = b0 = b1 = v_set(0)
    while j + 2 * LANES <= whole:
        v0 = v_load(w + j) + v_rounded(f * v_load(x + j))
        v1 = v_load(w + j + LANES) + v_rounded(f * v_load(x + j + LANES))
        v_store(w + j, v0)
        v_store(w + j + LANES, v1)
        if norms:
            s0 = s0 + v0 * v0
            s1 = s1 + v1 * v1
        if absolutes:
            b0 = b0 + v_abs(v0)
            b1 = b1 + v_abs(v1)
        j += 2 * LANES
    while j < d:
        v0 = v_load(x + j) if j < whole else ragged(x + j, mask)
        v0 = v_load(w + j) + v_rounded(f * v0)
        v_store(w + j, v0)
        if norms:
            s0 = s0 + v0 * v0
        if absolutes:
            b0 = b0 + v_abs(v0)
        j += LANES
    if norms:
        v_store(squares_out, s0 + s1)
    if absolutes:
        absolutes_out[0] = v_sum(b0 + b1)


cdef inline double line_squares(const real *x, Py_ssize_t d) noexcept nogil:
    cdef Py_ssize_t j
    cdef double total = 0
    for j in range(d):
        total += <double>x[j] * x[j]
    return total


cdef inline void line_owed(
    real *w, real *debt, Py_ssize_t d, double scale, double owed
) noexcept nogil:
    """Collect what the weights owe to the l1 penalty."""
    cdef vreal zero = v_set(0), s = v_set(<real>scale), u = v_set(<real>owed)
    cdef vreal inverse = v_set(<real>(1 / scale)), v, q, low, high
    cdef Py_ssize_t j = 0
    while j < d:
        v = v_load(w + j)
        q = v_load(debt + j)
        high = v_max(zero, v - (u + q) * inverse)
        low = v_min(zero, v + (u - q) * inverse)
        high = v_where_zero(v, v, v_where_negative(v, low, high))
        v_store(w + j, high)
        v_store(debt + j, q + s * (high - v))
        j += LANES


cdef void sparse_row(
    index_t *indices, index_t *indptr, Py_ssize_t row, Py_ssize_t prefetch_ptr,
    const real *values, const void **CpuSet, const real **entries, Py_ssize_t *count,
) noexcept nogil:
    """Where the entries of a row lie; asks for those of a later row."""
    cdef Py_ssize_t start = indptr[row], i = indptr[prefetch_ptr], stop = indptr[prefetch_ptr + 1]
    CpuSet[0] = indices + start
    entries[0] = values + start
    count[0] = indptr[row + 1] - start
    while i < stop:
        prefetch_far(values + i)
        prefetch_far(indices + i)
        i += 64 // REAL_SIZE


cdef double sparse_dot(
    index_t *indices, const real *w, const real *x, Py_ssize_t count
) noexcept nogil:
    cdef double a = 0, b = 0
    cdef Py_ssize_t j = 0
    while j + 2 <= count:
        a += w[indices[j]] * x[j]
        b += w[indices[j + 1]] * x[j + 1]
        j += 2
    if j < count:
        a += w[indices[j]] * x[j]
    return a + b


cdef void sparse_add(
    index_t *indices, real *w, const real *x, Py_ssize_t count, double factor,
    double *squares, double *absolutes,
) noexcept nogil:
    cdef Py_ssize_t j
    cdef real v
    squares[0] = absolutes[0] = 0
    for j in range(count):
        v = <real>(w[indices[j]] + rounded(x[j] * factor))
        w[indices[j]] = v
        squares[0] += v * v
        absolutes[0] += fabs(v)


cdef void sparse_owed(
    index_t *indices, real *w, real *debt, Py_ssize_t count, double scale, double owed
) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef double z, v
    for i in range(count):
        j = indices[i]
        z = v = w[j]
        if z > 0:
            v = max(0., z - (owed + debt[j]) / scale)
        elif z < 0:
            v = min(0., z + (owed - debt[j]) / scale)
        w[j] = <real>v
        debt[j] = <real>(debt[j] + scale * (w[j] - z))


cdef inline double target(Problem *p, Py_ssize_t k, Py_ssize_t row, double low) noexcept nogil:
    cdef int wanted = 1 if p.K == 1 else <int>k
    if p.soft != NULL:
        return p.soft[k * p.soft_step + row]
    if p.codes_8 != NULL:
        return 1 if p.codes_8[row] == wanted else low
    return 1 if p.codes_32[row] == wanted else low


cdef void fold(Sweeper *s, double scale, double share, double whole) noexcept nogil:
    """Multiply the scale into the weights and their averages, before it underflows."""
    cdef Py_ssize_t j
    if s.average != NULL:
        for j in range(s.p.x.d):
            s.average[j] = <real>((s.average[j] + share * s.w[j]) / whole)
    for j in range(s.p.x.d):
        s.w[j] *= <real>scale


# --------------------------------------------------------------------- epochs

cdef int sweep_epoch(Sweeper *s, double *objective) noexcept nogil:
    """All rows once. Returns whether a signal's handler has raised on the way."""
    cdef Problem *p = s.p
    cdef SGDConfig *config = &s.config
    cdef double *marks = s.marks
    cdef bint sparse = p.x.layout == SPARSE
    cdef bint narrow = p.x.index_size == 4
    cdef bint passive = config.schedule >= SCHEDULE_PA1
    cdef bint penalised = (config.l2 > 0 or config.l1 > 0) and not passive
    cdef Py_ssize_t n = p.x.n, d = p.x.d, i, row, prefetch_ptr, count = d, learnt = 0, budget
    cdef double low = 0 if config.loss == ROWLOSS_LOG_LOSS else -1
    cdef double intercept = marks[SWEEPMARK_INTERCEPT], scale = marks[SWEEPMARK_SCALE]
    cdef double average_intercept = marks[SWEEPMARK_AVERAGE_INTERCEPT]
    cdef double share = marks[SWEEPMARK_SHARE], whole = marks[SWEEPMARK_WHOLE]
    cdef double squares = marks[SWEEPMARK_SQUARES], absolutes = marks[SWEEPMARK_ABSOLUTES]
    cdef double owed = marks[SWEEPMARK_OWED], t = marks[SWEEPMARK_T], eta = marks[SWEEPMARK_STEP]
    cdef double inverse = 1 / scale
    cdef double total = 0, nonfinite = 0, y, score, value, slope = 0, update, weight, factor, seen
    cdef const real *x = NULL
    cdef const void *CpuSet = NULL
    cdef int interrupted = 0
    cdef real[ROWS_OF_LOSSES] rests
    cdef Py_ssize_t n_rests = 0
    # The score of the next row but for this one's slope, which it then waits for a single
    # product and sum: the product of the next row and the weights as they are, and that of the
    # two rows, by which a step moves it. 100,000 x 20 took 3.1 ms an epoch without that. Not
    # where a threshold might tell the rounding errors from those of a plain score.
    cdef bint foresees = (
        not sparse and config.loss == ROWLOSS_LOG_LOSS and config.l1 == 0
        and d * REAL_SIZE <= FORESEEN_BYTES
    )
    cdef Py_ssize_t next = -1, foreseen = -1
    cdef double next_score = 0
    # Products with the next row, and the sum of the squares of the weights, which is only wanted
    # there.
    cdef real[4] sums
    cdef real[MAX_LANES] parts
    cdef bint in_parts = False
    v_store(parts, v_set(0))
    budget = ELEMENTS_PER_CHECK
    for i in range(n):
        row = s.order[i]
        prefetch_ptr = s.order[min(i + s.ahead, n - 1)]
        if s.held_out != NULL and s.held_out[row]:
            continue
        if p.soft == NULL and p.codes_8 != NULL:
            prefetch_far(p.codes_8 + prefetch_ptr)
        elif p.soft != NULL:
            prefetch_far(p.soft + s.k * p.soft_step + prefetch_ptr)
        if p.sample_weight != NULL:
            prefetch_far(p.sample_weight + prefetch_ptr)
        if sparse:
            if narrow:
                sparse_row(<int32_t *>p.x.indices, <int32_t *>p.x.indptr, row, prefetch_ptr,
                           p.x.values, &CpuSet, &x, &count)
                score = sparse_dot(<int32_t *>CpuSet, s.w, x, count)
            else:
                sparse_row(<int64_t *>p.x.indices, <int64_t *>p.x.indptr, row, prefetch_ptr,
                           p.x.values, &CpuSet, &x, &count)
                score = sparse_dot(<int64_t *>CpuSet, s.w, x, count)
        else:
            if row < s.in_place:
                x = <const real *>(p.x.base + row * p.x.row_stride)
            else:
                convert_line(s.line, p.x.base + row * p.x.row_stride, d, p.x.column_stride,
                             p.x.kind)
                x = s.line
            if foreseen != row:
                score = line_dot(s.w, x, d, s.mask,
                                 <const real *>(p.x.base + prefetch_ptr * p.x.row_stride))
            next = s.order[min(i + 1, n - 1)]
            if not foresees or max(row, next) >= s.in_place:
                next = -1
            else:
                line_dots(s.w, x, <const real *>(p.x.base + next * p.x.row_stride), d, s.mask,
                          <const real *>(p.x.base + prefetch_ptr * p.x.row_stride), parts, sums)
            if in_parts:
                squares = (sums[2] if next >= 0 else v_sum(v_load(parts))) * scale * scale
                in_parts = False
        budget -= count + ROW_ELEMENTS
        if budget < 0:
            budget = ELEMENTS_PER_CHECK
            if is_interrupted(s):
                interrupted = 1
                break
        score = next_score if foreseen == row else <real>rounded(score * scale) + intercept
        nonfinite += 0 * score
        y = target(p, s.k, row, low)
        if config.schedule == SCHEDULE_OPTIMAL:
            eta = 1 / (config.alpha * (config.shift + t - 1))
        elif config.schedule == SCHEDULE_INVSCALING:
            eta = config.eta0 / pow(t, config.power_t)
        if config.loss == ROWLOSS_LOG_LOSS:
            slope = log_loss_derivative(score, y, &value, rests + n_rests)
            n_rests += 1
            if n_rests == ROWS_OF_LOSSES:
                total += log_sum(rests, n_rests)
                n_rests = 0
        else:
            value = row_loss(config.loss, config.parameter, score, y, &slope)
        total += value
        if penalised:
            total += 0.5 * config.l2 * squares + config.l1 * absolutes
        learnt += 1
        if passive:
            update = line_squares(x, count)
            if config.schedule == SCHEDULE_PA1:
                if update == 0:
                    continue
                update = min(config.eta0, value / update)
            else:
                update = value / (update + 0.5 / config.eta0)
            if config.loss == ROWLOSS_HINGE:
                update *= y
            elif y - score < 0:
                update = -update
        else:
            if slope > config.largest_derivative:
                slope = config.largest_derivative
            elif slope < -config.largest_derivative:
                slope = -config.largest_derivative
            update = -eta * slope
        weight = s.if_positive if y > 0 else s.if_not
        if p.sample_weight != NULL:
            weight *= p.sample_weight[row]
        update *= weight
        if config.l2 > 0:
            factor = <real>max(0., 1 - rounded(eta * config.l2))
            scale *= factor
            squares *= factor * factor
            absolutes *= factor
            if scale < config.least_scale:
                fold(s, scale, share, whole)
                scale, share, whole = 1, 0, 1
                next = -1
            inverse = 1 / scale
        foreseen = next
        if next >= 0:
            next_score = sums[0] * scale + intercept - slope * (
                eta * weight * (sums[1] + config.fit_intercept * config.decay)
            )
        if update != 0:
            factor = <real>update * inverse
            if sparse:
                if narrow:
                    sparse_add(<int32_t *>CpuSet, s.w, x, count, factor, &squares, &absolutes)
                else:
                    sparse_add(<int64_t *>CpuSet, s.w, x, count, factor, &squares, &absolutes)
                squares *= scale * scale
            elif config.l1 > 0:
                line_add(s.w, x, d, s.mask, <real>factor, True, True, parts, &absolutes)
                in_parts = True
            elif penalised:
                line_add(s.w, x, d, s.mask, <real>factor, True, False, parts, &absolutes)
                in_parts = True
            else:
                line_add(s.w, x, d, s.mask, <real>factor, False, False, parts, &absolutes)
            absolutes *= scale
            if config.fit_intercept:
                intercept += rounded(update * config.decay)
        if s.average != NULL and config.average_from <= t:
            seen = t - config.average_from + 1
            if update != 0:
                factor = share * (-<real>update * inverse)
                if not sparse:
                    line_add(s.average, x, d, s.mask, <real>factor, False, False, parts, &value)
                elif narrow:
                    sparse_add(<int32_t *>CpuSet, s.average, x, count, factor, &value, &slope)
                else:
                    sparse_add(<int64_t *>CpuSet, s.average, x, count, factor, &value, &slope)
            if seen > 1:
                whole /= 1 - 1 / seen
            share += whole * scale / seen
            average_intercept += (intercept - average_intercept) / seen
        if config.l1 > 0:
            owed += eta * config.l1
            if not sparse:
                line_owed(s.w, s.debt, d, scale, owed)
            elif narrow:
                sparse_owed(<int32_t *>CpuSet, s.w, s.debt, count, scale, owed)
            else:
                sparse_owed(<int64_t *>CpuSet, s.w, s.debt, count, scale, owed)
        t += 1
    if in_parts:
        squares = v_sum(v_load(parts)) * scale * scale
    marks[SWEEPMARK_INTERCEPT], marks[SWEEPMARK_AVERAGE_INTERCEPT] = intercept, average_intercept
    marks[SWEEPMARK_SCALE], marks[SWEEPMARK_SHARE], marks[SWEEPMARK_WHOLE] = scale, share, whole
    marks[SWEEPMARK_SQUARES], marks[SWEEPMARK_ABSOLUTES] = squares, absolutes
    marks[SWEEPMARK_OWED], marks[SWEEPMARK_T], marks[SWEEPMARK_STEP] = owed, t, eta
    if not nonfinite == 0:
        marks[SWEEPMARK_NONFINITE_SCORE] = 1
    objective[0] = (total + log_sum(rests, n_rests)) / max(learnt, 1)
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


cdef bint swept_off(Sweeper *s) noexcept nogil:
    cdef Py_ssize_t j = 0
    cdef vreal bad = v_set(0)
    while j < s.p.x.d:
        # 0 for finite numbers, NaN for the others.
        bad = bad + (v_load(s.w + j) - v_load(s.w + j))
        j += LANES
    return not (isfinite(s.marks[SWEEPMARK_INTERCEPT]) and v_sum(bad) == 0)


cdef int sweep_epochs(
    Sweeper *s, bint shuffled, uint32_t seed, int32_t *jumps, double *history, Py_ssize_t epochs
) noexcept nogil:
    """One neuron's share of a call; returns whether it was interrupted."""
    cdef Py_ssize_t epoch, i, n = s.p.x.n
    cdef double value = 0
    cdef double *marks = s.marks
    if shuffled and epochs > 1:
        # The swaps are the same in each epoch, and gathering is quicker than dividing.
        for i in range(n):
            jumps[i] = <int32_t>i
        if swap_rows(s, jumps, n, seed):
            return 1
    for epoch in range(epochs):
        if shuffled and epochs == 1:
            if swap_rows(s, s.order, n, seed):
                return 1
        elif shuffled:
            for i in range(n):
                jumps[n + i] = s.order[jumps[i]]
            memcpy(s.order, jumps + n, n * sizeof(int32_t))
        if sweep_epoch(s, &value):
            return 1
        marks[SWEEPMARK_EPOCHS] = epoch + 1
        history[2 * epoch * s.p.K] = value
        history[2 * epoch * s.p.K + 1] = marks[SWEEPMARK_STEP]
        if swept_off(s):
            marks[SWEEPMARK_STATUS] = STATUS_NONFINITE
            return 0
        if s.config.tol > -INFINITY and value > marks[SWEEPMARK_BEST] - s.config.tol:
            marks[SWEEPMARK_WAITED] += 1
        else:
            marks[SWEEPMARK_WAITED] = 0
        if value < marks[SWEEPMARK_BEST]:
            marks[SWEEPMARK_BEST] = value
        if marks[SWEEPMARK_WAITED] >= s.config.patience:
            if s.config.schedule == SCHEDULE_ADAPTIVE and marks[SWEEPMARK_STEP] > s.config.least_step:
                marks[SWEEPMARK_STEP] /= s.config.divisor
                marks[SWEEPMARK_WAITED] = 0
            else:
                marks[SWEEPMARK_STATUS] = STATUS_CONVERGED
                return 0
    return 0


cdef class Sweep(NeuronJob):
    """A call of `sweep`: a neuron at a time for each thread."""

    cdef SGDConfig config
    cdef real[:, ::1] coef
    cdef real[:, ::1] average
    cdef real[:, ::1] debt
    cdef int32_t[:, ::1] order
    cdef double[:, ::1] marks
    cdef double[:, :, ::1] history
    cdef const double[:, ::1] class_weight
    cdef const uint8_t[::1] held_out
    cdef const uint32_t[::1] seeds
    cdef Py_ssize_t n_vectors   # averages and debts: those that there are
    cdef real *vectors
    cdef int32_t *jumps

    def __cinit__(self):
        self.vectors = NULL
        self.jumps = NULL

    def __dealloc__(self):
        free(self.vectors)
        free(self.jumps)

    def __init__(self, data, state, config, class_weight, held_out, seeds, history, n_threads):
        cdef Problem *p = &self.p
        self.coef, self.average, self.debt = state.coef, state.average, state.debt
        self.order, self.marks, self.history = state.order, state.marks, history
        self.class_weight, self.held_out, self.seeds = class_weight, held_out, seeds
        self.set_up(data.X, self.coef.shape[0], LOSS_QUADRATIC, data.y, data.sample_weight,
                    min(n_threads, self.coef.shape[0]), False, False)
        self.config = read_SGDConfig(config)
        # For each neuron its averages and debts, padded; for each thread a row.
        self.n_vectors = (self.average.shape[1] > 0) + (self.debt.shape[1] > 0)
        self.vectors = <real *>reserve(
            (self.n_vectors * p.K + self.team.n_threads) * p.span, REAL_SIZE,
            f"{self.n_vectors} arrays like the weights of {p.K} x {p.x.d}", True,
        )
        if seeds is not None and history.shape[0] > 1:
            self.jumps = <int32_t *>reserve(2 * self.team.n_threads * p.x.n, sizeof(int32_t),
                                            f"the orders of {p.x.n} rows")

    def lead(self):
        cdef Py_ssize_t k
        with nogil:
            run_chunks(&self.team, sweep_chunk, <void *>self, self.p.K)
        raise_if_interrupted(&self.team)
        return max(int(self.marks[k, SWEEPMARK_EPOCHS]) for k in range(self.p.K))

    cdef void sweep_one(self, Py_ssize_t k, int64_t thread) noexcept nogil:
        cdef Problem *p = &self.p
        cdef Sweeper s
        cdef Py_ssize_t j, size = p.x.d * REAL_SIZE, row_bytes
        cdef real[MAX_LANES] ones
        self.marks[k, SWEEPMARK_EPOCHS] = 0
        if self.marks[k, SWEEPMARK_STATUS] != STATUS_RAN:
            return
        memset(&s, 0, sizeof(s))
        s.p, s.config, s.k, s.thread = p, self.config, k, thread
        s.order, s.marks = &self.order[k, 0], &self.marks[k, 0]
        s.if_positive, s.if_not = self.class_weight[k, 0], self.class_weight[k, 1]
        if self.held_out is not None:
            s.held_out = &self.held_out[0]
        s.w = p.theta + k * p.span
        memcpy(s.w, &self.coef[k, 0], size)
        if self.average.shape[1]:
            s.average = self.vectors + self.n_vectors * k * p.span
            memcpy(s.average, &self.average[k, 0], size)
        if self.debt.shape[1]:
            s.debt = self.vectors + (self.n_vectors * (k + 1) - 1) * p.span
            memcpy(s.debt, &self.debt[k, 0], size)
        s.line = self.vectors + (self.n_vectors * p.K + thread) * p.span
        if p.x.layout == ROWS and p.x.row_stride == p.x.d * REAL_SIZE:
            # Whole registers of the others would end beyond the array.
            s.in_place = p.x.n if p.x.d % LANES == 0 else max(0, p.x.n - LANES)
        row_bytes = p.x.d * REAL_SIZE
        if p.x.layout == SPARSE:
            row_bytes = 2 * REAL_SIZE * sparse_entries(p) // max(p.x.n, 1)
        s.ahead = clamp(MIN_AHEAD, AHEAD_BYTES // max(row_bytes, 1), MAX_AHEAD)
        for j in range(LANES):
            ones[j] = j < p.x.d % LANES
        s.mask = v_load(ones)
        sweep_epochs(
            &s, self.seeds is not None, self.seeds[k] if self.seeds is not None else 0,
            NULL if self.jumps == NULL else self.jumps + 2 * thread * p.x.n,
            &self.history[0, k, 0], self.history.shape[0],
        )
        memcpy(&self.coef[k, 0], s.w, size)
        if s.average != NULL:
            memcpy(&self.average[k, 0], s.average, size)
        if s.debt != NULL:
            memcpy(&self.debt[k, 0], s.debt, size)


cdef void sweep_chunk(void *job, int64_t thread, Py_ssize_t k) noexcept nogil:
    if not atomic_read(&(<Sweep>job).team.interrupted):
        (<Sweep>job).sweep_one(k, thread)
