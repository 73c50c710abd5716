# The cross-entropy of softmax, which couples the K scores of a row.

cdef void softmax_block(
    const Parameters *w_, Py_ssize_t count, real *z, Py_ssize_t z_step, const RowTargets *targets,
    real *value, real *bias
) noexcept nogil:
    """Scores z[k * z_step + i] become s times the loss's derivatives; count is whole registers.

    `bias` has a register for the gradient of each intercept. With e_k = e^(z_k - max) and `rest`
    the sum of all but the one that is 1, no difference of numbers near 1 is taken:
    1 - p_k = (rest + (1 - e_k)) / (1 + rest).
    """
    cdef Py_ssize_t K = w_.K, span = w_.length, y_step = targets.step
    cdef const real *intercept = w_.theta + w_.d
    cdef const real *y = targets.y
    cdef const real *s = targets.weights
    cdef Py_ssize_t i = 0, k
    cdef vreal largest, free_, hit, rest, own, e, total, p, q, t, w
    cdef vreal one = v_set(1), none = v_set(0), sum_ = v_set(0)
    while i < count:
        w = one if s == NULL else v_load(s + i)
        largest = v_load(z + i) + v_set(intercept[0])
        for k in range(1, K):
            largest = v_max(largest, v_load(z + k * z_step + i) + v_set(intercept[k * span]))
        free_, rest, own = one, none, none
        for k in range(K):
            t = largest - (v_load(z + k * z_step + i) + v_set(intercept[k * span]))
            p = v_load(y + k * y_step + i)
            own = own + v_where_zero(p, p, p * t)
            e = exp_minus_abs(t)
            hit = v_where_zero(e - one, free_, none)
            free_ = free_ - hit
            rest = rest + (e - hit)
            v_store(z + k * z_step + i, e)
        sum_ = sum_ + w * (own + log1p_up_to(rest, K - 1))
        total = one / (one + rest)
        for k in range(K):
            e = v_load(z + k * z_step + i)
            t = v_load(y + k * y_step + i)
            p = e * total
            q = (rest + (one - e)) * total
            p = w * (p * (one - t) - t * q)
            v_store(z + k * z_step + i, p)
            v_store(bias + k * LANES, v_load(bias + k * LANES) + p)
        i += LANES
    v_store(value, v_load(value) + sum_)
