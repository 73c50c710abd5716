# Runs of the first-order configs, and the contract's functions over one type.
#
# The parameters of neuron k are whole registers: the weights, the intercept, zeros (`theta`
# of `Problem`, the gradient and the optimiser's slots alike), so every loop below runs over
# registers and has no remainder. Where the intercept differs, vectors of factors say so.

cdef struct Optimizer:
    Py_ssize_t K
    Py_ssize_t d
    Py_ssize_t length     # registers' worth of reals for one neuron
    Py_ssize_t span       # from one neuron to the next, in theta and grad
    real *theta
    real *grad
    real *slots           # (S, K, length)
    real *is_weight       # (length): 1 for weights, 0 for the intercept and after it
    real *is_free         # (length): 1 for what is trained
    double *counters


cdef inline real *slot(Optimizer *o, int s, Py_ssize_t k) noexcept nogil:
    return o.slots + (s * o.K + k) * o.length


# --------------------------------------------------------------------- penalty

cdef void add_l2(Optimizer *o, UpdateConfig *config) noexcept nogil:
    cdef Py_ssize_t k, j
    cdef real *g
    cdef real *w
    cdef vreal l2 = v_set(<real>config.l2)
    if not config.fit_intercept:
        for k in range(o.K):
            o.grad[k * o.span + o.d] = 0
    if config.l2 != 0:
        for k in range(o.K):
            g, w = o.grad + k * o.span, o.theta + k * o.span
            j = 0
            while j < o.length:
                v_store(g + j, v_load(g + j) + l2 * v_load(o.is_weight + j) * v_load(w + j))
                j += LANES


cdef double norm_and_penalty(Optimizer *o, UpdateConfig *config, double *penalty) noexcept nogil:
    """Largest entry of the smallest subgradient; it and the penalty, also without one, are NaN
    where a parameter or an entry of the gradient is not finite."""
    cdef Py_ssize_t k, j
    cdef real *g
    cdef real *theta
    cdef vreal zero = v_set(0), largest = zero, odd = zero
    cdef vreal squares = zero, absolute = zero, l1 = v_set(<real>config.l1)
    cdef vreal w, s, t
    cdef double nonfinite
    for k in range(o.K):
        g, theta = o.grad + k * o.span, o.theta + k * o.span
        j = 0
        while j < o.length:
            w, s = v_load(theta + j), v_load(g + j)
            # Anything times zero is zero, but for infinities and NaN.
            odd = odd + (w + s) * zero
            if config.l2 != 0:
                t = w * v_load(o.is_weight + j)
                squares = squares + t * t
            if config.l1 != 0:
                t = l1 * v_load(o.is_weight + j)
                absolute = absolute + v_abs(w) * v_load(o.is_weight + j)
                s = v_where_zero(
                    w,
                    v_max(v_abs(s) - t, zero),
                    v_where_negative(w, s - t, s + t),
                )
            largest = v_max(largest, v_abs(s))
            j += LANES
    nonfinite = v_sum(odd)
    penalty[0] = config.l2 / 2 * v_sum(squares) + config.l1 * v_sum(absolute) + nonfinite
    return v_max_lane(largest) + nonfinite


cdef inline vreal shrink(vreal w, vreal threshold) noexcept nogil:
    """Proximal operator of threshold * |w|."""
    return w - v_max(v_min(w, threshold), v_set(0) - threshold)


# --------------------------------------------------------------------- configs

