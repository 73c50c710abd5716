# The fused pass: scores, cost and gradient of a block of rows while the block is in the
# cache, so that an epoch reads X from memory once. Also prediction, through the same reads.

ctypedef fused index_t:
    int32_t
    int64_t


cdef enum:
    PREDICTED_AHEAD = 6144
    PREDICTED_BYTES = 8192
    LONGEST_PREFETCHED_ROW = 7168    # bytes
    SUM_TILE = 32   # gradients that are summed over the chunks at a time
    MAX_PARTIALS = 1 << 23  # partial gradients beside those of a chunk: 64 MiB
    SHARED_SUM = 1 << 17    # reals of partial gradients, whose sum takes some 10 us alone
    SHARED_SUM_PARTS = 32


cdef struct Scratch:
    # One thread's working memory; every array is padded to whole registers.
    real *lines    # converted block
    real *scores   # (K, scores_step): z, then the derivative
    real *targets  # (K, group)
    real *weights  # (group)
    real *sums     # (K, span): gradients of a group of rows
    real *phased   # sums of rows that are read by turns


cdef struct Curvature:
    # A Hessian under way.
    Lines x
    const double *theta
    Py_ssize_t r            # parameters
    Py_ssize_t width        # that many, in whole registers
    Py_ssize_t rows         # of a block
    Py_ssize_t chunk        # rows of a chunk
    Py_ssize_t n_chunks
    Py_ssize_t block_reals  # of a member's working memory
    real *blocks
    real *sums              # a matrix for each chunk
    double *wide            # the same, or NULL where chunks are of few rows


cdef struct Problem:
    Lines x
    Py_ssize_t K
    int loss
    # Targets: one of the three.
    const real *soft
    const uint8_t *codes_8
    const int32_t *codes_32
    Py_ssize_t soft_step    # reals between the targets of two neurons
    const real *sample_weight
    # Copies padded to whole registers, for a packed X.
    real *padded_targets
    real *padded_weights
    Py_ssize_t padded_step
    # Parameters and sums over the rows, K times `span` reals each: the weights, at d the
    # intercept, zeros up to `length`; then what passes need: a ragged register (`last` of
    # lines.pxi), and one for the intercept's sum.
    Py_ssize_t length
    Py_ssize_t span
    real *theta
    real *total
    double *partial         # sums over a chunk, K times `span` for each
    real *phased            # weights for rows that are read by turns, K times `phased_step`
    Py_ssize_t phased_step
    double *partial_value
    real *panel_sums        # of a packed X: a register for each parameter
    # The rows of the pass under way.
    const int32_t *order
    Py_ssize_t start
    Py_ssize_t stop
    Py_ssize_t chunk
    Py_ssize_t n_chunks
    Py_ssize_t row_elements  # read for a row, for all neurons
    Py_ssize_t sum_parts    # of the sum over the chunks, which threads share
    double factor           # of that sum
    Py_ssize_t scores_step    # a block in whole registers
    Team *team
    Curvature *curvature    # newton.pxi
    Scratch *scratch
    # Prediction: where the activated scores go, (n, K), instead of a gradient.
    real *predicted
    int activation
    bint not_finite         # some score is not


# --------------------------------------------------------------------- cost over a block

cdef inline inlined_void loss_loop(
    int loss, Py_ssize_t count, real intercept, real *z, const real *y, const real *s,
    real *value, real *bias,
) noexcept nogil:
    """z[:count] becomes s dc/dz at z + intercept; count is whole registers.

    The registers at `value` and `bias` take up the sums of the costs and of the derivatives.
    """
    cdef vreal total = v_load(value), slope = v_load(bias), b = v_set(intercept)
    cdef vreal c, g
    cdef Py_ssize_t i = 0
    if s == NULL:
        while i < count:
            cost(loss, v_load(z + i) + b, v_load(y + i), v_set(1), &c, &g)
            v_store(z + i, g)
            total = total + c
            slope = slope + g
            i += LANES
    else:
        while i < count:
            cost(loss, v_load(z + i) + b, v_load(y + i), v_load(s + i), &c, &g)
            v_store(z + i, g)
            total = total + c
            slope = slope + g
            i += LANES
    v_store(value, total)
    v_store(bias, slope)


cdef inline void loss_block(
    int loss, Py_ssize_t count, real intercept, real *z, const real *y, const real *s,
    real *value, real *bias,
) noexcept nogil:
    # The loss is a constant in each call, so the loops hold no branch on it.
    if loss == LOSS_SQUARED_ERROR:
        loss_loop(LOSS_SQUARED_ERROR, count, intercept, z, y, s, value, bias)
    elif loss == LOSS_LOG_LOSS:
        loss_loop(LOSS_LOG_LOSS, count, intercept, z, y, s, value, bias)
    else:
        loss_loop(LOSS_QUADRATIC, count, intercept, z, y, s, value, bias)


# --------------------------------------------------------------------- lines of a block

cdef inline Py_ssize_t row_at(const int32_t *order, Py_ssize_t i) noexcept nogil:
    return i if order == NULL else order[i]


cdef struct Block:
    const char *lines
    Py_ssize_t step     # bytes from line to line
    bint by_columns
    Py_ssize_t length   # of a line: features, or rows padded to registers
    const AlignmentPhases *phases  # of rows of X itself that are read by turns, or NULL
    Py_ssize_t first
    Prefetch prefetch_ptr         # of rows of X itself


cdef extern from "narrow.h" nogil:
    void narrow_columns(const char *rows, Py_ssize_t stride, Py_ssize_t count,
                        Py_ssize_t inside, Py_ssize_t d, real *columns, Py_ssize_t step,
                        real *wide)


