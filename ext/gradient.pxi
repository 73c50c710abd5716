# The fused pass, `gradient` and `evaluator` of the contract: scores, losses and gradient of a
# block of rows while the block is in the cache, so that X is read from memory once.

cdef enum:
    FEW_COLUMNS_REGISTERS = 2   # of rows at a time (columns.h)


# --------------------------------------------------------------------- losses of a block

cdef inline inlined_void loss_loop(
    int loss, Py_ssize_t count, real intercept, real *z, const real *y, const real *s,
    real *value, real *bias,
) noexcept nogil:
    """z[:count] becomes s dc/dz at z + intercept; count is whole registers.

    The registers at `value` and `bias` take up the sums of the losses and of the derivatives.
    """
    cdef vreal total = v_load(value), total_bias = v_load(bias), b = v_set(intercept)
    cdef vreal c, g, weight
    cdef Py_ssize_t i = 0
    while i < count:
        weight = v_set(1) if s == NULL else v_load(s + i)
        loss_of(loss, v_load(z + i) + b, v_load(y + i), weight, &c, &g)
        v_store(z + i, g)
        total = total + c
        total_bias = total_bias + g
        i += LANES
    v_store(value, total)
    v_store(bias, total_bias)


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


cdef inline void block_losses(
    Pass *p, Scratch *s, Py_ssize_t m, const RowTargets *t, real *value
) noexcept nogil:
    """Losses of m rows; their derivatives take the place of the scores."""
    cdef Py_ssize_t k, i, whole = m - m % LANES
    cdef real intercept
    cdef real *z
    cdef real *bias
    # Of the last rows, where they are not a whole register.
    cdef real[MAX_LANES] rest_z, rest_y, rest_weights
    for k in range(p.w.K):
        intercept = p.w.theta[k * p.w.length + p.w.d]
        z, bias = s.scores + k * p.scores_step, s.bias + k * LANES
        if whole:
            loss_block(p.loss, whole, intercept, z, t.y + k * t.step, t.weights, value, bias)
        if whole < m:
            for i in range(LANES):
                rest_z[i] = rest_y[i] = rest_weights[i] = 0
            for i in range(m - whole):
                rest_z[i] = z[whole + i]
                rest_y[i] = t.y[k * t.step + whole + i]
                rest_weights[i] = 1 if t.weights == NULL else t.weights[whole + i]
            loss_block(p.loss, LANES, intercept, rest_z, rest_y, rest_weights, value, bias)
            for i in range(m - whole):
                z[whole + i] = rest_z[i]


# --------------------------------------------------------------------- few columns
#
# All columns of two registers of rows at a time: scores, losses and sums in one loop, so that the
# processor computes while it waits for memory (docs/internals/kernels.md).

ctypedef const real *column_t

cdef extern from "columns.h" nogil:
    void columns_scores(int quads, int registers, column_t *column, Py_ssize_t row, Py_ssize_t d,
                        const real *w, real start, vreal *scores)
    void columns_sums(int quads, int registers, column_t *column, Py_ssize_t row, Py_ssize_t d,
                      const vreal *g, real *sums)

cdef struct FewColumns:
    column_t[FEW_COLUMNS] column
    Py_ssize_t rows
    Py_ssize_t d
    const real *theta
    const real *y
    const real *weights     # or NULL
    real *sums              # a register for each column
    vreal value
    vreal bias


cdef inline inlined_void few_columns_rows(
    int quads, int registers, int loss, FewColumns *f, Py_ssize_t row
) noexcept nogil:
    cdef vreal[FEW_COLUMNS_REGISTERS] z
    cdef vreal c, g, weight
    cdef const real *y = f.y + row
    cdef int r
    columns_scores(quads, registers, f.column, row, f.d, f.theta, f.theta[f.d], z)
    for r in range(registers):
        weight = v_set(1)
        if f.weights != NULL:
            weight = v_load(f.weights + row + r * LANES)
        if loss == LOSS_SQUARED_ERROR:
            loss_of(LOSS_SQUARED_ERROR, z[r], v_load(y + r * LANES), weight, &c, &g)
        elif loss == LOSS_LOG_LOSS:
            loss_of(LOSS_LOG_LOSS, z[r], v_load(y + r * LANES), weight, &c, &g)
        else:
            loss_of(LOSS_QUADRATIC, z[r], v_load(y + r * LANES), weight, &c, &g)
        f.value = f.value + c
        f.bias = f.bias + g
        z[r] = g
    columns_sums(quads, registers, f.column, row, f.d, z, f.sums)


cdef inline inlined_void few_columns_loop(int quads, int loss, FewColumns *shared) noexcept nogil:
    # A copy, whose numbers stay in registers.
    cdef FewColumns f = shared[0]
    cdef Py_ssize_t i = 0
    while i + 2 * LANES <= f.rows:
        few_columns_rows(quads, 2, loss, &f, i)
        i += 2 * LANES
    if i < f.rows:
        few_columns_rows(quads, 1, loss, &f, i)
    shared.value, shared.bias = f.value, f.bias


