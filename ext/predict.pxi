# `predict` of the contract: scores of all rows, through an activation.

cdef enum:
    PREDICTED_BYTES = 8192  # of a block, at most


cdef inline vreal activate(int activation, vreal z) noexcept nogil:
    if activation == ACTIVATION_LOGISTIC:
        return logistic_of(z)
    if activation == ACTIVATION_LOG_LOGISTIC:
        return log_logistic(z)
    return z


cdef struct Predicting:
    Pass *p
    int activation
    real *out               # (n, K)
    bint nonfinite          # some score is not finite


cdef void prediction_block(
    Predicting *job, Scratch *s, const RowRange *rows
) noexcept nogil:
    cdef Pass *p = job.p
    cdef Py_ssize_t i, k, m = rows.count, K = p.w.K
    cdef real *z
    cdef vreal b, score, nonfinite = v_set(0)
    cdef Block block
    block_scores(p, s, rows, &block, False)
    for k in range(K):
        z = s.scores + k * p.scores_step
        b = v_set(p.w.theta[k * p.w.length + p.w.d])
        for i in range(m, round_up(m, LANES)):
            z[i] = 0
        i = 0
        while i < m:
            score = v_load(z + i) + b
            # 0, or NaN.
            nonfinite = nonfinite + (score - score)
            v_store(z + i, activate(job.activation, score))
            i += LANES
        for i in range(m):
            job.out[(rows.first + i) * K + k] = z[i]
    if v_sum(nonfinite) != 0:
        job.nonfinite = True


cdef void prediction_chunk(void *job_, int64_t thread, Py_ssize_t chunk) noexcept nogil:
    cdef Predicting *job = <Predicting *>job_
    cdef Pass *p = job.p
    cdef Py_ssize_t stop = first_row(p, chunk + 1)
    cdef RowRange rows
    rows.order, rows.first = NULL, first_row(p, chunk)
    while rows.first < stop:
        rows.count = rows_at(p, rows.first, stop, p.x.block)
        prediction_block(job, &p.scratch[thread], &rows)
        rows.first += rows.count
        if check_signals(p.team, thread, rows.count * p.row_elements):
            return


cdef class Prediction(NeuronJob):
    """A call of `predict`."""

    cdef Predicting job

    def __init__(self, Matrix X, const real[:, ::1] coef, const real[::1] intercept,
                 int activation, real[:, ::1] out, n_threads):
        cdef Pass *p = &self.p
        self.bind(X, coef.shape[0], LOSS_QUADRATIC, None, None)
        if p.x.layout == ROWS and p.x.d <= SHORT_REGISTERS * LANES:
            # Weights that stay in registers gain more than alignment.
            p.x.phases = p.x.plain
            p.x.block = rows_of_block(p.x.n, p.x.width * REAL_SIZE)
        if p.x.layout == ROWS:
            p.x.block = min(p.x.block, max(
                <Py_ssize_t>LANES, PREDICTED_BYTES // (p.x.width * REAL_SIZE) // LANES * LANES))
        self.set_up(n_threads, False)
        self.keep = (X, out)
        set_theta(&p.w, coef, intercept)
        self.job.p, self.job.activation, self.job.out = p, activation, &out[0, 0]

    def lead(self):
        cdef Pass *p = &self.p
        lay_out(p, NULL)
        cut_chunks(p, NULL, 0, p.x.n)
        with nogil:
            run_chunks(p.team, prediction_chunk, &self.job, p.sums.n_chunks)
        raise_if_interrupted(p.team)
        return not self.job.nonfinite