cdef inline void prefetch_rows(
    Lines *x, Py_ssize_t first, Py_ssize_t m, Py_ssize_t ahead
) noexcept nogil:
    """Prefetch as many bytes as m rows have, if they lie one behind the other."""
    cdef Py_ssize_t i = 0, wanted = m * x.row_stride if x.row_stride == x.d * REAL_SIZE else 0
    while i < wanted:
        prefetch(x.base + first * x.row_stride + ahead + i)
        i += CACHE_LINE


# Rows that fill no register are loaded and stored as if they did: what a register has of the rows
# behind is overwritten by them, or dropped. Behind the last rows (`narrow`) there are none.

cdef void take_narrow_rows(
    Lines *x, const int32_t *order, Py_ssize_t first, Py_ssize_t m, real *buffer
) noexcept nogil:
    """Each row in a register, with zeros after it."""
    cdef Py_ssize_t i, row
    cdef const char *line
    cdef real[MAX_LANES] own
    cdef vreal kept, zero = v_set(0)
    for i in range(LANES):
        own[i] = -1 if i < x.d else 0
    kept = v_load(own)
    for i in range(m):
        row = row_at(order, first + i)
        line = x.base + row * x.row_stride
        if row < x.narrow:
            v_store(buffer + i * LANES, v_where_negative(kept, v_load(<const real *>line), zero))
        else:
            v_store(buffer + i * LANES, zero)
            memcpy(buffer + i * LANES, line, x.d * REAL_SIZE)


cdef void take_narrow_columns(
    Lines *x, Py_ssize_t first, Py_ssize_t m, real *buffer, Py_ssize_t padded
) noexcept nogil:
    """The columns of m rows, each with zeros after it up to a whole register."""
    cdef Py_ssize_t j, whole = m - m % LANES
    cdef const char *line = x.base + first * x.row_stride
    narrow_columns(line, x.row_stride, whole, x.narrow - first, x.d, buffer, padded,
                   buffer + padded * x.d)
    if whole < m:
        for j in range(x.d):
            v_store(buffer + j * padded + whole, v_set(0))
            convert_line(buffer + j * padded + whole, line + whole * x.row_stride + j * REAL_SIZE,
                         m - whole, x.row_stride, x.kind)


cdef inline void take_block(
    Lines *x, const int32_t *order, Py_ssize_t first, Py_ssize_t m, real *buffer, Block *block,
) noexcept nogil:
    """Point at the rows first to first + m of an order, or convert them into the buffer."""
    cdef Py_ssize_t i, padded = round_up(m, LANES)
    block.prefetch_ptr.next = NULL
    block.phases = NULL
    if order == NULL:
        if x.layout == ROWS:
            block.lines = x.base + first * x.row_stride
            if x.row_stride == x.d * REAL_SIZE:
                block.prefetch_ptr.next = block.lines + (
                    ROWS_AHEAD_BYTES if x.row_stride <= LONG_ROW_BYTES else LONG_ROWS_AHEAD_BYTES
                )
            block.step = x.row_stride
            block.by_columns = False
            block.length = x.d
            block.first = first
            if x.phases.count:
                block.phases = &x.phases
            return
        if x.layout == COLUMNS and m == padded:
            block.lines = x.base + first * REAL_SIZE
            if not stays_cached(x.n, x.d * REAL_SIZE):
                block.prefetch_ptr.next = block.lines + m * REAL_SIZE
            block.step = x.column_stride
            block.by_columns = True
            block.length = m
            return
        if x.layout == COLUMNS or x.layout == CONVERTED_COLUMNS:
            block.lines = <const char *>buffer
            block.step = padded * REAL_SIZE
            block.by_columns = True
            block.length = padded
            if x.narrow:
                if not stays_cached(x.n, x.d * REAL_SIZE):
                    prefetch_rows(x, first, m, ROWS_AHEAD_BYTES)
                take_narrow_columns(x, first, m, buffer, padded)
                return
            for i in range(x.d):
                # What pads the column, before it: a register's store, where a call takes
                # longer than the column.
                v_store(buffer + (i + 1) * padded - LANES, v_set(0))
                convert_line(buffer + i * padded, x.base + first * x.row_stride
                             + i * x.column_stride, m, x.row_stride, x.kind)
            return
    block.lines = <const char *>buffer
    block.step = x.width * REAL_SIZE
    block.by_columns = False
    block.length = x.width
    if x.narrow:
        # 10.9 -> 4.3 ms an epoch of 2,000,000 x 10 float32 (Zen 5).
        if order == NULL and not stays_cached(x.n, x.d * REAL_SIZE):
            prefetch_rows(x, first, m, ROWS_AHEAD_BYTES)
        take_narrow_rows(x, order, first, m, buffer)
        return
    for i in range(m):
        v_store(buffer + (i + 1) * x.width - LANES, v_set(0))
        convert_line(buffer + i * x.width, x.base + row_at(order, first + i) * x.row_stride,
                     x.d, x.column_stride, x.kind)


cdef inline void block_scores(
    Block *block, Lines *x, Py_ssize_t m, const real *theta, const real *last,
    const real *phased, real *z, Prefetch *prefetch_ptr,
) noexcept nogil:
    """z = X w for one neuron; z has room for whole registers."""
    if block.by_columns:
        sum_columns(block.lines, block.step, x.d, block.length, theta, z)
    elif block.phases != NULL:
        phased_dots(block.phases, block.first, block.lines, block.step, m, block.length, phased, z,
                    prefetch_ptr)
    else:
        row_dots(block.lines, block.step, m, block.length, theta, last, z, prefetch_ptr)