cdef double adaptive_step(Optimizer *o, UpdateConfig *config) noexcept nogil:
    """Malitsky & Mishchenko, arXiv 1910.09529, algorithm 1: no line search.

    The two norms are of differences, whose squares a float could not always hold.
    """
    cdef double moved = 0, gradient_change_sq = 0, last, step, difference
    cdef Py_ssize_t k, j
    cdef real *theta
    cdef real *grad
    cdef real *old_theta
    cdef real *old_grad
    for k in range(o.K):
        theta, grad = o.theta + k * o.span, o.grad + k * o.span
        old_theta, old_grad = slot(o, 0, k), slot(o, 1, k)
        for j in range(o.d + 1):
            difference = theta[j] - old_theta[j]
            moved += difference * difference
            difference = grad[j] - old_grad[j]
            gradient_change_sq += difference * difference
            old_theta[j] = theta[j]
            old_grad[j] = grad[j]
    if o.counters[COUNTER_STEPS] == 0:
        o.counters[COUNTER_RATIO] = INFINITY
        return config.learning_rate
    last = o.counters[COUNTER_STEP]
    step = sqrt(1 + o.counters[COUNTER_RATIO]) * last
    if gradient_change_sq > 0 and moved > 0:
        step = min(step, sqrt(moved) / (2 * sqrt(gradient_change_sq)))
    if not isfinite(step):
        step = last
    o.counters[COUNTER_RATIO] = step / last
    return step


cdef void descend_gradient(Optimizer *o, UpdateConfig *config, double step) noexcept nogil:
    """theta -= step * gradient, then the proximal operator."""
    cdef Py_ssize_t k, j
    cdef real *theta
    cdef real *g
    cdef vreal rate = v_set(<real>step), threshold = v_set(<real>(config.l1 * step)), w
    for k in range(o.K):
        theta, g = o.theta + k * o.span, o.grad + k * o.span
        j = 0
        while j < o.length:
            w = v_load(theta + j) - rate * v_load(g + j)
            if config.l1 != 0:
                w = shrink(w, threshold * v_load(o.is_weight + j))
            v_store(theta + j, w)
            j += LANES


cdef void descend_momentum(Optimizer *o, UpdateConfig *config) noexcept nogil:
    cdef Py_ssize_t k, j
    cdef real *theta
    cdef real *g
    cdef real *velocity
    cdef vreal rate = v_set(<real>config.learning_rate), momentum = v_set(<real>config.momentum)
    cdef vreal threshold = v_set(<real>(config.l1 * config.learning_rate)), w, v
    for k in range(o.K):
        theta, g, velocity = o.theta + k * o.span, o.grad + k * o.span, slot(o, 0, k)
        j = 0
        while j < o.length:
            v = momentum * v_load(velocity + j) - rate * v_load(g + j)
            v_store(velocity + j, v)
            w = v_load(theta + j) + v * v_load(o.is_free + j)
            if config.l1 != 0:
                w = shrink(w, threshold * v_load(o.is_weight + j))
            v_store(theta + j, w)
            j += LANES


cdef void descend_adam(Optimizer *o, UpdateConfig *config, double steps) noexcept nogil:
    """Kingma & Ba, arXiv 1412.6980, algorithm 1."""
    cdef Py_ssize_t k, j
    cdef real *theta
    cdef real *grad
    cdef real *mean
    cdef real *square
    cdef double correction_1 = 1 - config.beta_1 ** (steps + 1)
    cdef double correction_2 = 1 - config.beta_2 ** (steps + 1)
    cdef vreal beta_1 = v_set(<real>config.beta_1), rest_1 = v_set(<real>(1 - config.beta_1))
    cdef vreal beta_2 = v_set(<real>config.beta_2), rest_2 = v_set(<real>(1 - config.beta_2))
    cdef vreal step = v_set(<real>(config.learning_rate / correction_1))
    cdef vreal correction = v_set(<real>correction_2), epsilon = v_set(<real>config.epsilon)
    cdef vreal l1 = v_set(<real>(config.l1 * correction_1)), g, m, v, w, rate
    for k in range(o.K):
        theta, grad = o.theta + k * o.span, o.grad + k * o.span
        mean, square = slot(o, 0, k), slot(o, 1, k)
        j = 0
        while j < o.length:
            g = v_load(grad + j)
            m = beta_1 * v_load(mean + j) + rest_1 * g
            v = beta_2 * v_load(square + j) + rest_2 * g * g
            v_store(mean + j, m)
            v_store(square + j, v)
            rate = step / (v_sqrt(v / correction) + epsilon)
            w = v_load(theta + j) - rate * m * v_load(o.is_free + j)
            if config.l1 != 0:
                w = shrink(w, l1 * rate * v_load(o.is_weight + j))
            v_store(theta + j, w)
            j += LANES


