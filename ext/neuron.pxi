# The fused pass: scores, cost and gradient of a block of rows while the block is in the
# cache, so that an epoch reads X from memory once. Also prediction, through the same reads.

ctypedef fused index_t:
    int32_t
    int64_t


cdef struct Scratch:
    # One thread's working memory; every array is padded to whole registers.
    real *lines    # converted block
    real *scores   # (K, block): z, then the derivative
    real *targets  # (K, block)
    real *weights  # (block)


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
    # lines.pxi), and a register for the intercept's sum.
    Py_ssize_t length
    Py_ssize_t span
    real *theta
    real *total
    real *partial           # one for each chunk
    double *partial_value
    # The rows of the pass under way.
    const int32_t *order
    Py_ssize_t start
    Py_ssize_t stop
    Py_ssize_t chunk
    Py_ssize_t n_chunks
    Py_ssize_t chunk_elements
    # Threads
    int64_t n_threads
    int64_t arrived
    int64_t round
    int64_t next_chunk
    int64_t started
    int64_t ended
    int64_t left
    Scratch *scratch
    Py_ssize_t unchecked    # elements since signals were looked at
    # Prediction: where the activated scores go, (n, K), instead of a gradient.
    real *predicted
    int activation
    bint interrupted        # a signal's handler raised; the pass under way counts for nothing


cdef inline void ask(Ahead *ahead) noexcept nogil:
    """Prefetch the share of the next block that goes with one register of costs.

    The costs touch no row: without this memory idles meanwhile (70 % of the read rate at
    d = 100, against 85 %).
    """
    cdef Py_ssize_t i
    if ahead.place < ahead.end:
        for i in range(ahead.share):
            prefetch(ahead.place + i * CACHE_LINE)
        ahead.place += ahead.share * CACHE_LINE


# --------------------------------------------------------------------- cost over a block

cdef inline void cost_loop(
    int loss, Py_ssize_t count, real intercept, real *z, const real *y, const real *s,
    double *value, real *bias, Ahead *ahead,
) noexcept nogil:
    """z[:count] becomes s dc/dz at z + intercept; count is whole registers."""
    cdef vreal total = v_set(0), slope = v_set(0), b = v_set(intercept)
    cdef vreal c, g, w
    cdef Py_ssize_t i = 0
    if s == NULL:
        while i < count:
            ask(ahead)
            cost(loss, v_load(z + i) + b, v_load(y + i), &c, &g)
            v_store(z + i, g)
            total = total + c
            slope = slope + g
            i += LANES
    else:
        while i < count:
            ask(ahead)
            cost(loss, v_load(z + i) + b, v_load(y + i), &c, &g)
            w = v_load(s + i)
            g = g * w
            v_store(z + i, g)
            total = total + c * w
            slope = slope + g
            i += LANES
    value[0] += v_sum(total)
    bias[0] += v_sum(slope)


cdef inline void cost_block(
    int loss, Py_ssize_t count, real intercept, real *z, const real *y, const real *s,
    double *value, real *bias, Ahead *ahead,
) noexcept nogil:
    # The loss is a constant in each call, so the loops hold no branch on it.
    if loss == LOSS_SQUARED_ERROR:
        cost_loop(LOSS_SQUARED_ERROR, count, intercept, z, y, s, value, bias, ahead)
    elif loss == LOSS_LOG_LOSS:
        cost_loop(LOSS_LOG_LOSS, count, intercept, z, y, s, value, bias, ahead)
    else:
        cost_loop(LOSS_QUADRATIC, count, intercept, z, y, s, value, bias, ahead)


# --------------------------------------------------------------------- lines of a block

cdef inline Py_ssize_t row_at(const int32_t *order, Py_ssize_t i) noexcept nogil:
    return i if order == NULL else order[i]


cdef struct Block:
    const char *lines
    Py_ssize_t step     # bytes from line to line
    bint by_columns
    Py_ssize_t length   # of a line: features, or rows padded to registers
    Py_ssize_t ahead    # bytes to the block that comes next, for long lines
    Ahead next          # that block, for short lines


