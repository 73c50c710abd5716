# `descend` of the contract: epochs of the first-order solvers.

cdef struct Run:
    Pass *p
    Optimizer *o
    UpdateConfig config
    double scale
    Py_ssize_t n            # rows of an epoch
    const int32_t *order    # (epochs, n), or NULL
    double *history         # (epochs, 3)
    Py_ssize_t epochs


# --------------------------------------------------------------------- few features
#
# The parameters of one neuron over few features stay in registers, each in all lanes of its own:
# an epoch of few rows is one chain of operations (4 x 2: 28 instead of 49 ns).

cdef inline inlined_void narrow_descent(
    int loss, Py_ssize_t d, Py_ssize_t registers, Run *shared, int *status
) noexcept nogil:
    """As `descend_epochs`, for gradient descent over a constant number of features below FEW."""
    # A copy, which stores to the history cannot change behind the compiler's back.
    cdef Run run = shared[0]
    cdef Optimizer *o = run.o
    cdef Py_ssize_t epoch = 0, j
    cdef PanelRows rows = panel_rows(run.p, 0)
    # Four rows at most are repeated, which leaves two steps of each sum.
    cdef bint repeated = SCHUSS_REPEATED_ROWS and LANES >= 4 and 0 < run.p.x.n <= 4
    cdef real[(FEW + 1) * MAX_LANES] copies
    cdef vreal[FEW] w, sums
    cdef double learning_rate = run.config.learning_rate, l2_ = run.config.l2
    cdef vreal zero = v_set(0), largest, squares, bad, g, scale = v_set(<real>run.scale)
    cdef vreal l2 = v_set(<real>l2_), decay = v_set(<real>(learning_rate * l2_))
    cdef vreal step = v_set(<real>(learning_rate * run.scale))
    cdef double total, norm
    cdef double *row = run.history
    rows.registers = registers
    status[0] = STATUS_RAN
    for j in range(d + 1):
        w[j] = v_set(o.theta[j])
    if repeated:
        for j in range(d):
            v_store(copies + j * LANES, v_repeat4(v_load(rows.x + j * LANES)))
        v_store(copies + d * LANES, v_repeat4(v_load(rows.y)))
        v_store(copies + (d + 1) * LANES, v_repeat4(v_load(rows.weights)))
        rows.x, rows.y, rows.weights = copies, copies + d * LANES, copies + (d + 1) * LANES
    while epoch < run.epochs:
        narrow_panels(loss, d, rows, w, sums, repeated, &total)
        largest = squares = bad = zero
        for j in range(d + 1):
            sums[j] = v_sum_fours(sums[j]) if repeated else v_sum_all(sums[j])
            if j == d and not run.config.fit_intercept:
                sums[j] = zero
            g = sums[j] * scale
            if j < d and l2_ != 0:
                g = g + l2 * w[j]
                squares = squares + w[j] * w[j]
            largest = v_max(largest, v_abs(g))
            # Anything times zero is zero, but for infinities and NaN.
            bad = bad + (w[j] + g) * zero
        total = total * run.scale + (l2_ / 2 * v_first(squares) + v_first(bad))
        norm = v_first(largest + bad)
        row[0] = total
        row[1] = norm
        row[2] = o.counters[COUNTER_STEP]
        if not isfinite(total):
            status[0] = STATUS_NONFINITE
            break
        if norm <= run.config.tol:
            status[0] = STATUS_CONVERGED
            break
        for j in range(d + 1):
            if j < d and l2_ != 0:
                w[j] = w[j] - decay * w[j]
            w[j] = w[j] - step * sums[j]
        row[2] = o.counters[COUNTER_STEP] = learning_rate
        row += 3
        epoch += 1
    for j in range(d + 1):
        o.theta[j] = v_first(w[j])
    o.counters[COUNTER_STEPS] += epoch
    o.counters[COUNTER_EPOCHS] = epoch


cdef inline inlined_void narrow_descent_of(int loss, Run *run, int *status) noexcept nogil:
    """With constants: the number of features, and that of registers, if one."""
    cdef Py_ssize_t d = run.o.d, registers = run.p.packed.step // LANES
    if registers == 1:
        if d == 1:
            narrow_descent(loss, 1, 1, run, status)
        elif d == 2:
            narrow_descent(loss, 2, 1, run, status)
        else:
            narrow_descent(loss, 3, 1, run, status)
    elif d == 1:
        narrow_descent(loss, 1, registers, run, status)
    elif d == 2:
        narrow_descent(loss, 2, registers, run, status)
    else:
        narrow_descent(loss, 3, registers, run, status)


cdef inline bint stays_in_registers(const Run *run) noexcept nogil:
    cdef double step = run.config.learning_rate * run.scale
    return (
        SCHUSS_NARROW_DESCENT and run.p.x.layout == PACKED and 0 < run.o.d < FEW
        and run.o.K == 1 and run.config.solver == SOLVER_GD and run.config.l1 == 0
        and run.p.loss != LOSS_QUADRATIC
        # Which it takes as one factor.
        and (step == 0 or 1e-30 < step < 1e30)
    )