cdef void few_columns_pass(
    int loss, Block *block, const Parameters *w, const RowTargets *t, Scratch *s, real *value
) noexcept nogil:
    """As `block_pass`, of one neuron."""
    cdef Py_ssize_t j, d = w.d
    cdef FewColumns f
    cdef real[FEW_COLUMNS] totals
    cdef real *grad = s.sums + operand_start(0)
    f.rows, f.d, f.theta, f.sums = block.length, d, w.theta, s.scores
    f.y, f.weights = t.y, t.weights
    f.value, f.bias = v_load(value), v_load(s.bias)
    memset(f.sums, 0, round_up(d, LANES) * LANES * REAL_SIZE)
    for j in range(d):
        f.column[j] = <const real *>(block.data + j * block.step)
    if d < 4:
        few_columns_loop(0, loss, &f)
    elif d < 8:
        few_columns_loop(1, loss, &f)
    elif d < 12:
        few_columns_loop(2, loss, &f)
    elif d < 16:
        few_columns_loop(3, loss, &f)
    else:
        few_columns_loop(4, loss, &f)
    v_store(value, f.value)
    v_store(s.bias, f.bias)
    sums_of(f.sums, d, 1, totals)
    for j in range(d):
        grad[j] += totals[j]


# --------------------------------------------------------------------- the pass

cdef void block_pass(
    Pass *p, Scratch *s, const RowRange *rows, const RowTargets *t, double *total, real *value
) noexcept nogil:
    """Add the value and gradient of some rows, at most a block.

    The gradient goes to the scratch's sums; of CSR, whose columns may have any number of entries,
    to `total`.
    """
    cdef Py_ssize_t k, i, m = rows.count, B = p.scores_step, padded = round_up(m, LANES)
    cdef Block block
    cdef Prefetch none
    none.next = NULL
    if (
        few_columns(&p.x) and p.w.K == 1 and rows.order == NULL and m == padded
        and p.loss != LOSS_MULTINOMIAL
    ):
        take_block(&p.x, rows, s.rows, &block)
        few_columns_pass(p.loss, &block, &p.w, t, s, value)
        return
    block_scores(p, s, rows, &block, True)
    if p.loss == LOSS_MULTINOMIAL:
        for k in range(p.w.K):
            for i in range(m, padded):
                s.scores[k * B + i] = 0
        softmax_block(&p.w, padded, s.scores, B, t, value, s.bias)
    else:
        block_losses(p, s, m, t, value)
    if p.several and p.x.layout == SPARSE:
        several_sparse_gradients(p, s, rows, total)
    elif p.several:
        several_gradients(p, s, &block)
    elif p.x.layout == SPARSE:
        sparse_axpys(&p.x, rows, &p.w, s.scores, B, total)
    elif block.by_columns:
        for k in range(p.w.K):
            column_dots(&block, s.scores + k * B,
                        s.sums + k * p.w.operand_step + operand_start(0),
                        block.prefetch.next if k == 0 else NULL)
    else:
        for k in range(p.w.K):
            row_axpys(&block, s.scores + k * B, s.sums + k * p.w.operand_step,
                      &block.prefetch if k == 0 else &none)


cdef void group_pass(
    Pass *p, Scratch *s, const RowRange *group, double *total, double *value
) noexcept nogil:
    """Add the value and gradient of some rows, at most a group, as `block_pass`."""
    cdef Py_ssize_t i, k, count = group.count
    # Few enough rows for a sum of their own type.
    cdef real[MAX_LANES] losses
    cdef RowRange rows = group[0]
    cdef RowTargets t
    # Softmax takes whole registers of rows, the last padded with rows that weigh nothing.
    cdef Py_ssize_t rest = round_up(count, LANES) - count if p.loss == LOSS_MULTINOMIAL else 0
    t.weights = NULL
    if p.targets.soft != NULL and group.order == NULL and rest == 0:
        t.y, t.step = p.targets.soft + group.first, p.targets.step
        if p.targets.weights != NULL:
            t.weights = p.targets.weights + group.first
    else:
        read_targets(&p.targets, p.w.K, group, s.targets, p.x.group)
        t.y, t.step = s.targets, p.x.group
        if p.targets.weights != NULL or rest:
            for i in range(count):
                s.weights[i] = weight_of(&p.targets, row_at(group.order, group.first + i))
            memset(s.weights + count, 0, rest * REAL_SIZE)
            t.weights = s.weights
        for k in range(p.w.K if rest else 0):
            memset(s.targets + k * p.x.group + count, 0, rest * REAL_SIZE)
    v_store(losses, v_set(0))
    while rows.first < group.first + count:
        rows.count = min(p.x.block, group.first + count - rows.first)
        block_pass(p, s, &rows, &t, total, losses)
        rows.first += rows.count
        t.y += rows.count
        if t.weights != NULL:
            t.weights += rows.count
        if check_signals(p.team, s - p.scratch, rows.count * p.row_elements):
            return
    value[0] += v_sum(v_load(losses))


