# Runs of the first-order rules, and the contract's functions over one type.

cdef struct Rule_:
    int solver
    double learning_rate
    double momentum
    double beta_1
    double beta_2
    double epsilon
    double l2
    double l1
    double tol
    bint fit_intercept
    Py_ssize_t batch_size


cdef struct Optimiser:
    Py_ssize_t K
    Py_ssize_t d
    Py_ssize_t span       # between two neurons' gradients
    real *coef            # (K, d)
    real *intercept       # (K,)
    real *slots           # (S, K, d + 1)
    double *counters
    real *grad            # (K, span); the intercept's at span - LANES


cdef inline real *slot(Optimiser *o, int s, Py_ssize_t k) noexcept nogil:
    return o.slots + (s * o.K + k) * (o.d + 1)


cdef inline real *intercept_grad(Optimiser *o, Py_ssize_t k) noexcept nogil:
    return o.grad + k * o.span + o.span - LANES


# --------------------------------------------------------------------- penalty

cdef void add_l2(Optimiser *o, Rule_ *rule) noexcept nogil:
    cdef Py_ssize_t k, j
    cdef real l2 = <real>rule.l2
    cdef real *g
    cdef real *w
    for k in range(o.K):
        if not rule.fit_intercept:
            intercept_grad(o, k)[0] = 0
        if rule.l2 != 0:
            g = o.grad + k * o.span
            w = o.coef + k * o.d
            for j in range(o.d):
                g[j] += l2 * w[j]


cdef inline double larger(double a, double b) noexcept nogil:
    """The larger; NaN if either is."""
    return a if a > b or a != a else b


cdef inline double smallest_subgradient(double g, double w, double l1) noexcept nogil:
    if w > 0:
        return fabs(g + l1)
    if w < 0:
        return fabs(g - l1)
    return larger(fabs(g) - l1, 0)


cdef double norm_and_penalty(Optimiser *o, Rule_ *rule, double *penalty) noexcept nogil:
    """Largest entry of the smallest subgradient."""
    cdef Py_ssize_t k, j
    cdef double a = 0, b = 0, squares = 0, squares_2 = 0, absolute = 0, absolute_2 = 0, w, w_2
    cdef real *g
    cdef real *coef
    for k in range(o.K):
        g = o.grad + k * o.span
        coef = o.coef + k * o.d
        a = larger(fabs(intercept_grad(o, k)[0]), a)
        j = 0
        # Two of each sum: one alone waits for the latency of its addition.
        while j + 2 <= o.d:
            w, w_2 = coef[j], coef[j + 1]
            a = larger(smallest_subgradient(g[j], w, rule.l1), a)
            b = larger(smallest_subgradient(g[j + 1], w_2, rule.l1), b)
            squares += w * w
            squares_2 += w_2 * w_2
            absolute += fabs(w)
            absolute_2 += fabs(w_2)
            j += 2
        if j < o.d:
            w = coef[j]
            a = larger(smallest_subgradient(g[j], w, rule.l1), a)
            squares += w * w
            absolute += fabs(w)
    # With no penalty 0 * inf is NaN still: weights that overflowed are noticed.
    penalty[0] = rule.l2 / 2 * (squares + squares_2) + rule.l1 * (absolute + absolute_2)
    return larger(a, b)


cdef inline real shrink(real w, real threshold) noexcept nogil:
    """Proximal operator of threshold * |w|."""
    if w > threshold:
        return w - threshold
    if w < -threshold:
        return w + threshold
    return 0 if w == w else w


cdef inline void shrink_line(real *w, Py_ssize_t length, real threshold) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(length):
        w[j] = shrink(w[j], threshold)


# --------------------------------------------------------------------- rules

cdef double adaptive_step(Optimiser *o, Rule_ *rule) noexcept nogil:
    """Malitsky & Mishchenko, arXiv 1910.09529, algorithm 1: no line search."""
    cdef double moved = 0, turned = 0, last, step, difference
    cdef Py_ssize_t k, j
    cdef real *theta
    cdef real *grad
    cdef real *old_theta
    cdef real *old_grad
    for k in range(o.K):
        theta = o.coef + k * o.d
        grad = o.grad + k * o.span
        old_theta, old_grad = slot(o, 0, k), slot(o, 1, k)
        for j in range(o.d + 1):
            if j == o.d:
                theta = o.intercept + k - o.d
                grad = intercept_grad(o, k) - o.d
            difference = theta[j] - old_theta[j]
            moved += difference * difference
            difference = grad[j] - old_grad[j]
            turned += difference * difference
            old_theta[j] = theta[j]
            old_grad[j] = grad[j]
    if o.counters[COUNTER_STEPS] == 0:
        o.counters[COUNTER_RATIO] = INFINITY
        return rule.learning_rate
    last = o.counters[COUNTER_STEP]
    step = sqrt(1 + o.counters[COUNTER_RATIO]) * last
    if turned > 0:
        step = min(step, sqrt(moved) / (2 * sqrt(turned)))
    if not isfinite(step):
        step = last
    o.counters[COUNTER_RATIO] = step / last
    return step