cdef void extrapolate(Optimizer *o, UpdateConfig *config, bint full) noexcept nogil:
    """From Nesterov's x_(k+1) in theta and x_k in the slot: where the next gradient is taken.

    t_k as in FISTA (Beck & Teboulle, 2009); the momentum is dropped where it points uphill
    (O'Donoghue & Candes, arXiv 1204.3982). Gradients of batches are noisy: for them the
    factor is at most the config's momentum.
    """
    cdef double uphill = 0, t = o.counters[COUNTER_RATIO], t_next, factor
    cdef Py_ssize_t k, j
    cdef real *theta
    cdef real *g
    cdef real *previous
    cdef vreal f, w
    if full:
        for k in range(o.K):
            theta, g, previous = o.theta + k * o.span, o.grad + k * o.span, slot(o, 0, k)
            for j in range(o.d + 1):
                uphill += <double>g[j] * (theta[j] - previous[j])
        if uphill > 0:
            t = 1
    t_next = (1 + sqrt(1 + 4 * t * t)) / 2
    o.counters[COUNTER_RATIO] = t_next
    factor = (t - 1) / t_next
    if not full:
        factor = min(factor, config.momentum)
    f = v_set(<real>factor)
    for k in range(o.K):
        theta, previous = o.theta + k * o.span, slot(o, 0, k)
        j = 0
        while j < o.length:
            w = v_load(theta + j)
            v_store(theta + j, w + f * (w - v_load(previous + j)))
            v_store(previous + j, w)
            j += LANES


cdef void take_step(Optimizer *o, UpdateConfig *config, bint full) noexcept nogil:
    """Move the parameters against the gradient as the config says."""
    cdef double step = config.learning_rate
    cdef double steps = o.counters[COUNTER_STEPS]
    cdef Py_ssize_t k
    if config.solver == SOLVER_GD:
        descend_gradient(o, config, step)
    elif config.solver == SOLVER_MOMENTUM:
        descend_momentum(o, config)
    elif config.solver == SOLVER_NESTEROV:
        if steps == 0:
            for k in range(o.K):
                memcpy(slot(o, 0, k), o.theta + k * o.span, o.length * REAL_SIZE)
            o.counters[COUNTER_RATIO] = 1
        descend_gradient(o, config, step)
        extrapolate(o, config, full)
    elif config.solver == SOLVER_ADAM:
        descend_adam(o, config, steps)
    else:
        step = adaptive_step(o, config)
        descend_gradient(o, config, step)
    o.counters[COUNTER_STEPS] = steps + 1
    o.counters[COUNTER_STEP] = step


# --------------------------------------------------------------------- a run of epochs

