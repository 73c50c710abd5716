# The steps of the first-order solvers, and the penalty.
#
# The parameters of a neuron are whole registers: the weights, the intercept, zeros; the gradient
# and the solver's slots alike. Loops run over registers; where the intercept differs, factors do.

cdef struct Optimizer:
    Py_ssize_t K
    Py_ssize_t d
    Py_ssize_t length     # from one neuron to the next, in whole registers
    real *theta           # (K, length)
    real *grad            # (K, length)
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
            o.grad[k * o.length + o.d] = 0
    if config.l2 != 0:
        for k in range(o.K):
            g, w = o.grad + k * o.length, o.theta + k * o.length
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
    cdef vreal zero = v_set(0), largest = zero, bad = zero
    cdef vreal squares = zero, absolute = zero, l1 = v_set(<real>config.l1)
    cdef vreal w, s, t
    cdef double nonfinite
    for k in range(o.K):
        g, theta = o.grad + k * o.length, o.theta + k * o.length
        j = 0
        while j < o.length:
            w, s = v_load(theta + j), v_load(g + j)
            # Anything times zero is zero, but for infinities and NaN.
            bad = bad + (w + s) * zero
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
    nonfinite = v_sum(bad)
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
        theta, grad = o.theta + k * o.length, o.grad + k * o.length
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
        theta, g = o.theta + k * o.length, o.grad + k * o.length
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
        theta, g, velocity = o.theta + k * o.length, o.grad + k * o.length, slot(o, 0, k)
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
        theta, grad = o.theta + k * o.length, o.grad + k * o.length
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
            theta, g, previous = o.theta + k * o.length, o.grad + k * o.length, slot(o, 0, k)
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
        theta, previous = o.theta + k * o.length, slot(o, 0, k)
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
                memcpy(slot(o, 0, k), o.theta + k * o.length, o.length * REAL_SIZE)
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
