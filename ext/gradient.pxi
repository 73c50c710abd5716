# The contract's `gradient` and `evaluator`.

cdef class Gradient(NeuronJob):
    """A call of `gradient`."""

    cdef const real[:, ::1] coef
    cdef const real[::1] intercept
    cdef real[:, ::1] coef_grad
    cdef real[::1] intercept_grad
    cdef double scale

    def __init__(self, data, int loss, coef, intercept, coef_grad, intercept_grad, n_threads):
        # The pass over panels takes one output at a time.
        self.set_up(data.X, coef.shape[0], loss, data.y, data.sample_weight, n_threads,
                    loss != LOSS_MULTINOMIAL, True)
        self.scale = data.scale
        self.coef, self.intercept = coef, intercept
        self.coef_grad, self.intercept_grad = coef_grad, intercept_grad

    def lead(self):
        cdef Problem *p = &self.p
        cdef Py_ssize_t k
        cdef double value
        self.set_theta(self.coef, self.intercept)
        with nogil:
            value = whole_pass(p, NULL, 0, p.x.n, self.scale)
        raise_if_interrupted(&self.team)
        for k in range(p.K):
            memcpy(&self.coef_grad[k, 0], p.total + k * p.span, p.x.d * REAL_SIZE)
            self.intercept_grad[k] = p.total[k * p.span + p.x.d]
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
        self.start_threads()
        return self.lead()