cdef inline inlined_void narrow_descent(
    int loss, Py_ssize_t d, Py_ssize_t registers, Problem *p, Optimizer *o, UpdateConfig *config,
    double scale, double *history, Py_ssize_t epochs, int *status
) noexcept nogil:
    """As `run`, for gradient descent of one neuron over a constant number of features below FEW.

    The parameters stay in registers, each in all lanes of its own, for an epoch of few rows is
    one chain of operations: 4 x 2 took 40 ns with them in memory between the epochs (Zen 5).
    """
    cdef Py_ssize_t epoch = 0, j
    cdef const real *x = p.x.panels
    cdef const real *y = p.padded_targets
    cdef const real *s = p.padded_weights
    # Four rows at most are repeated, which leaves two steps of each sum.
    cdef bint few = LANES >= 4 and 0 < p.x.n <= 4
    cdef real[(FEW + 1) * MAX_LANES] repeated
    cdef vreal[FEW] w, sums
    cdef vreal zero = v_set(0), largest, squares, odd, g, scale_ = v_set(<real>scale)
    cdef vreal l2 = v_set(<real>config.l2)
    cdef vreal step = v_set(<real>(config.learning_rate * scale))
    cdef vreal decay = v_set(<real>(config.learning_rate * config.l2))
    cdef double total, norm
    cdef double *row = history
    status[0] = STATUS_RAN
    for j in range(d + 1):
        w[j] = v_set(o.theta[j])
    if few:
        for j in range(d):
            v_store(repeated + j * LANES, v_repeat4(v_load(x + j * LANES)))
        v_store(repeated + d * LANES, v_repeat4(v_load(y)))
        v_store(repeated + (d + 1) * LANES, v_repeat4(v_load(s)))
        x, y, s = repeated, repeated + d * LANES, repeated + (d + 1) * LANES
    while epoch < epochs:
        narrow_panels(loss, d, x, registers, y, s, w, sums, few, &total)
        largest = squares = odd = zero
        for j in range(d + 1):
            sums[j] = v_sum_fours(sums[j]) if few else v_sum_all(sums[j])
            if j == d and not config.fit_intercept:
                sums[j] = zero
            g = sums[j] * scale_
            if j < d and config.l2 != 0:
                g = g + l2 * w[j]
                squares = squares + w[j] * w[j]
            largest = v_max(largest, v_abs(g))
            # Anything times zero is zero, but for infinities and NaN.
            odd = odd + (w[j] + g) * zero
        total = total * scale + (config.l2 / 2 * v_first(squares) + v_first(odd))
        norm = v_first(largest + odd)
        row[0] = total
        row[1] = norm
        row[2] = o.counters[COUNTER_STEP]
        if not isfinite(total):
            status[0] = STATUS_NONFINITE
            break
        if norm <= config.tol:
            status[0] = STATUS_CONVERGED
            break
        for j in range(d + 1):
            if j < d and config.l2 != 0:
                w[j] = w[j] - decay * w[j]
            w[j] = w[j] - step * sums[j]
        row[2] = o.counters[COUNTER_STEP] = config.learning_rate
        row += 3
        epoch += 1
    for j in range(d + 1):
        o.theta[j] = v_first(w[j])
    o.counters[COUNTER_STEPS] += epoch
    o.counters[COUNTER_EPOCHS] = epoch


cdef inline inlined_void descend_narrow(
    int loss, Problem *p, Optimizer *o, UpdateConfig *config, double scale, double *history,
    Py_ssize_t epochs, int *status
) noexcept nogil:
    """`narrow_descent` with constants: the number of features, and that of registers, if one."""
    cdef Py_ssize_t registers = p.padded_step // LANES
    if registers == 1:
        if o.d == 1:
            narrow_descent(loss, 1, 1, p, o, config, scale, history, epochs, status)
        elif o.d == 2:
            narrow_descent(loss, 2, 1, p, o, config, scale, history, epochs, status)
        else:
            narrow_descent(loss, 3, 1, p, o, config, scale, history, epochs, status)
    elif o.d == 1:
        narrow_descent(loss, 1, registers, p, o, config, scale, history, epochs, status)
    elif o.d == 2:
        narrow_descent(loss, 2, registers, p, o, config, scale, history, epochs, status)
    else:
        narrow_descent(loss, 3, registers, p, o, config, scale, history, epochs, status)


cdef int narrow_run(
    Problem *p, Optimizer *o, UpdateConfig *config, double scale, double *history, Py_ssize_t epochs
) noexcept nogil:
    cdef int status
    # The loss is a constant in each call, so the loops hold no branch on it.
    if p.loss == LOSS_SQUARED_ERROR:
        descend_narrow(LOSS_SQUARED_ERROR, p, o, config, scale, history, epochs, &status)
    else:
        descend_narrow(LOSS_LOG_LOSS, p, o, config, scale, history, epochs, &status)
    return status