cdef inline void block_gradient(
    Block *block, Lines *x, Py_ssize_t m, const real *g, real *grad, real *last, real *phased,
    Prefetch *prefetch_ptr,
) noexcept nogil:
    """grad += X^T g for one neuron."""
    if block.by_columns:
        add_column_dots(block.lines, block.step, x.d, block.length, g, grad, prefetch_ptr.next)
    elif block.phases != NULL:
        phased_sums(block.phases, block.first, block.lines, block.step, m, block.length, g, phased,
                    prefetch_ptr)
    else:
        row_sums(block.lines, block.step, m, block.length, g, grad, last, prefetch_ptr)


cdef inline void prefetch_entries(
    index_t *indices, const real *values, Py_ssize_t start, Py_ssize_t stop
) noexcept nogil:
    """Prefetch entries as many as a row has, SPARSE_AHEAD after it.

    Processors ask for too little by themselves, because they see the end of a row too late:
    7.0 -> 5.2 ms an epoch of 100,000 rows of 60 float32 (Zen 5).
    """
    cdef Py_ssize_t i = start
    while i < stop:
        prefetch(values + i + SPARSE_AHEAD)
        prefetch(indices + i + SPARSE_AHEAD)
        i += CACHE_LINE // 8


# Entries are counted in the type of the indices: with a wider one, gcc gathers weights into
# registers one by one, which takes longer.

cdef inline real entries_dot(
    index_t *indices, const real *values, index_t at_, index_t stop, const real *weights
) noexcept nogil:
    cdef real a = 0, b = 0, c = 0, d = 0
    while stop - at_ >= 4:
        a += values[at_] * weights[indices[at_]]
        b += values[at_ + 1] * weights[indices[at_ + 1]]
        c += values[at_ + 2] * weights[indices[at_ + 2]]
        d += values[at_ + 3] * weights[indices[at_ + 3]]
        at_ += 4
    while at_ < stop:
        a += values[at_] * weights[indices[at_]]
        at_ += 1
    return (a + b) + (c + d)


cdef void sparse_scores(
    index_t *indices, index_t *indptr, Lines *x, const int32_t *order, Py_ssize_t first,
    Py_ssize_t m, Py_ssize_t K, const real *theta, Py_ssize_t span, real *z, Py_ssize_t z_step,
) noexcept nogil:
    cdef Py_ssize_t i, k, row
    cdef index_t start, stop
    cdef const real *values = x.values
    for i in range(m):
        row = row_at(order, first + i)
        start, stop = indptr[row], indptr[row + 1]
        prefetch_entries(indices, values, start, stop)
        for k in range(K):
            z[k * z_step + i] = entries_dot(indices, values, start, stop, theta + k * span)


cdef inline void add_entries(
    index_t *indices, const real *values, index_t at_, index_t stop, double factor, double *sums
) noexcept nogil:
    while stop - at_ >= 4:
        sums[indices[at_]] += factor * values[at_]
        sums[indices[at_ + 1]] += factor * values[at_ + 1]
        sums[indices[at_ + 2]] += factor * values[at_ + 2]
        sums[indices[at_ + 3]] += factor * values[at_ + 3]
        at_ += 4
    while at_ < stop:
        sums[indices[at_]] += factor * values[at_]
        at_ += 1


cdef void sparse_gradient(
    index_t *indices, index_t *indptr, Lines *x, const int32_t *order, Py_ssize_t first,
    Py_ssize_t m, Py_ssize_t K, const real *g, Py_ssize_t g_step, double *grad, Py_ssize_t span,
) noexcept nogil:
    cdef Py_ssize_t i, k, row
    for i in range(m):
        row = row_at(order, first + i)
        for k in range(K):
            add_entries(indices, x.values, indptr[row], indptr[row + 1], g[k * g_step + i],
                        grad + k * span)


cdef inline void sparse_block_scores(
    Lines *x, const int32_t *order, Py_ssize_t first, Py_ssize_t m, Py_ssize_t K,
    const real *weights, Py_ssize_t span, real *z, Py_ssize_t z_step,
) noexcept nogil:
    if x.index_size == 4:
        sparse_scores(<int32_t *>x.indices, <int32_t *>x.indptr, x, order, first, m, K,
                      weights, span, z, z_step)
    else:
        sparse_scores(<int64_t *>x.indices, <int64_t *>x.indptr, x, order, first, m, K,
                      weights, span, z, z_step)


# --------------------------------------------------------------------- few columns
#
# All columns of two registers of rows at a time: scores, costs and sums in one loop, so that the
# processor computes while it waits for memory. An epoch of 2,000,000 x 16 float32 takes 2.9 ms
# instead of 4.6, of which 2.7 are reading (Zen 5, one thread). More columns leave the first
# cache before their sums: they are read in blocks.

cdef extern from "columns.h" nogil:
    void columns_scores(int quads, int registers, line_t *column, Py_ssize_t row, Py_ssize_t d,
                        const real *w, real start, vreal *scores)
    void columns_sums(int quads, int registers, line_t *column, Py_ssize_t row, Py_ssize_t d,
                      const vreal *g, real *sums)


cdef inline inlined_void few_columns_rows(
    int quads, int registers, int loss, line_t *column, Py_ssize_t row, Py_ssize_t d,
    const real *theta, const real *y, const real *s, real *sums, vreal *value, vreal *bias,
) noexcept nogil:
    cdef vreal[2] z
    cdef vreal c, g, w
    cdef int r
    columns_scores(quads, registers, column, row, d, theta, theta[d], z)
    for r in range(registers):
        w = v_set(1) if s == NULL else v_load(s + row + r * LANES)
        if loss == LOSS_SQUARED_ERROR:
            cost(LOSS_SQUARED_ERROR, z[r], v_load(y + row + r * LANES), w, &c, &g)
        elif loss == LOSS_LOG_LOSS:
            cost(LOSS_LOG_LOSS, z[r], v_load(y + row + r * LANES), w, &c, &g)
        else:
            cost(LOSS_QUADRATIC, z[r], v_load(y + row + r * LANES), w, &c, &g)
        value[0] = value[0] + c
        bias[0] = bias[0] + g
        z[r] = g
    columns_sums(quads, registers, column, row, d, z, sums)