cdef inline void take_block(
    Lines *x, const int32_t *order, Py_ssize_t first, Py_ssize_t m, real *buffer, Block *block,
) noexcept nogil:
    """Point at the rows first to first + m of an order, or convert them into the buffer."""
    cdef Py_ssize_t i, padded = round_up(m, LANES)
    block.ahead = 0
    if order == NULL:
        if x.layout == ROWS:
            block.lines = x.base + first * x.row_stride
            block.step = x.row_stride
            block.by_columns = False
            block.length = x.d
            block.ahead = x.block * x.row_stride
            if x.row_stride == x.d * REAL_SIZE:
                block.next.place = block.lines + block.ahead
                block.next.end = block.next.place + block.ahead
                block.next.share = LANES * x.row_stride // (CACHE_LINE * COST_SHARE)
            return
        if x.layout == COLUMNS and m == padded:
            block.lines = x.base + first * REAL_SIZE
            block.step = x.column_stride
            block.by_columns = True
            block.length = m
            block.ahead = x.block * REAL_SIZE
            return
        if x.layout == COLUMNS or x.layout == CONVERTED_COLUMNS:
            block.lines = <const char *>buffer
            block.step = padded * REAL_SIZE
            block.by_columns = True
            block.length = padded
            for i in range(x.d):
                convert_line(buffer + i * padded, x.base + first * x.row_stride
                             + i * x.column_stride, m, x.row_stride, x.kind)
                memset(buffer + i * padded + m, 0, (padded - m) * REAL_SIZE)
            return
    block.lines = <const char *>buffer
    block.step = x.width * REAL_SIZE
    block.by_columns = False
    block.length = x.width
    for i in range(m):
        convert_line(buffer + i * x.width, x.base + row_at(order, first + i) * x.row_stride,
                     x.d, x.column_stride, x.kind)
        memset(buffer + i * x.width + x.d, 0, (x.width - x.d) * REAL_SIZE)


cdef inline void block_scores(
    Block *block, Lines *x, Py_ssize_t m, const real *theta, const real *last, real *z
) noexcept nogil:
    """z = X w for one neuron; z is padded to whole registers."""
    memset(z, 0, round_up(m, LANES) * REAL_SIZE)
    if block.by_columns:
        accumulate(block.lines, block.step, x.d, block.length, theta, z, NULL, block.ahead)
    elif block.length <= SHORT_LINE:
        short_dots(block.lines, block.step, m, block.length, theta, last, z, &block.next)
    else:
        dots(block.lines, block.step, m, block.length, theta, last, z, block.ahead)


cdef inline void block_gradient(
    Block *block, Lines *x, Py_ssize_t m, const real *g, real *grad, real *last
) noexcept nogil:
    """grad += X^T g for one neuron."""
    if block.by_columns:
        dots(block.lines, block.step, x.d, block.length, g, NULL, grad, block.ahead)
    elif block.length <= SHORT_LINE:
        short_accumulate(block.lines, block.step, m, block.length, g, grad, last, &block.next)
    else:
        accumulate(block.lines, block.step, m, block.length, g, grad, last, block.ahead)


cdef void sparse_scores(
    index_t *indices, index_t *indptr, Lines *x, const int32_t *order, Py_ssize_t first,
    Py_ssize_t m, Py_ssize_t K, const real *weights, Py_ssize_t span, real *z, Py_ssize_t z_step,
) noexcept nogil:
    cdef Py_ssize_t i, k, row
    cdef index_t at_, stop
    cdef real a, b
    for i in range(m):
        row = row_at(order, first + i)
        stop = indptr[row + 1]
        for k in range(K):
            a = b = 0
            at_ = indptr[row]
            while at_ + 2 <= stop:
                a += x.values[at_] * weights[k * span + indices[at_]]
                b += x.values[at_ + 1] * weights[k * span + indices[at_ + 1]]
                at_ += 2
            if at_ < stop:
                a += x.values[at_] * weights[k * span + indices[at_]]
            z[k * z_step + i] = a + b