cdef inline void momentum_line(
    real *w, const real *g, real *velocity, Py_ssize_t length, real momentum, real step
) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(length):
        velocity[j] = momentum * velocity[j] - step * g[j]
        w[j] += velocity[j]


cdef inline void gradient_line(
    real *w, const real *g, Py_ssize_t length, real step
) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(length):
        w[j] -= step * g[j]


cdef inline void extrapolate_line(
    real *w, real *previous, Py_ssize_t length, real factor
) noexcept nogil:
    """From x_(k+1) in w and x_k: the point where the next gradient is taken."""
    cdef Py_ssize_t j
    cdef real moved
    for j in range(length):
        moved = w[j] - previous[j]
        previous[j] = w[j]
        w[j] += factor * moved


cdef inline void adam_line(
    real *w, const real *g, real *mean, real *square, Py_ssize_t length,
    Rule_ *rule, real step, real correction_2, real threshold,
) noexcept nogil:
    cdef Py_ssize_t j
    cdef real beta_1 = <real>rule.beta_1, rest_1 = <real>(1 - rule.beta_1)
    cdef real beta_2 = <real>rule.beta_2, rest_2 = <real>(1 - rule.beta_2)
    cdef real epsilon = <real>rule.epsilon, rate
    for j in range(length):
        mean[j] = beta_1 * mean[j] + rest_1 * g[j]
        square[j] = beta_2 * square[j] + rest_2 * g[j] * g[j]
        rate = step / (<real>sqrt(square[j] / correction_2) + epsilon)
        w[j] -= rate * mean[j]
        if threshold != 0:
            w[j] = shrink(w[j], threshold * rate)


cdef double nesterov_factor(Optimiser *o, Rule_ *rule, bint full) noexcept nogil:
    """Momentum of this step; t_k as in FISTA (2009), restart as in arXiv 1204.3982."""
    cdef double uphill = 0, t = o.counters[COUNTER_RATIO], t_next, factor
    cdef Py_ssize_t k, j
    cdef real *w
    cdef real *g
    cdef real *previous
    if full:
        for k in range(o.K):
            w, g, previous = o.coef + k * o.d, o.grad + k * o.span, slot(o, 0, k)
            for j in range(o.d):
                uphill += g[j] * (w[j] - previous[j])
            uphill += intercept_grad(o, k)[0] * (o.intercept[k] - previous[o.d])
        if uphill > 0:
            t = 1
    t_next = (1 + sqrt(1 + 4 * t * t)) / 2
    o.counters[COUNTER_RATIO] = t_next
    factor = (t - 1) / t_next
    # Gradients of batches are noisy: no more momentum than the rule names.
    return factor if full else min(factor, rule.momentum)


cdef void take_step(Optimiser *o, Rule_ *rule, bint full) noexcept nogil:
    """Move the parameters against the gradient as the rule says."""
    cdef double step = rule.learning_rate
    cdef double steps = o.counters[COUNTER_STEPS]
    cdef double correction_1, correction_2
    cdef real factor
    cdef Py_ssize_t k, d = o.d
    cdef real *w
    cdef real *b
    cdef real *g
    cdef real *g_b
    cdef real *s_0
    if rule.solver == SOLVER_ADAPTIVE:
        step = adaptive_step(o, rule)
    for k in range(o.K):
        w, b = o.coef + k * d, o.intercept + k
        g, g_b = o.grad + k * o.span, intercept_grad(o, k)
        if rule.solver == SOLVER_GD or rule.solver == SOLVER_ADAPTIVE:
            gradient_line(w, g, d, <real>step)
            if rule.fit_intercept:
                b[0] -= <real>step * g_b[0]
        elif rule.solver == SOLVER_MOMENTUM:
            s_0 = slot(o, 0, k)
            momentum_line(w, g, s_0, d, <real>rule.momentum, <real>step)
            if rule.fit_intercept:
                momentum_line(b, g_b, s_0 + d, 1, <real>rule.momentum, <real>step)
        elif rule.solver == SOLVER_NESTEROV:
            s_0 = slot(o, 0, k)
            if steps == 0:
                memcpy(s_0, w, d * REAL_SIZE)
                s_0[d] = b[0]
                o.counters[COUNTER_RATIO] = 1
            gradient_line(w, g, d, <real>step)
            if rule.fit_intercept:
                b[0] -= <real>step * g_b[0]
        else:
            correction_1 = 1 - rule.beta_1 ** (steps + 1)
            correction_2 = 1 - rule.beta_2 ** (steps + 1)
            s_0 = slot(o, 0, k)
            adam_line(w, g, s_0, slot(o, 1, k), d, rule, <real>(step / correction_1),
                      <real>correction_2, <real>(rule.l1 * correction_1))
            if rule.fit_intercept:
                adam_line(b, g_b, s_0 + d, slot(o, 1, k) + d, 1, rule,
                          <real>(step / correction_1), <real>correction_2, 0)
        if rule.l1 != 0 and rule.solver != SOLVER_ADAM:
            shrink_line(w, d, <real>(rule.l1 * step))
    if rule.solver == SOLVER_NESTEROV:
        factor = <real>nesterov_factor(o, rule, full)
        for k in range(o.K):
            s_0 = slot(o, 0, k)
            extrapolate_line(o.coef + k * d, s_0, d, factor)
            if rule.fit_intercept:
                extrapolate_line(o.intercept + k, s_0 + d, 1, factor)
    o.counters[COUNTER_STEPS] = steps + 1
    o.counters[COUNTER_STEP] = step