# --------------------------------------------------------------------- epochs

cdef int descend_epochs(Run *run) noexcept nogil:
    """Up to `epochs` epochs; returns a status."""
    cdef Pass *p = run.p
    cdef Optimizer *o = run.o
    cdef UpdateConfig *config = &run.config
    cdef Py_ssize_t n = run.n, epoch, start, stop
    cdef bint full = config.batch_size >= p.x.n
    cdef double total, share = 1, norm = 0, penalty = 0
    cdef double *row = run.history
    cdef const int32_t *order = NULL
    cdef int status
    if stays_in_registers(run):
        if p.loss == LOSS_SQUARED_ERROR:
            narrow_descent_of(LOSS_SQUARED_ERROR, run, &status)
        else:
            narrow_descent_of(LOSS_LOG_LOSS, run, &status)
        return status
    for epoch in range(run.epochs):
        if run.order != NULL:
            order = run.order + epoch * n
        total = 0
        start = 0
        while start < n:
            stop = n
            if not full:
                stop = min(start + config.batch_size, n)
                share = <double>(stop - start) / n
            total += run_pass(p, order, start, stop, run.scale / share) * share
            if p.team.interrupted:
                return STATUS_RAN
            add_l2(o, config)
            if stop == n or not isfinite(total):
                norm = norm_and_penalty(o, config, &penalty)
                total += penalty
            row[0] = total
            row[1] = norm
            row[2] = o.counters[COUNTER_STEP]
            if not isfinite(total):
                return STATUS_NONFINITE
            if full and norm <= config.tol:
                return STATUS_CONVERGED
            take_step(o, config, full)
            row[2] = o.counters[COUNTER_STEP]
            start = stop
        row += 3
        o.counters[COUNTER_EPOCHS] = epoch + 1
    return STATUS_RAN


cdef class Descent(NeuronJob):
    """A call of `descend`."""

    cdef Run run_
    cdef Optimizer o
    cdef object state
    cdef real[:, :, ::1] slots
    cdef real *vectors

    def __cinit__(self):
        self.vectors = NULL

    def __dealloc__(self):
        free(self.vectors)

    def __init__(self, data, state, config, order, double[:, ::1] history, n_threads):
        cdef const int32_t[:, ::1] orders
        cdef double[::1] counters = state.counters
        cdef Optimizer *o = &self.o
        cdef Pass *p = &self.p
        cdef Py_ssize_t j, S
        self.state, self.slots = state, state.slots
        self.bind(data.X, state.coef.shape[0], config.loss, data.y, data.sample_weight)
        if config.batch_size >= p.x.n:
            self.pack(data.X)
        self.set_up(n_threads, True)
        self.keep = (data, order, history)
        set_theta(&p.w, state.coef, state.intercept)
        counters[COUNTER_EPOCHS] = 0
        o.K, o.d, o.length = p.w.K, p.w.d, p.w.length
        o.theta, o.grad, o.counters = p.w.theta, p.sums.total, &counters[0]
        S = self.slots.shape[0]
        self.vectors = <real *>reserve((S * o.K + 2) * o.length, REAL_SIZE,
                                       "the arrays of the solver", True)
        o.is_weight, o.is_free = self.vectors, self.vectors + o.length
        o.slots = self.vectors + 2 * o.length
        for j in range(o.d):
            o.is_weight[j] = o.is_free[j] = 1
        o.is_free[o.d] = 1 if config.fit_intercept else 0
        self.copy_slots(into=True)
        self.run_.p, self.run_.o = p, o
        self.run_.config, self.run_.scale = read_UpdateConfig(config), data.scale
        self.run_.epochs = history.shape[0]
        self.run_.history = &history[0, 0] if history.shape[0] else NULL
        self.run_.n, self.run_.order = p.x.n, NULL
        if order is not None and history.shape[0] and config.batch_size < p.x.n:
            orders = order
            self.run_.n = orders.shape[1]
            self.run_.order = &orders[0, 0]

    cdef void copy_slots(self, bint into) noexcept:
        """Between the caller's slots and those in whole registers."""
        cdef Optimizer *o = &self.o
        cdef Py_ssize_t s, k, size = (o.d + 1) * REAL_SIZE
        for s in range(self.slots.shape[0]):
            for k in range(o.K):
                if into:
                    memcpy(slot(o, s, k), &self.slots[s, k, 0], size)
                else:
                    memcpy(&self.slots[s, k, 0], slot(o, s, k), size)

    def lead(self):
        """Returns (epochs, status)."""
        cdef int status
        with nogil:
            status = descend_epochs(&self.run_)
        get_theta(&self.p.w, self.p.w.theta, self.state.coef, self.state.intercept)
        self.copy_slots(into=False)
        raise_if_interrupted(self.p.team)
        return int(self.o.counters[COUNTER_EPOCHS]), status