cdef void sparse_gradient(
    index_t *indices, index_t *indptr, Lines *x, const int32_t *order, Py_ssize_t first,
    Py_ssize_t m, Py_ssize_t K, const real *g, Py_ssize_t g_step, real *grad, Py_ssize_t span,
) noexcept nogil:
    cdef Py_ssize_t i, k, row
    cdef index_t at_
    cdef real factor
    for i in range(m):
        row = row_at(order, first + i)
        for k in range(K):
            factor = g[k * g_step + i]
            for at_ in range(indptr[row], indptr[row + 1]):
                grad[k * span + indices[at_]] += factor * x.values[at_]


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


# --------------------------------------------------------------------- the pass

cdef void read_targets(
    Problem *p, Scratch *s, Py_ssize_t first, Py_ssize_t m, Py_ssize_t padded
) noexcept nogil:
    """Targets and weights of a block, in order and padded with rows that weigh nothing."""
    cdef Py_ssize_t i, k, row
    cdef int wanted
    cdef Py_ssize_t B = p.x.block
    cdef real *targets
    cdef const uint8_t *codes
    for k in range(p.K):
        wanted = 1 if p.K == 1 else <int>k
        targets = s.targets + k * B
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
        for i in range(m, padded):
            targets[i] = 0
    if p.sample_weight == NULL and m == padded and p.x.layout != PACKED:
        return
    for i in range(m):
        s.weights[i] = 1 if p.sample_weight == NULL else p.sample_weight[row_at(p.order, first + i)]
    for i in range(m, padded):
        s.weights[i] = 0


cdef inline void scores_of_block(
    Problem *p, Scratch *s, Py_ssize_t first, Py_ssize_t m, Block *block
) noexcept nogil:
    """X w for every neuron, without the intercepts, into the scratch's scores."""
    cdef Py_ssize_t k, B = p.x.block
    block.next.place = block.next.end = NULL
    if p.x.layout == SPARSE:
        memset(s.scores, 0, p.K * B * REAL_SIZE)
        sparse_block_scores(&p.x, p.order, first, m, p.K, p.theta, p.span, s.scores, B)
    else:
        take_block(&p.x, p.order, first, m, s.lines, block)
        for k in range(p.K):
            block_scores(block, &p.x, m, p.theta + k * p.span,
                         p.theta + k * p.span + p.length, s.scores + k * B)


cdef inline vreal activate(int activation, vreal z) noexcept nogil:
    cdef vreal positive, negative, e, rest
    if activation == ACTIVATION_LOGISTIC:
        e = exp_minus_abs(z, &rest)
        logistic_pair(z, e, rest, &positive, &negative)
        return positive
    if activation == ACTIVATION_LOG_LOGISTIC:
        return log_logistic(z)
    return z


cdef void block_prediction(
    Problem *p, Scratch *s, Py_ssize_t first, Py_ssize_t m
) noexcept nogil:
    cdef Py_ssize_t i, k, B = p.x.block
    cdef real *z
    cdef vreal b
    cdef Block block
    scores_of_block(p, s, first, m, &block)
    for k in range(p.K):
        z = s.scores + k * B
        b = v_set(p.theta[k * p.span + p.x.d])
        i = 0
        while i < m:
            v_store(z + i, activate(p.activation, v_load(z + i) + b))
            i += LANES
        for i in range(m):
            p.predicted[(first + i) * p.K + k] = z[i]