# --------------------------------------------------------------------- a run of epochs

cdef int run(
    Problem *p, Optimiser *o, Rule_ *rule, double scale, const int32_t *order,
    double *history, Py_ssize_t epochs, Py_ssize_t *done,
) noexcept nogil:
    """Up to `epochs` epochs; returns a status, or -1 where a signal's handler raised."""
    cdef Py_ssize_t n = p.x.n, epoch, start, stop
    cdef bint full = rule.batch_size >= n
    cdef double total, value, norm = 0, penalty = 0
    cdef double *row
    cdef const int32_t *rows = NULL
    for epoch in range(epochs):
        row = history + 3 * epoch
        if order != NULL and not full:
            rows = order + epoch * n
        total = 0
        start = 0
        while start < n:
            stop = n if full else min(start + rule.batch_size, n)
            value = whole_pass(p, o.coef, o.intercept, rows, start, stop,
                               scale * n / (stop - start))
            if p.interrupted:
                return -1
            add_l2(o, rule)
            total += value * (stop - start) / n
            if stop == n:
                norm = norm_and_penalty(o, rule, &penalty)
                total += penalty
            row[0] = total
            row[1] = norm
            row[2] = o.counters[COUNTER_STEP]
            if not isfinite(total) or not (stop < n or isfinite(norm)):
                return STATUS_NONFINITE
            if full and norm <= rule.tol:
                return STATUS_CONVERGED
            take_step(o, rule, full)
            row[2] = o.counters[COUNTER_STEP]
            start = stop
        done[0] = epoch + 1
        o.counters[COUNTER_EPOCHS] = epoch + 1
    return STATUS_RAN


cdef int pending() except? -1:
    """Let the exception out that is set already."""
    return -1


cdef class Descent(Job):
    """A call of `descend`."""

    cdef Optimiser o
    cdef Rule_ rule
    cdef double scale
    cdef object arrays
    cdef const int32_t *order
    cdef double *history
    cdef Py_ssize_t epochs

    def __init__(self, data, state, rule, order, double[:, ::1] history, n_threads):
        cdef Matrix X = data.X
        cdef real[:, ::1] coef = state.coef
        cdef real[::1] intercept = state.intercept
        cdef real[:, :, ::1] slots = state.slots
        cdef double[::1] counters = state.counters
        cdef const int32_t[:, ::1] rows
        self.set_up(X, coef.shape[0], rule.loss, data.y, data.sample_weight, n_threads,
                    rule.batch_size >= X.lines.n)
        self.arrays = (state, order, history)
        self.scale = data.scale
        self.o.K, self.o.d, self.o.span = self.p.K, self.p.x.d, self.p.span
        self.o.coef = &coef[0, 0]
        self.o.intercept = &intercept[0]
        self.o.slots = &slots[0, 0, 0] if slots.shape[0] else NULL
        self.o.counters = &counters[0]
        self.o.grad = self.p.total
        self.rule.solver = rule.solver
        self.rule.learning_rate = rule.learning_rate
        self.rule.momentum = rule.momentum
        self.rule.beta_1 = rule.beta_1
        self.rule.beta_2 = rule.beta_2
        self.rule.epsilon = rule.epsilon
        self.rule.l2 = rule.l2
        self.rule.l1 = rule.l1
        self.rule.tol = rule.tol
        self.rule.fit_intercept = rule.fit_intercept
        self.rule.batch_size = rule.batch_size
        self.order = NULL
        if order is not None:
            rows = order
            self.order = &rows[0, 0]
        self.epochs = history.shape[0]
        self.history = &history[0, 0] if self.epochs else NULL
        counters[COUNTER_EPOCHS] = 0

    def lead(self):
        """Do the run, as the first member; returns (epochs, status)."""
        cdef Py_ssize_t done = 0
        cdef int status
        with nogil:
            status = run(&self.p, &self.o, &self.rule, self.scale, self.order, self.history,
                         self.epochs, &done)
            self.end()
        if status < 0:
            pending()
        return done, status