cdef inline inlined_void few_columns_loop(
    int quads, int loss, line_t *column, Py_ssize_t count, Py_ssize_t d, const real *theta,
    const real *y, const real *s, real *sums, real *value, real *bias,
) noexcept nogil:
    cdef vreal total = v_load(value), slope = v_load(bias)
    cdef Py_ssize_t i = 0
    while i + 2 * LANES <= count:
        few_columns_rows(quads, 2, loss, column, i, d, theta, y, s, sums, &total, &slope)
        i += 2 * LANES
    if i < count:
        few_columns_rows(quads, 1, loss, column, i, d, theta, y, s, sums, &total, &slope)
    v_store(value, total)
    v_store(bias, slope)


cdef void few_columns_pass(
    int loss, Block *block, Py_ssize_t d, const real *theta, const real *y, const real *s,
    real *sums, real *grad, real *value, real *bias,
) noexcept nogil:
    """As `block_pass`, of one neuron; `sums` has room for a register for each column."""
    cdef Py_ssize_t j, m = block.length
    cdef line_t[FEW_COLUMNS] x
    cdef real[FEW_COLUMNS] totals
    memset(sums, 0, round_up(d, LANES) * LANES * REAL_SIZE)
    for j in range(d):
        x[j] = at(block.lines, j * block.step)
    if d < 4:
        few_columns_loop(0, loss, x, m, d, theta, y, s, sums, value, bias)
    elif d < 8:
        few_columns_loop(1, loss, x, m, d, theta, y, s, sums, value, bias)
    elif d < 12:
        few_columns_loop(2, loss, x, m, d, theta, y, s, sums, value, bias)
    elif d < 16:
        few_columns_loop(3, loss, x, m, d, theta, y, s, sums, value, bias)
    elif d < 20:
        few_columns_loop(4, loss, x, m, d, theta, y, s, sums, value, bias)
    elif d < 24:
        few_columns_loop(5, loss, x, m, d, theta, y, s, sums, value, bias)
    elif d < 28:
        few_columns_loop(6, loss, x, m, d, theta, y, s, sums, value, bias)
    elif d < 32:
        few_columns_loop(7, loss, x, m, d, theta, y, s, sums, value, bias)
    else:
        few_columns_loop(8, loss, x, m, d, theta, y, s, sums, value, bias)
    sums_of(sums, d, 1, totals)
    for j in range(d):
        grad[j] += totals[j]


# --------------------------------------------------------------------- the pass