cdef int run(
    Problem *p, Optimizer *o, UpdateConfig *config, double scale, const int32_t *order,
    double *history, Py_ssize_t epochs,
) noexcept nogil:
    """Up to `epochs` epochs; returns a status, or -1 where a signal's handler raised."""
    cdef Py_ssize_t n = p.x.n, epoch, start, stop
    cdef bint full = config.batch_size >= n
    cdef double total, share = 1, norm = 0, penalty = 0
    cdef double *row = history
    cdef const int32_t *rows = NULL
    if (
        p.x.layout == PACKED and 0 < o.d < FEW and o.K == 1 and config.solver == SOLVER_GD
        and config.l1 == 0 and p.loss != LOSS_QUADRATIC
        # Which it takes as one factor.
        and (config.learning_rate == 0 or 1e-30 < config.learning_rate * scale < 1e30)
    ):
        return narrow_run(p, o, config, scale, history, epochs)
    for epoch in range(epochs):
        if order != NULL and not full:
            rows = order + epoch * n
        total = 0
        start = 0
        while start < n:
            stop = n
            if not full:
                stop = min(start + config.batch_size, n)
                share = <double>(stop - start) / n
            total += whole_pass(p, rows, start, stop, scale / share) * share
            if p.team.interrupted:
                return -1
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

    cdef Optimizer o
    cdef UpdateConfig config
    cdef double scale
    cdef object order_
    cdef const int32_t *order
    cdef double[:, ::1] history
    cdef real[:, ::1] coef
    cdef real[::1] intercept
    cdef real[:, :, ::1] slots
    cdef double[::1] counters
    cdef real *vectors

    def __cinit__(self):
        self.vectors = NULL

    def __dealloc__(self):
        free(self.vectors)

    def __init__(self, data, state, config, order, double[:, ::1] history, n_threads):
        cdef Matrix X = data.X
        cdef const int32_t[:, ::1] rows
        cdef Optimizer *o = &self.o
        cdef Py_ssize_t j, S
        self.coef = state.coef
        self.intercept = state.intercept
        self.slots = state.slots
        self.counters = state.counters
        self.history = history
        self.set_up(X, self.coef.shape[0], config.loss, data.y, data.sample_weight, n_threads,
                    config.batch_size >= X.lines.n and config.loss != LOSS_MULTINOMIAL, True)
        self.set_theta(self.coef, self.intercept)
        self.scale = data.scale
        self.counters[COUNTER_EPOCHS] = 0
        o.K, o.d, o.length, o.span = self.p.K, self.p.x.d, self.p.length, self.p.span
        o.theta, o.grad, o.counters = self.p.theta, self.p.total, &self.counters[0]
        S = self.slots.shape[0]
        self.vectors = <real *>reserve((S * o.K + 2) * o.length, REAL_SIZE,
                                       "the arrays of the solver", True)
        o.is_weight, o.is_free = self.vectors, self.vectors + o.length
        o.slots = self.vectors + 2 * o.length
        for j in range(o.d):
            o.is_weight[j] = o.is_free[j] = 1
        o.is_free[o.d] = 1 if config.fit_intercept else 0
        self.copy_slots(into=True)
        self.config = read_UpdateConfig(config)
        self.order = NULL
        if order is not None:
            rows = order
            self.order_ = order
            self.order = &rows[0, 0]

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
        """Do the run, as the first member; returns (epochs, status)."""
        cdef Py_ssize_t k, epochs = self.history.shape[0]
        cdef Problem *p = &self.p
        cdef int status = STATUS_RAN
        if epochs:
            with nogil:
                status = run(p, &self.o, &self.config, self.scale, self.order,
                             &self.history[0, 0], epochs)
        for k in range(p.K):
            memcpy(&self.coef[k, 0], p.theta + k * p.span, p.x.d * REAL_SIZE)
            self.intercept[k] = p.theta[k * p.span + p.x.d]
        self.copy_slots(into=False)
        raise_if_interrupted(p.team)
        return int(self.counters[COUNTER_EPOCHS]), status