cdef class Gradient(Job):
    """A call of `gradient`."""

    cdef object arrays
    cdef real *coef
    cdef real *intercept
    cdef real *coef_out
    cdef real *intercept_out
    cdef double scale

    def __init__(self, data, int loss, const real[:, ::1] coef, const real[::1] intercept,
                 real[:, ::1] coef_grad, real[::1] intercept_grad, n_threads):
        self.set_up(data.X, coef.shape[0], loss, data.y, data.sample_weight, n_threads, True)
        self.arrays = (coef, intercept, coef_grad, intercept_grad)
        self.scale = data.scale
        self.coef, self.intercept = <real *>&coef[0, 0], <real *>&intercept[0]
        self.coef_out, self.intercept_out = &coef_grad[0, 0], &intercept_grad[0]

    def lead(self):
        cdef Problem *p = &self.p
        cdef Py_ssize_t k, d = p.x.d
        cdef double value
        with nogil:
            value = whole_pass(p, self.coef, self.intercept, NULL, 0, p.x.n, self.scale)
            self.end()
            for k in range(p.K):
                memcpy(self.coef_out + k * d, p.total + k * p.span, d * REAL_SIZE)
                self.intercept_out[k] = p.total[k * p.span + p.span - LANES]
        if p.interrupted:
            pending()
        return value


def pointwise(const real[::1] z, const real[::1] y, int loss, real[::1] value,
              real[::1] derivative):
    """See the contract."""
    cdef Py_ssize_t i = 0, m, n = z.shape[0]
    cdef real[8] z_, y_, value_, derivative_
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
                cost(LOSS_SQUARED_ERROR, v_load(z_), v_load(y_), &c, &g)
            elif loss == LOSS_LOG_LOSS:
                cost(LOSS_LOG_LOSS, v_load(z_), v_load(y_), &c, &g)
            else:
                cost(LOSS_QUADRATIC, v_load(z_), v_load(y_), &c, &g)
            v_store(value_, c)
            v_store(derivative_, g)
            memcpy(&value[i], value_, m * REAL_SIZE)
            memcpy(&derivative[i], derivative_, m * REAL_SIZE)
            i += LANES


# --------------------------------------------------------------------- prediction

cdef class Prediction(Job):
    """A call of `predict`."""

    cdef object arrays

    def __init__(self, Matrix X, const real[:, ::1] coef, const real[::1] intercept,
                 int activation, real[:, ::1] out, n_threads):
        cdef Py_ssize_t k, K = coef.shape[0], d = coef.shape[1]
        cdef Problem *p = &self.p
        self.set_up(X, K, LOSS_QUADRATIC, None, None, n_threads, False)
        self.arrays = out
        for k in range(K):
            memcpy(p.weights + k * p.span, &coef[k, 0], d * REAL_SIZE)
            ragged_in(&p.x, p.weights + k * p.span)
            p.intercepts[k] = intercept[k]
        p.stop = p.x.n
        p.predicted = &out[0, 0]
        p.activation = activation
        cut_chunks(p)

    def lead(self):
        cdef Problem *p = &self.p
        with nogil:
            share_chunks(p)
            self.end()
        if p.interrupted:
            pending()


def read_once(const uint8_t[::1] buffer):
    """Add up a buffer as reals, as fast as one thread can read it.

    The yardstick of `bench`: four independent sums, and the prefetching of the pass.
    """
    cdef Py_ssize_t count = buffer.shape[0] // REAL_SIZE, i = 0
    cdef const real *data = <const real *>&buffer[0]
    cdef vreal a0, a1, a2, a3
    with nogil:
        a0 = a1 = a2 = a3 = v_set(0)
        while i + 4 * LANES <= count:
            prefetch(at(<const char *>(data + i), 4096))
            a0 = a0 + v_load(data + i)
            a1 = a1 + v_load(data + i + LANES)
            prefetch(at(<const char *>(data + i), 4096 + 2 * LANES * REAL_SIZE))
            a2 = a2 + v_load(data + i + 2 * LANES)
            a3 = a3 + v_load(data + i + 3 * LANES)
            i += 4 * LANES
    return v_sum(a0 + a1) + v_sum(a2 + a3)