cdef void read_targets(
    Problem *p, Scratch *s, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    """Targets and weights, if there are any, of a group, in order."""
    cdef Py_ssize_t i, k, row
    cdef int wanted
    cdef real *targets
    cdef const uint8_t *codes
    for k in range(p.K):
        wanted = 1 if p.K == 1 else <int>k
        targets = s.targets + k * p.x.group
        if p.codes_8 != NULL and p.order == NULL:
            # A loop of its own, because the compiler vectorises it: others take ten
            # instructions a row.
            codes = p.codes_8 + first
            for i in range(m):
                targets[i] = codes[i] == wanted
        else:
            for i in range(m):
                row = row_at(p.order, first + i)
                if p.soft != NULL:
                    targets[i] = p.soft[k * p.soft_step + row]
                elif p.codes_8 != NULL:
                    targets[i] = p.codes_8[row] == wanted
                else:
                    targets[i] = p.codes_32[row] == wanted
    if p.sample_weight != NULL:
        for i in range(m):
            s.weights[i] = p.sample_weight[row_at(p.order, first + i)]


cdef inline void scores_of_block(
    Problem *p, Scratch *s, Py_ssize_t first, Py_ssize_t m, Block *block
) noexcept nogil:
    """X w for every neuron, without the intercepts, into the scratch's scores."""
    cdef Py_ssize_t k, B = p.scores_step
    cdef Prefetch none
    none.next = NULL
    if p.x.layout == SPARSE:
        memset(s.scores, 0, p.K * B * REAL_SIZE)
        sparse_block_scores(&p.x, p.order, first, m, p.K, p.theta, p.span, s.scores, B)
    else:
        take_block(&p.x, p.order, first, m, s.lines, block)
        for k in range(p.K):
            block_scores(block, &p.x, m, p.theta + k * p.span,
                         p.theta + k * p.span + p.length, p.phased + k * p.phased_step,
                         s.scores + k * B,
                         &block.prefetch_ptr if k == 0 and p.predicted == NULL else &none)


cdef inline vreal activate(int activation, vreal z) noexcept nogil:
    cdef vreal power, r, small
    if activation == ACTIVATION_LOGISTIC:
        exp_parts(z, &power, &r)
        small = logistic_of_parts(power, r)
        return v_where_negative(z, small, v_set(1) - small)
    if activation == ACTIVATION_LOG_LOGISTIC:
        return log_logistic(z)
    return z


cdef void block_prediction(
    Problem *p, Scratch *s, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    cdef Py_ssize_t i, k, B = p.scores_step
    cdef real *z
    cdef vreal b, score, doubt = v_set(0)
    cdef Block block
    if p.x.layout == ROWS and p.x.row_stride <= LONGEST_PREFETCHED_ROW:
        # Processors ask for too little by themselves: 16.0 -> 10.2 ms for 1,000,000 x 100
        # float32, which take 9.7 ms to read (Zen 5). Requests spread over the loop, as those of
        # a pass (`Prefetch`) are, took 12.4 ms; in float64, blocks of twice the size 23.8 ms
        # instead of 21.1, of which 19.3 are reading. Long rows they ask for themselves, and blocks
        # of them are too much to ask for at once: 9.9 -> 7.5 ms for 300 MB of float64 at d = 2000.
        prefetch_rows(&p.x, first, m, PREDICTED_AHEAD)
    scores_of_block(p, s, first, m, &block)
    for k in range(p.K):
        z = s.scores + k * B
        b = v_set(p.theta[k * p.span + p.x.d])
        for i in range(m, round_up(m, LANES)):
            z[i] = 0
        i = 0
        while i < m:
            score = v_load(z + i) + b
            # 0, or NaN.
            doubt = doubt + (score - score)
            v_store(z + i, activate(p.activation, score))
            i += LANES
        for i in range(m):
            p.predicted[(first + i) * p.K + k] = z[i]
    if v_sum(doubt) != 0:
        p.not_finite = True


cdef inline void block_losses(
    Problem *p, Py_ssize_t m, const real *y, Py_ssize_t y_step, const real *weights,
    real *scores, Py_ssize_t scores_step, real *grad, real *value,
) noexcept nogil:
    """Costs of m rows; their derivatives take the place of the scores."""
    cdef Py_ssize_t k, i, whole = m - m % LANES
    cdef real intercept
    cdef real *z
    cdef real *bias
    # Of the last rows, where they are not a whole register.
    cdef real[MAX_LANES] rest_z, rest_y, rest_weights
    for k in range(p.K):
        intercept = p.theta[k * p.span + p.x.d]
        z = scores + k * scores_step
        bias = grad + k * p.span + p.span - LANES
        if whole:
            loss_block(p.loss, whole, intercept, z, y + k * y_step, weights, value, bias)
        if whole < m:
            for i in range(LANES):
                rest_z[i] = rest_y[i] = rest_weights[i] = 0
            for i in range(m - whole):
                rest_z[i] = z[whole + i]
                rest_y[i] = y[k * y_step + whole + i]
                rest_weights[i] = 1 if weights == NULL else weights[whole + i]
            loss_block(p.loss, LANES, intercept, rest_z, rest_y, rest_weights, value, bias)
            for i in range(m - whole):
                z[whole + i] = rest_z[i]


cdef void block_pass(
    Problem *p, Scratch *s, Py_ssize_t first, Py_ssize_t m, const real *y, Py_ssize_t y_step,
    const real *weights, double *total, real *value,
) noexcept nogil:
    """Add the value and gradient of rows first to first + m, at most a block.

    The gradient goes to the scratch's sums; of CSR, whose columns may have any number of entries,
    to `total`.
    """
    cdef real *grad = s.sums
    cdef Py_ssize_t k, i, B = p.scores_step, padded = round_up(m, LANES)
    cdef Block block
    cdef Prefetch none
    none.next = NULL
    if (
        few_columns(&p.x) and p.K == 1 and p.order == NULL and m == padded
        and p.loss != LOSS_MULTINOMIAL
    ):
        take_block(&p.x, NULL, first, m, s.lines, &block)
        few_columns_pass(p.loss, &block, p.x.d, p.theta, y, weights, s.scores, grad, value,
                         grad + p.span - LANES)
        return
    scores_of_block(p, s, first, m, &block)
    if p.loss == LOSS_MULTINOMIAL:
        for k in range(p.K):
            for i in range(m, padded):
                s.scores[k * B + i] = 0
        softmax_block(p.K, padded, p.theta + p.x.d, p.span, s.scores, B, y, y_step, weights,
                      value, grad + p.span - LANES)
    else:
        block_losses(p, m, y, y_step, weights, s.scores, B, grad, value)
    if p.x.layout == SPARSE:
        if p.x.index_size == 4:
            sparse_gradient(<int32_t *>p.x.indices, <int32_t *>p.x.indptr, &p.x, p.order, first,
                            m, p.K, s.scores, B, total, p.span)
        else:
            sparse_gradient(<int64_t *>p.x.indices, <int64_t *>p.x.indptr, &p.x, p.order, first,
                            m, p.K, s.scores, B, total, p.span)
    else:
        for k in range(p.K):
            block_gradient(&block, &p.x, m, s.scores + k * B, grad + k * p.span,
                           grad + k * p.span + p.length, s.phased + k * p.phased_step,
                           &block.prefetch_ptr if k == 0 else &none)


cdef void group_pass(
    Problem *p, Scratch *s, Py_ssize_t first, Py_ssize_t count, double *total, double *value
) noexcept nogil:
    """Add the value and gradient of rows first to first + count, at most a group.

    As in `block_pass`.
    """
    cdef Py_ssize_t i = 0, m
    # Few enough rows for a sum of their own type.
    cdef real[MAX_LANES] costs
    cdef const real *y
    cdef const real *weights = NULL
    cdef Py_ssize_t y_step
    # Softmax takes whole registers of rows, the last padded with rows that weigh nothing.
    cdef Py_ssize_t rest = round_up(count, LANES) - count if p.loss == LOSS_MULTINOMIAL else 0
    if p.soft != NULL and p.order == NULL and rest == 0:
        y = p.soft + first
        y_step = p.soft_step
        if p.sample_weight != NULL:
            weights = p.sample_weight + first
    else:
        read_targets(p, s, first, count)
        y = s.targets
        y_step = p.x.group
        if rest:
            for i in range(p.K):
                memset(s.targets + i * p.x.group + count, 0, rest * REAL_SIZE)
            if p.sample_weight == NULL:
                for i in range(count):
                    s.weights[i] = 1
            memset(s.weights + count, 0, rest * REAL_SIZE)
            i = 0
        if p.sample_weight != NULL or rest:
            weights = s.weights
    v_store(costs, v_set(0))
    while i < count:
        m = min(p.x.block, count - i)
        block_pass(p, s, first + i, m, y + i, y_step, weights + i if weights != NULL else NULL,
                   total, costs)
        i += m
        if check_signals(p.team, s - p.scratch, m * p.row_elements):
            return
    value[0] += v_sum(v_load(costs))


cdef inline Py_ssize_t rows_before_boundary(Problem *p, Py_ssize_t first) noexcept nogil:
    """Rows from `first` on that lie before the columns' next boundary of a register."""
    if p.x.layout != COLUMNS or p.order != NULL or p.x.head == 0:
        return 0
    return (p.x.head + LANES - first % LANES) % LANES


cdef inline void fill_ragged(
    const real *theta, Py_ssize_t d, Py_ssize_t head, real *last
) noexcept nogil:
    """The last weights, after zeros where whole registers reach.

    Where there is a lead then its weights, before zeros.
    """
    cdef Py_ssize_t rest = (d - head) % LANES, i
    for i in range(LANES):
        last[i] = 0 if i < LANES - rest else theta[d - LANES + i]
        if head:
            last[LANES + i] = theta[i] if i < head else 0


cdef inline void add_ragged(
    const real *last, Py_ssize_t d, Py_ssize_t head, real *sums
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(LANES - (d - head) % LANES, LANES):
        sums[d - LANES + i] += last[i]
    for i in range(head):
        sums[i] += last[LANES + i]


cdef inline void lay_out_weights(Problem *p) noexcept nogil:
    """As the registers of rows meet them, whole and ragged."""
    cdef Py_ssize_t k, phase
    cdef const real *theta
    cdef real *vectors
    for k in range(p.K):
        theta, vectors = p.theta + k * p.span, p.phased + k * p.phased_step
        if p.x.layout == ROWS and p.x.phases.count == 0 and p.x.d % LANES:
            fill_ragged(theta, p.x.d, 0, p.theta + k * p.span + p.length)
        for phase in range(p.x.phases.count):
            fill_ragged(theta, p.x.d, p.x.phases.heads[phase], vectors + phase * p.x.phases.step)
            memcpy(vectors + phase_start(&p.x.phases, phase), theta, p.x.d * REAL_SIZE)


cdef inline void add_phased(Problem *p, const real *phased, real *grad) noexcept nogil:
    """Add the sums of each turn to those of all rows."""
    cdef Py_ssize_t k, phase, j
    cdef const real *sums
    for k in range(p.K):
        for phase in range(p.x.phases.count):
            sums = phased + k * p.phased_step
            add_ragged(sums + phase * p.x.phases.step, p.x.d, p.x.phases.heads[phase],
                       grad + k * p.span)
            sums += phase_start(&p.x.phases, phase)
            for j in range(p.x.d):
                grad[k * p.span + j] += sums[j]


cdef inline Py_ssize_t sums_begin(Problem *p) noexcept nogil:
    """Where the part of a neuron's sums begins that the scratch takes up: of CSR the last."""
    return p.span - LANES if p.x.layout == SPARSE else 0


cdef inline void clear_sums(Problem *p, Scratch *s) noexcept nogil:
    cdef Py_ssize_t k, begin = sums_begin(p)
    for k in range(p.K):
        memset(s.sums + k * p.span + begin, 0, (p.span - begin) * REAL_SIZE)
    memset(s.phased, 0, p.K * p.phased_step * REAL_SIZE)


cdef inline void add_sums(Problem *p, Scratch *s, double *total, bint first) noexcept nogil:
    """Add the scratch's sums to those of the chunk, which they begin if they are the first."""
    cdef Py_ssize_t k, i, begin = sums_begin(p), count = p.span - begin
    cdef const real *part
    cdef double *sums
    add_phased(p, s.phased, s.sums)
    for k in range(p.K):
        part, sums = s.sums + k * p.span + begin, total + k * p.span + begin
        if first:
            for i in range(count):
                sums[i] = part[i]
        else:
            for i in range(count):
                sums[i] += part[i]


cdef void pass_chunk(void *job, int64_t thread, Py_ssize_t chunk) noexcept nogil:
    cdef Problem *p = <Problem *>job
    cdef Scratch *s = &p.scratch[thread]
    cdef Py_ssize_t head = rows_before_boundary(p, p.start)
    cdef Py_ssize_t first = p.start + (head + chunk * p.chunk if chunk else 0)
    cdef Py_ssize_t stop = min(p.start + head + (chunk + 1) * p.chunk, p.stop)
    cdef double *total = p.partial + chunk * p.K * p.span
    cdef Py_ssize_t m
    cdef bint fresh = True, added = False
    if atomic_read(&p.team.interrupted):
        return
    if p.predicted == NULL:
        p.partial_value[chunk] = 0
        if p.x.layout == SPARSE:
            memset(total, 0, p.K * p.span * sizeof(double))
    while first < stop:
        m = min(p.x.block if p.predicted != NULL else p.x.group, stop - first)
        head = rows_before_boundary(p, first)
        if 0 < head < m:
            m = head
        elif (p.x.layout == COLUMNS or few_columns(&p.x)) and m > LANES:
            m -= m % LANES
        if p.predicted != NULL:
            block_prediction(p, s, first, m)
            check_signals(p.team, s - p.scratch, m * p.row_elements)
        else:
            if fresh:
                clear_sums(p, s)
            group_pass(p, s, first, m, total, &p.partial_value[chunk])
            # Sums of a chunk in float32 would lose digits: a constant column's over 10^7 rows
            # was off by 4e-4. Those of a group take 0.5 % of the instructions.
            fresh = REAL_SIZE == 4
            if fresh or first + m >= stop:
                add_sums(p, s, total, not added)
                added = True
        if atomic_read(&p.team.interrupted):
            return
        first += m


cdef inline Py_ssize_t elements_of_pass(Problem *p) noexcept nogil:
    return sparse_entries(p) if p.x.layout == SPARSE else (p.stop - p.start) * p.x.d


cdef inline Py_ssize_t chunks_wanted(Problem *p) noexcept nogil:
    """At most, of the rows of the pass."""
    cdef Py_ssize_t most = clamp(2, 1 + MAX_PARTIALS // (p.K * p.span), MAX_CHUNKS)
    return clamp(1, elements_of_pass(p) // max(<Py_ssize_t>CHUNK_ELEMENTS, 6 * p.span), most)


cdef void cut_chunks(Problem *p) noexcept nogil:
    """Cut the rows of a pass into chunks of whole blocks, by the problem alone."""
    cdef Py_ssize_t rows = p.stop - p.start, head = rows_before_boundary(p, p.start)
    cdef Py_ssize_t elements = elements_of_pass(p), wanted = chunks_wanted(p)
    # In numbers that threads share evenly.
    wanted -= wanted % 8 if wanted > 8 else wanted % 2 if wanted > 2 else 0
    # At least one row a chunk, also where there are none to cut.
    p.chunk = round_up(max(1, (rows + wanted - 1) // wanted), p.x.group)
    p.n_chunks = (max(rows - head, min(rows, 1)) + p.chunk - 1) // p.chunk
    p.row_elements = (elements // max(1, rows) + 1) * p.K
    p.sum_parts = SHARED_SUM_PARTS if p.n_chunks * p.K * p.span > SHARED_SUM else 1


cdef Py_ssize_t sparse_entries(Problem *p) noexcept nogil:
    """Entries in the rows of the pass; with an order, their expected number."""
    if p.order == NULL:
        return entries_between(&p.x, p.start, p.stop)
    return entries_between(&p.x, 0, p.x.n) // p.x.n * (p.stop - p.start)


cdef inline Py_ssize_t entries_between(
    Lines *x, Py_ssize_t first, Py_ssize_t stop
) noexcept nogil:
    if x.index_size == 4:
        return (<int32_t *>x.indptr)[stop] - (<int32_t *>x.indptr)[first]
    return (<int64_t *>x.indptr)[stop] - (<int64_t *>x.indptr)[first]


cdef inline Py_ssize_t tiles(Problem *p) noexcept nogil:
    return (p.K * p.span + SUM_TILE - 1) // SUM_TILE


cdef inline void sum_tile(Problem *p, Py_ssize_t tile) noexcept nogil:
    """Sum over the chunks, in their order, of a tile of gradients."""
    cdef Py_ssize_t size = p.K * p.span, first = tile * SUM_TILE, chunk, i
    cdef Py_ssize_t count = min(<Py_ssize_t>SUM_TILE, size - first)
    cdef double[SUM_TILE] total
    cdef const double *part
    for i in range(SUM_TILE):
        total[i] = 0
    for chunk in range(p.n_chunks):
        part = p.partial + chunk * size + first
        if count == SUM_TILE:
            # A constant number: the compiler keeps the sums in registers.
            for i in range(SUM_TILE):
                total[i] += part[i]
        else:
            for i in range(count):
                total[i] += part[i]
    for i in range(count):
        p.total[first + i] = <real>(total[i] * p.factor)


cdef void sum_part(void *job, int64_t thread, Py_ssize_t part) noexcept nogil:
    cdef Problem *p = <Problem *>job
    cdef Py_ssize_t tile, count = tiles(p)
    for tile in range(part * count // p.sum_parts, (part + 1) * count // p.sum_parts):
        sum_tile(p, tile)


cdef inline void settle(Problem *p) noexcept nogil:
    """Bring the sums of the ragged register and of the intercept to their places."""
    cdef Py_ssize_t k
    cdef real *total
    for k in range(p.K):
        total = p.total + k * p.span
        if p.x.layout == ROWS:
            add_ragged(total + p.length, p.x.d, 0, total)
        total[p.x.d] = v_sum(v_load(total + p.span - LANES))


cdef double whole_pass(
    Problem *p, const int32_t *order, Py_ssize_t start, Py_ssize_t stop, double factor
) noexcept nogil:
    """Value at `theta`; the gradient is left in `total`. For thread 0 only."""
    cdef Py_ssize_t chunk
    cdef double value = 0
    if p.x.layout == PACKED:
        return packed_pass(p, factor)
    lay_out_weights(p)
    if start != p.start or stop != p.stop or order != p.order or p.chunk == 0:
        p.order, p.start, p.stop = order, start, stop
        cut_chunks(p)
    p.factor = factor
    run_chunks(p.team, pass_chunk, p, p.n_chunks)
    if p.team.interrupted:
        return 0
    for chunk in range(p.n_chunks):
        value += p.partial_value[chunk]
    run_chunks(p.team, sum_part, p, p.sum_parts)
    settle(p)
    return value * factor


# --------------------------------------------------------------------- set-up of a call

cdef class NeuronJob(Job):
    """One call's problem and memory."""

    cdef Problem p
    cdef real *memory
    cdef double *values

    def __cinit__(self):
        memset(&self.p, 0, sizeof(Problem))
        self.memory = NULL
        self.values = NULL

    def __dealloc__(self):
        free(self.memory)
        free(self.values)
        free(self.p.scratch)

    cdef int set_up(
        self, Matrix X, Py_ssize_t K, int loss, y, sample_weight, Py_ssize_t n_threads,
        bint whole, bint gradients,
    ) except -1:
        """Point at the data and reserve the memory, that of gradients where they are wanted."""
        cdef Problem *p = &self.p
        cdef const real[:, ::1] soft
        cdef const uint8_t[::1] codes_8
        cdef const int32_t[::1] codes_32
        cdef const real[::1] weights
        cdef Py_ssize_t n, B, G, block_reals, scores_reals, scratch_reals, padded_reals, t
        cdef Py_ssize_t panel_reals, chunks
        cdef Py_ssize_t sums_reals = 0, phased_reals = 0, group_reals = 0
        cdef real *free_
        self.keep = (X, y, sample_weight)
        p.x = X.lines
        if whole and X.pack():
            p.x = X.packed
        p.K = K
        p.loss = loss
        # Few rows: one thread takes the panels.
        n_threads = 1 if p.x.layout == PACKED else n_threads
        self.form_team(n_threads)
        p.team = &self.team
        if loss == LOSS_MULTINOMIAL:
            # Softmax treats whole registers of rows.
            p.x.block = round_up(p.x.block, LANES)
            p.x.group = round_up(p.x.group, p.x.block)
        n, B, G = p.x.n, p.x.block, p.x.group
        p.length = round_up(p.x.d + 1, LANES)
        p.span = p.length + 2 * LANES
        p.phased_step = p.x.phases.count * p.x.phases.step
        if y is None:
            pass
        elif y.ndim == 2:
            soft = y
            p.soft = &soft[0, 0]
            p.soft_step = n
        elif y.itemsize == 1:
            codes_8 = y
            p.codes_8 = &codes_8[0]
        else:
            codes_32 = y
            p.codes_32 = &codes_32[0]
        if sample_weight is not None:
            weights = sample_weight
            p.sample_weight = &weights[0]

        block_reals = 0
        if p.x.layout != SPARSE:
            # With an order, blocks of any layout become rows.
            block_reals = round_up(B, LANES) * p.x.width
            if p.x.narrow:
                # The last of the wider rows are stored as a register.
                block_reals += LANES
        p.scores_step = round_up(B, LANES)
        scores_reals = K * p.scores_step
        if gradients:
            sums_reals, phased_reals, group_reals = K * p.span, K * p.phased_step, (K + 1) * G
        scratch_reals = block_reals + scores_reals + sums_reals + phased_reals + group_reals
        padded_reals = (K + 1) * round_up(n, LANES) if p.x.layout == PACKED else 0
        panel_reals = LANES * p.length if p.x.layout == PACKED else 0
        # As many chunks as all rows have. Predictions sum nothing up.
        p.start, p.stop = 0, n
        chunks = chunks_wanted(p) if gradients else 0
        # Vectors that begin with a cache line: registers do not straddle two.
        scratch_reals = round_up(scratch_reals, 64)
        what = f"the weights of {K} x {p.x.d}" + (" and their gradients" if gradients else "")
        self.memory = <real *>reserve(
            64 // REAL_SIZE + n_threads * scratch_reals + round_up(padded_reals, 64)
            + K * p.phased_step + (2 if gradients else 1) * K * p.span + panel_reals, REAL_SIZE,
            what,
        )
        self.values = <double *>reserve(chunks * (1 + K * p.span) + 8, sizeof(double), what)
        p.scratch = <Scratch *>reserve(n_threads, sizeof(Scratch), "threads")
        p.partial = <double *>from_cache_line(<real *>self.values)
        p.partial_value = p.partial + chunks * K * p.span
        free_ = from_cache_line(self.memory)
        p.padded_step = round_up(n, LANES)
        p.padded_targets = free_
        p.padded_weights = free_ + K * p.padded_step
        free_ += round_up(padded_reals, 64)
        for t in range(n_threads):
            p.scratch[t].scores = free_
            p.scratch[t].sums = free_ + scores_reals
            p.scratch[t].phased = p.scratch[t].sums + sums_reals
            p.scratch[t].targets = p.scratch[t].phased + phased_reals
            p.scratch[t].weights = p.scratch[t].targets + K * G
            p.scratch[t].lines = p.scratch[t].phased + phased_reals + group_reals
            free_ += scratch_reals
        p.phased = free_
        p.theta = p.phased + K * p.phased_step
        p.total = p.theta + K * p.span
        memset(p.theta, 0, (2 if gradients else 1) * K * p.span * REAL_SIZE)
        p.panel_sums = p.total + K * p.span
        if p.x.layout == PACKED:
            self.pad_targets()
        return 0

    cdef void set_theta(self, const real[:, ::1] coef, const real[::1] intercept):
        cdef Problem *p = &self.p
        cdef Py_ssize_t k
        for k in range(p.K):
            memcpy(p.theta + k * p.span, &coef[k, 0], p.x.d * REAL_SIZE)
            p.theta[k * p.span + p.x.d] = intercept[k]

    cdef void pad_targets(self) noexcept:
        """Targets and weights of a packed X once, padded with rows that weigh nothing."""
        cdef Problem *p = &self.p
        cdef Scratch *s = &p.scratch[0]
        cdef Py_ssize_t i, k, first = 0, m
        memset(p.padded_targets, 0, (p.K + 1) * p.padded_step * REAL_SIZE)
        while first < p.x.n:
            m = min(p.x.group, p.x.n - first)
            read_targets(p, s, first, m)
            for k in range(p.K):
                memcpy(p.padded_targets + k * p.padded_step + first, s.targets + k * p.x.group,
                       m * REAL_SIZE)
            for i in range(m):
                p.padded_weights[first + i] = 1 if p.sample_weight == NULL else s.weights[i]
            first += m