cdef void block_pass(
    Problem *p, Scratch *s, Py_ssize_t first, Py_ssize_t m, real *grad, double *value
) noexcept nogil:
    """Add the value and gradient of rows first to first + m, at most a block."""
    cdef Py_ssize_t k, B = p.x.block
    cdef Py_ssize_t padded = round_up(m, LANES)
    cdef const real *y
    cdef const real *weights = NULL
    cdef Py_ssize_t y_step
    cdef Block block
    if p.soft != NULL and p.order == NULL and m == padded:
        y = p.soft + first
        y_step = p.soft_step
        if p.sample_weight != NULL:
            weights = p.sample_weight + first
    else:
        read_targets(p, s, first, m, padded)
        y = s.targets
        y_step = B
        if p.sample_weight != NULL or m != padded:
            weights = s.weights

    scores_of_block(p, s, first, m, &block)
    if p.loss == LOSS_MULTINOMIAL:
        softmax_block(p.K, padded, p.theta + p.x.d, p.span, s.scores, B, y, y_step, weights,
                      value, grad + p.span - LANES)
    for k in range(p.K if p.loss != LOSS_MULTINOMIAL else 0):
        cost_block(p.loss, padded, p.theta[k * p.span + p.x.d], s.scores + k * B,
                   y + k * y_step, weights, value, grad + k * p.span + p.span - LANES,
                   &block.next)
    if p.x.layout == SPARSE:
        if p.x.index_size == 4:
            sparse_gradient(<int32_t *>p.x.indices, <int32_t *>p.x.indptr, &p.x, p.order, first,
                            m, p.K, s.scores, B, grad, p.span)
        else:
            sparse_gradient(<int64_t *>p.x.indices, <int64_t *>p.x.indptr, &p.x, p.order, first,
                            m, p.K, s.scores, B, grad, p.span)
    else:
        for k in range(p.K):
            block_gradient(&block, &p.x, m, s.scores + k * B, grad + k * p.span,
                           grad + k * p.span + p.length)


cdef void chunk_pass(Problem *p, Scratch *s, Py_ssize_t chunk) noexcept nogil:
    cdef Py_ssize_t first = p.start + chunk * p.chunk
    cdef Py_ssize_t stop = min(first + p.chunk, p.stop)
    cdef real *grad = p.partial + chunk * p.K * p.span
    cdef Py_ssize_t m
    memset(grad, 0, p.K * p.span * REAL_SIZE)
    p.partial_value[chunk] = 0
    while first < stop:
        m = min(p.x.block, stop - first)
        if p.x.layout == COLUMNS and m > LANES:
            m -= m % LANES
        if p.predicted != NULL:
            block_prediction(p, s, first, m)
        else:
            block_pass(p, s, first, m, grad, &p.partial_value[chunk])
        first += m