def pointwise(const real[::1] z, const real[::1] y, int loss, real[::1] value,
              real[::1] derivative):
    """See the contract."""
    cdef Py_ssize_t i = 0, m, n = z.shape[0]
    cdef real[MAX_LANES] z_, y_, value_, derivative_
    cdef vreal c, g
    if n == 0:
        return
    memset(z_, 0, sizeof(z_))
    memset(y_, 0, sizeof(y_))
    with nogil:
        while i < n:
            m = min(LANES, n - i)
            memcpy(z_, &z[i], m * REAL_SIZE)
            memcpy(y_, &y[i], m * REAL_SIZE)
            if loss == LOSS_SQUARED_ERROR:
                cost(LOSS_SQUARED_ERROR, v_load(z_), v_load(y_), v_set(1), &c, &g)
            elif loss == LOSS_LOG_LOSS:
                cost(LOSS_LOG_LOSS, v_load(z_), v_load(y_), v_set(1), &c, &g)
            else:
                cost(LOSS_QUADRATIC, v_load(z_), v_load(y_), v_set(1), &c, &g)
            v_store(value_, c)
            v_store(derivative_, g)
            memcpy(&value[i], value_, m * REAL_SIZE)
            memcpy(&derivative[i], derivative_, m * REAL_SIZE)
            i += LANES


# --------------------------------------------------------------------- prediction

cdef class Prediction(NeuronJob):
    """A call of `predict`."""

    cdef real[:, ::1] out

    def __init__(self, Matrix X, const real[:, ::1] coef, const real[::1] intercept,
                 int activation, real[:, ::1] out, n_threads):
        cdef Problem *p = &self.p
        cdef Py_ssize_t rows
        self.set_up(X, coef.shape[0], LOSS_QUADRATIC, None, None, n_threads, False, False)
        self.set_theta(coef, intercept)
        if p.x.phases.count and p.x.d <= SHORT * LANES:
            # Weights that stay in registers: 26.7 ms for 1,000,000 x 100 float64, by turns 27.2.
            p.x.phases.count = 0
            p.x.block = min(rows_of_block(p.x.n, p.x.width * REAL_SIZE), p.scores_step)
        lay_out_weights(p)
        self.out = out
        p.predicted = &out[0, 0]
        if p.x.layout == ROWS:
            rows = PREDICTED_BYTES // (p.x.width * REAL_SIZE)
            p.x.block = min(p.x.block, max(LANES, rows // LANES * LANES))
        p.activation = activation

    def lead(self):
        cdef Problem *p = &self.p
        cut_chunks(p)
        with nogil:
            run_chunks(p.team, pass_chunk, p, p.n_chunks)
        raise_if_interrupted(p.team)
        return not p.not_finite


def read_once(const uint8_t[::1] buffer):
    """Add up a buffer as reals, as fast as one thread can read it.

    The yardstick of `bench`: four independent sums, one after another, of registers that
    straddle no cache lines (which a tenth of the time is lost on).
    """
    cdef Py_ssize_t count = buffer.shape[0] // REAL_SIZE, i
    cdef const real *data = <const real *>&buffer[0]
    cdef vreal a0, a1, a2, a3
    with nogil:
        i = beyond_boundary(<const char *>data)
        a0 = a1 = a2 = a3 = v_set(0)
        while i + 4 * LANES <= count:
            a0 = a0 + v_load(data + i)
            a1 = a1 + v_load(data + i + LANES)
            a2 = a2 + v_load(data + i + 2 * LANES)
            a3 = a3 + v_load(data + i + 3 * LANES)
            i += 4 * LANES
    return v_sum(a0 + a1) + v_sum(a2 + a3)