cdef inline void clear_sums(Pass *p, Scratch *s) noexcept nogil:
    memset(s.sums, 0, p.w.K * p.w.operand_step * REAL_SIZE)
    memset(s.bias, 0, p.w.K * LANES * REAL_SIZE)


cdef inline void add_sums(
    Pass *p, Scratch *s, const AlignmentPhases *phases, double *total
) noexcept nogil:
    """Add the scratch's sums to those of the chunk."""
    cdef Py_ssize_t k, phase
    if p.several and p.x.layout == SPARSE:
        for k in range(p.w.K):
            total[p.w.d * p.w.K + k] += v_sum(v_load(s.bias + k * LANES))
        return
    for k in range(p.w.K):
        total[p.w.d] += v_sum(v_load(s.bias + k * LANES))
        for phase in range(phases.count if p.x.layout != SPARSE else 0):
            add_operand(s.sums + k * p.w.operand_step + phase * phases.step, p.w.d,
                        phases.heads[phase], total)
        total += p.w.length


cdef void pass_chunk(void *job, int64_t thread, Py_ssize_t chunk) noexcept nogil:
    """Value and gradient of a chunk of rows."""
    cdef Pass *p = <Pass *>job
    cdef Scratch *s = &p.scratch[thread]
    cdef double *total = p.sums.sums + chunk * p.sums.size
    cdef double *value = p.sums.values + chunk
    cdef Py_ssize_t stop = first_row(p, chunk + 1)
    cdef RowRange rows
    cdef const AlignmentPhases *phases = phases_of(&p.x, p.order)
    rows.order, rows.first = p.order, first_row(p, chunk)
    value[0] = 0
    memset(total, 0, p.sums.size * sizeof(double))
    clear_sums(p, s)
    while rows.first < stop and not atomic_read(&p.team.interrupted):
        rows.count = rows_at(p, rows.first, stop, p.x.group)
        group_pass(p, s, &rows, total, value)
        rows.first += rows.count
        # Sums of a chunk in float32 would lose digits: a constant column's over 10^7 rows was off
        # by 4e-4. Those of a group take 0.5 % of the instructions.
        if REAL_SIZE == 4 or rows.first >= stop:
            add_sums(p, s, phases, total)
            clear_sums(p, s)


cdef double run_pass(
    Pass *p, const int32_t *order, Py_ssize_t start, Py_ssize_t stop, double factor
) noexcept nogil:
    """Value at `theta`; the gradient is left in `sums.total`. For thread 0 only."""
    cdef double value
    if p.x.layout == PACKED:
        return packed_pass(p, factor)
    lay_out(p, order)
    if start != p.start or stop != p.stop or order != p.order or p.chunk == 0:
        cut_chunks(p, order, start, stop)
    run_chunks(p.team, pass_chunk, p, p.sums.n_chunks)
    if p.team.interrupted:
        return 0
    value = sum_chunks(p.team, &p.sums, factor)
    if p.several and p.x.layout == SPARSE:
        transpose_sums(p)
    return value


# --------------------------------------------------------------------- calls

cdef class Gradient(NeuronJob):
    """A call of `gradient`."""

    cdef const real[:, ::1] coef
    cdef const real[::1] intercept
    cdef real[:, ::1] coef_grad
    cdef real[::1] intercept_grad
    cdef double scale

    def __init__(self, data, int loss, coef, intercept, coef_grad, intercept_grad, n_threads):
        self.bind(data.X, coef.shape[0], loss, data.y, data.sample_weight)
        self.pack(data.X)
        self.set_up(n_threads, True)
        self.scale = data.scale
        self.coef, self.intercept = coef, intercept
        self.coef_grad, self.intercept_grad = coef_grad, intercept_grad

    def lead(self):
        cdef Pass *p = &self.p
        cdef double value
        set_theta(&p.w, self.coef, self.intercept)
        with nogil:
            value = run_pass(p, NULL, 0, p.x.n, self.scale)
        raise_if_interrupted(p.team)
        get_theta(&p.w, p.sums.total, self.coef_grad, self.intercept_grad)
        return value


cdef class Evaluator(Gradient):
    """What `evaluator` returns.

    A thread that is started for each call comes late: where the other processor was idle, or
    another package's idle threads spin there, the system lets it wait behind the one that
    started it, for milliseconds.
    """

    def __init__(self, *arguments):
        Gradient.__init__(self, *arguments)
        self.patience = LINGERING_NS
        # They take a while to come.
        self.start_threads()

    def __call__(self):
        cdef uint64_t mode = ieee_mode()
        try:
            self.start_threads()
            return self.lead()
        finally:
            restore_mode(mode)