cdef void cut_chunks(Problem *p) noexcept nogil:
    """Cut the rows of a pass into chunks of whole blocks, by the problem alone."""
    cdef Py_ssize_t rows = p.stop - p.start
    cdef Py_ssize_t elements = rows * p.x.d
    cdef Py_ssize_t least = max(<Py_ssize_t>CHUNK_ELEMENTS, 8 * p.span)
    cdef Py_ssize_t wanted
    if p.x.layout == SPARSE:
        elements = sparse_entries(p)
    wanted = between(1, elements // least, MOST_CHUNKS)
    # At least one row a chunk, also where there are none to cut.
    p.chunk = round_up(max(1, (rows + wanted - 1) // wanted), p.x.block)
    p.n_chunks = (rows + p.chunk - 1) // p.chunk
    p.chunk_elements = elements // max(1, p.n_chunks)


cdef Py_ssize_t sparse_entries(Problem *p) noexcept nogil:
    """Entries in the rows of the pass; with an order, their expected number."""
    cdef Py_ssize_t first = 0 if p.order != NULL else p.start
    cdef Py_ssize_t stop = p.x.n if p.order != NULL else p.stop
    cdef Py_ssize_t entries
    if p.x.index_size == 4:
        entries = (<int32_t *>p.x.indptr)[stop] - (<int32_t *>p.x.indptr)[first]
    else:
        entries = (<int64_t *>p.x.indptr)[stop] - (<int64_t *>p.x.indptr)[first]
    return entries if p.order == NULL else entries // p.x.n * (p.stop - p.start)


cdef int look_at_signals(Problem *p) noexcept nogil:
    """Let Ctrl-C through every few hundredths of a second of work."""
    p.unchecked += p.chunk_elements * p.K
    if p.unchecked > 50_000_000:
        p.unchecked = 0
        with gil:
            p.interrupted = PyErr_CheckSignals() != 0
    return p.interrupted


cdef void take_chunks(Problem *p, int64_t member) noexcept nogil:
    cdef int64_t chunk = -1
    while True:
        if p.n_threads == 1:
            chunk += 1
        else:
            chunk = atomic_next(&p.next_chunk)
        if chunk >= p.n_chunks:
            return
        chunk_pass(p, &p.scratch[member], chunk)
        if member == 0 and look_at_signals(p):
            # Leave the others nothing to take.
            atomic_write(&p.next_chunk, p.n_chunks)
            return


cdef void share_chunks(Problem *p) noexcept nogil:
    """All chunks of the pass, with the other members. Called by the first only."""
    if p.n_threads == 1:
        take_chunks(p, 0)
        return
    p.next_chunk = 0
    meet(&p.arrived, &p.round, p.n_threads)
    take_chunks(p, 0)
    meet(&p.arrived, &p.round, p.n_threads)


cdef inline void ragged_in(Problem *p) noexcept nogil:
    """Fill the ragged registers: the last weights, after zeros where whole registers reach."""
    cdef Py_ssize_t rest = p.x.d % LANES
    cdef Py_ssize_t i, k
    cdef real *theta
    if p.x.layout == ROWS and rest:
        for k in range(p.K):
            theta = p.theta + k * p.span
            for i in range(LANES):
                theta[p.length + i] = 0 if i < LANES - rest else theta[p.x.d - LANES + i]


cdef inline void settle(Problem *p) noexcept nogil:
    """Bring the sums of the ragged register and of the intercept to their places."""
    cdef Py_ssize_t rest = p.x.d % LANES
    cdef Py_ssize_t i, k
    cdef real *total
    for k in range(p.K):
        total = p.total + k * p.span
        if p.x.layout == ROWS and rest:
            for i in range(LANES - rest, LANES):
                total[p.x.d - LANES + i] += total[p.length + i]
        total[p.x.d] = total[p.span - LANES]


cdef double whole_pass(
    Problem *p, const int32_t *order, Py_ssize_t start, Py_ssize_t stop, double factor
) noexcept nogil:
    """Value at `theta`; the gradient is left in `total`. Called by the first member only."""
    cdef Py_ssize_t j, chunk, size = p.K * p.span
    cdef double value = 0, total
    if p.x.layout == PACKED:
        return packed_pass(p, factor)
    ragged_in(p)
    if start != p.start or stop != p.stop or order != p.order or p.chunk == 0:
        p.order, p.start, p.stop = order, start, stop
        cut_chunks(p)
    share_chunks(p)
    for chunk in range(p.n_chunks):
        value += p.partial_value[chunk]
    if p.n_chunks == 1:
        for j in range(size):
            p.total[j] = p.partial[j] * <real>factor
    else:
        for j in range(size):
            total = 0
            for chunk in range(p.n_chunks):
                total += p.partial[chunk * size + j]
            p.total[j] = <real>(total * factor)
    settle(p)
    return value * factor


cdef void follow(Problem *p, int64_t member) noexcept nogil:
    """What the other members do: their share of every pass, until told to stop."""
    wait_until(&p.started, 1)
    while True:
        meet(&p.arrived, &p.round, p.n_threads)
        if atomic_read(&p.ended):
            return
        take_chunks(p, member)
        meet(&p.arrived, &p.round, p.n_threads)


# --------------------------------------------------------------------- set-up of a call

cdef class Job:
    """One call's problem, memory and threads."""

    cdef Problem p
    cdef object keep
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
        bint whole,
    ) except -1:
        cdef Problem *p = &self.p
        cdef const real[:, ::1] soft
        cdef const uint8_t[::1] codes_8
        cdef const int32_t[::1] codes_32
        cdef const real[::1] weights
        cdef Py_ssize_t n, B, block_reals, scratch_reals, padded_reals, t
        cdef real *free_
        self.keep = (X, y, sample_weight)
        p.x = X.lines
        if whole and X.pack():
            p.x = X.packed
        p.K = K
        p.loss = loss
        p.n_threads = n_threads
        n, B = p.x.n, p.x.block
        p.length = round_up(p.x.d + 1, LANES)
        p.span = p.length + 2 * LANES
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
        scratch_reals = block_reals + (2 * K + 1) * B
        padded_reals = (K + 1) * round_up(n, LANES) if p.x.layout == PACKED else 0
        # Vectors that begin with a cache line: registers do not straddle two.
        scratch_reals = round_up(scratch_reals, 64)
        self.memory = <real *>malloc(64 + REAL_SIZE * (
            n_threads * scratch_reals + round_up(padded_reals, 64)
            + (MOST_CHUNKS + 2) * K * p.span + LANES * (p.x.d + 1)
        ))
        self.values = <double *>malloc(MOST_CHUNKS * sizeof(double))
        p.scratch = <Scratch *>malloc(n_threads * sizeof(Scratch))
        if self.memory == NULL or self.values == NULL or p.scratch == NULL:
            raise MemoryError()
        p.partial_value = self.values
        free_ = <real *>(<size_t>self.memory + 63 & ~<size_t>63)
        p.padded_step = round_up(n, LANES)
        p.padded_targets = free_
        p.padded_weights = free_ + K * p.padded_step
        free_ += round_up(padded_reals, 64)
        for t in range(n_threads):
            p.scratch[t].scores = free_
            p.scratch[t].targets = free_ + K * B
            p.scratch[t].weights = free_ + 2 * K * B
            p.scratch[t].lines = free_ + (2 * K + 1) * B
            free_ += scratch_reals
        p.theta = free_
        p.total = p.theta + K * p.span
        memset(p.theta, 0, 2 * K * p.span * REAL_SIZE)
        p.partial = p.total + K * p.span
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
        """Targets and weights of a packed X once, so that epochs need not look at its end."""
        cdef Problem *p = &self.p
        cdef Py_ssize_t k, first = 0, m, padded
        while first < p.x.n:
            m = min(p.x.block, p.x.n - first)
            padded = round_up(m, LANES)
            read_targets(p, &p.scratch[0], first, m, padded)
            for k in range(p.K):
                memcpy(p.padded_targets + k * p.padded_step + first,
                       p.scratch[0].targets + k * p.x.block, padded * REAL_SIZE)
            memcpy(p.padded_weights + first, p.scratch[0].weights, padded * REAL_SIZE)
            first += m

    def follow(self, int64_t member):
        """Serve as member 1, 2, … of the job's threads until it ends."""
        with nogil:
            follow(&self.p, member)
            atomic_next(&self.p.left)

    def run(self):
        """Do the job, with threads of Python's as its other members.

        No line of Python runs between the first start and the last member's leave, so no
        signal handler can raise there and strand a member that waits for the others.
        """
        cdef int64_t members = 1
        while members < self.p.n_threads:
            try:
                start_new_thread(self.follow, (members,))
            except RuntimeError:
                break  # the system grants no more: the job runs with those it has
            members += 1
        self.p.n_threads = members
        atomic_write(&self.p.started, 1)
        try:
            return self.lead()
        finally:
            with nogil:
                wait_until(&self.p.left, members - 1)

    cdef void end(self) noexcept nogil:
        if self.p.n_threads > 1:
            atomic_write(&self.p.ended, 1)
            meet(&self.p.arrived, &self.p.round, self.p.n_threads)
