# Newton's method for one neuron on dense rows: value, gradient and Hessian of a block of rows
# while it is in the cache, a Cholesky factor in float64, and whole steps as long as they serve.
#
# A block becomes rows [x 1] padded with zeros to whole registers, so that the intercept is a
# weight like the others. Scaled by the root of its curvature it gives the upper triangle of
# the Hessian, tile by tile of product.h.

cdef extern from "product.h" nogil:
    const int TILE_ROWS

cdef enum:
    MOST_TILE_REALS = 8 * 2 * MOST_LANES
    # Rows of a block: each tile of the Hessian is loaded and stored once for so many. Twice as
    # many where they fit into L1 together.
    HESSIAN_ROWS = 64
    HESSIAN_BYTES = 32768
    PIVOTS = 4              # lines of the factor that are taken from the others at a time


cdef inline inlined_void curved_costs(
    int loss, Py_ssize_t count, real *z, const real *y, const real *weight, real *root, real *value
) noexcept nogil:
    """As `cost_loop`, of scores with their intercept; and roots of the second derivatives.

    Those of the squared cost are its Gauss-Newton part, sigma'^2.
    """
    cdef vreal total = v_load(value), c, g, e, rest, p, q, w
    cdef Py_ssize_t i = 0
    while i < count:
        w = v_load(z + i)
        cost(loss, w, v_load(y + i), &c, &g)
        exp_minus_abs(w, &e, &rest)
        logistic_pair(w, e, rest, &p, &q)
        q = p * q
        if loss == LOSS_SQUARED_ERROR:
            q = q * q
        w = v_load(weight + i)
        v_store(z + i, g * w)
        v_store(root + i, v_sqrt(q * w))
        total = total + c * w
        i += LANES
    v_store(value, total)


cdef void add_gram(
    Py_ssize_t m, Py_ssize_t width, const real *lines, real *hessian
) noexcept nogil:
    """Upper triangle of hessian += lines^T lines, and some of what lies below it."""
    cdef real[MOST_TILE_REALS] tile
    cdef Py_ssize_t j = 0, k, i, rows, registers, r
    cdef real *target
    while j < width:
        rows = min(<Py_ssize_t>TILE_ROWS, width - j)
        k = j - j % LANES
        while k < width:
            registers = min(<Py_ssize_t>TILE_WIDTH, width - k) // LANES
            columns_product(rows, <int>registers, m, lines + j, width, lines + k, width, tile,
                            TILE_WIDTH, <const char *>(lines + k), width * REAL_SIZE)
            for i in range(rows):
                target = hessian + (j + i) * width + k
                for r in range(registers):
                    v_store(target + r * LANES, v_load(target + r * LANES)
                            + v_load(tile + i * TILE_WIDTH + r * LANES))
            k += TILE_WIDTH
        j += TILE_ROWS


cdef inline void take_line(
    double *target, const double *line, double factor, Py_ssize_t first, Py_ssize_t stop
) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(first, stop):
        target[k] -= factor * line[k]


cdef bint factorise(double *a, Py_ssize_t r, double singular) noexcept nogil:
    """The upper triangle U of a becomes the factor with U^T U = a.

    Returns False where a diagonal entry of U would be at most `singular` times another.
    """
    cdef Py_ssize_t first = 0, stop, i, j, k
    cdef double pivot, least = INFINITY, most = 0, f0, f1, f2, f3
    cdef double *target
    cdef double *l0
    cdef double *l1
    cdef double *l2
    cdef double *l3
    while first < r:
        stop = min(first + PIVOTS, r)
        for j in range(first, stop):
            pivot = sqrt(a[j * r + j])
            least, most = min(least, pivot), max(most, pivot)
            # A NaN may go unseen here; the slope is NaN then, and no step is taken.
            if not least > singular * most:
                return False
            for k in range(j, r):
                a[j * r + k] /= pivot
            for i in range(j + 1, stop):
                take_line(a + i * r, a + j * r, a[j * r + i], i, r)
        if stop - first == PIVOTS:
            l0 = a + first * r
            l1, l2, l3 = l0 + r, l0 + 2 * r, l0 + 3 * r
            for i in range(stop, r):
                target = a + i * r
                f0, f1, f2, f3 = l0[i], l1[i], l2[i], l3[i]
                for k in range(i, r):
                    target[k] -= f0 * l0[k] + f1 * l1[k] + f2 * l2[k] + f3 * l3[k]
        first = stop
    return True


cdef void solve_factor(const double *u, Py_ssize_t r, double *x) noexcept nogil:
    """x becomes the solution of U^T U solution = x."""
    cdef Py_ssize_t i, j
    cdef double total
    for i in range(r):
        x[i] /= u[i * r + i]
        take_line(x, u + i * r, x[i], i + 1, r)
    for i in range(r - 1, -1, -1):
        total = x[i]
        for j in range(i + 1, r):
            total -= u[i * r + j] * x[j]
        x[i] = total / u[i * r + i]


cdef double largest_entry(const double *x, Py_ssize_t r) noexcept nogil:
    cdef Py_ssize_t j
    cdef double largest = 0
    for j in range(r):
        # NaN is the largest.
        if not fabs(x[j]) <= largest:
            largest = fabs(x[j])
            if largest != largest:
                return largest
    return largest


cdef class Newton(Job):
    """A call of `newton`."""

    cdef double[::1] theta
    cdef const double[::1] l2
    cdef double[::1] gradient
    cdef double[:, ::1] hessian
    cdef double[:, ::1] history
    cdef double scale, tol, enough, noise, singular, armijo
    cdef Py_ssize_t r, width, rows
    cdef real *reals
    cdef double *doubles

    def __cinit__(self):
        self.reals = NULL
        self.doubles = NULL

    def __dealloc__(self):
        free(self.reals)
        free(self.doubles)

    def __init__(self, data, rule, theta, gradient, hessian, history):
        cdef Problem *p = &self.p
        self.theta, self.gradient, self.hessian, self.history = theta, gradient, hessian, history
        self.l2, self.scale = rule.l2, data.scale
        self.tol, self.enough, self.noise = rule.tol, rule.enough, rule.noise
        self.singular, self.armijo = rule.singular, rule.armijo
        self.set_up(data.X, 1, rule.loss, data.y, data.sample_weight, 1, False)
        self.r = self.theta.shape[0]
        self.width = round_up(self.r, LANES)
        self.rows = HESSIAN_ROWS
        if 2 * HESSIAN_ROWS * self.width * REAL_SIZE <= HESSIAN_BYTES:
            self.rows = 2 * HESSIAN_ROWS
        # The targets of a group are read at once; LANES divides it.
        self.rows = min(self.rows, p.x.group)
        self.reals = <real *>malloc(64 + REAL_SIZE * (
            (self.rows + self.width + 2) * self.width + 3 * self.rows
        ))
        self.doubles = <double *>malloc((2 * self.r + 3) * self.r * sizeof(double))
        if self.reals == NULL or self.doubles == NULL:
            raise MemoryError()

    cdef double evaluate(self, const double *theta, double *grad, double *hess) noexcept nogil:
        """Objective, gradient and upper triangle of the Hessian."""
        cdef Problem *p = &self.p
        cdef Scratch *s = &p.scratch[0]
        cdef Py_ssize_t r = self.r, d = p.x.d, width = self.width, B = self.rows
        cdef Py_ssize_t first = 0, m, i, j
        cdef double value = 0
        cdef real *lines = <real *>(<size_t>self.reals + 63 & ~<size_t>63)
        cdef real *sums = lines + B * width
        cdef real *w = sums + width * width
        cdef real *pull = w + width
        cdef real *z = pull + width
        cdef real *root = z + B
        cdef real *weight = root + B
        cdef real *line
        cdef real[MOST_LANES] costs
        cdef vreal f
        cdef Coming none
        none.next = NULL
        memset(sums, 0, width * width * REAL_SIZE)
        memset(grad, 0, r * sizeof(double))
        memset(w, 0, width * REAL_SIZE)
        for j in range(r):
            w[j] = <real>theta[j]
        for i in range(B):
            weight[i] = 1
        while first < p.x.n:
            m = min(B, p.x.n - first)
            read_targets(p, s, first, m)
            if p.sample_weight != NULL:
                memcpy(weight, s.weights, m * REAL_SIZE)
            for i in range(m):
                line = lines + i * width
                convert_line(line, p.x.base + (first + i) * p.x.row_stride, d, p.x.column_stride,
                             p.x.kind)
                for j in range(d, width):
                    line[j] = j < r
            if m < B:
                memset(lines + m * width, 0, (B - m) * width * REAL_SIZE)
                memset(weight + m, 0, (B - m) * REAL_SIZE)
                memset(s.targets + m, 0, (B - m) * REAL_SIZE)
            row_dots(<const char *>lines, width * REAL_SIZE, B, width, w, NULL, z, &none)
            v_store(costs, v_set(0))
            if p.loss == LOSS_LOG_LOSS:
                curved_costs(LOSS_LOG_LOSS, B, z, s.targets, weight, root, costs)
            else:
                curved_costs(LOSS_SQUARED_ERROR, B, z, s.targets, weight, root, costs)
            value += v_sum(v_load(costs))
            memset(pull, 0, width * REAL_SIZE)
            row_sums(<const char *>lines, width * REAL_SIZE, B, width, z, pull, NULL, &none)
            for j in range(r):
                grad[j] += pull[j]
            for i in range(m):
                f = v_set(root[i])
                line = lines + i * width
                j = 0
                while j < width:
                    v_store(line + j, f * v_load(line + j))
                    j += LANES
            add_gram(m, width, lines, sums)
            first += m
        value *= self.scale
        for j in range(r):
            value += 0.5 * self.l2[j] * theta[j] * theta[j]
            grad[j] = grad[j] * self.scale + self.l2[j] * theta[j]
            for i in range(j, r):
                hess[j * r + i] = self.scale * sums[j * width + i]
            hess[j * r + j] += self.l2[j]
        return value

    def lead(self):
        cdef Py_ssize_t r = self.r, steps = 0, j, k
        cdef size_t size = r * sizeof(double)
        cdef double *theta = &self.theta[0]
        cdef double *grad = &self.gradient[0]
        cdef double *hess = &self.hessian[0, 0]
        cdef double *factor = self.doubles
        cdef double *trial_hess = factor + r * r
        cdef double *trial_grad = trial_hess + r * r
        cdef double *trial = trial_grad + r
        cdef double *step = trial + r
        cdef double value, new, slope, flat, norm, trial_norm, expected = INFINITY
        cdef bint moved
        with nogil:
            value = self.evaluate(theta, grad, hess)
            norm = largest_entry(grad, r)
            while steps < self.history.shape[0] and norm > self.tol and isfinite(value + norm):
                memcpy(factor, hess, r * size)
                if not factorise(factor, r, self.singular):
                    break
                for j in range(r):
                    step[j] = -grad[j]
                solve_factor(factor, r, step)
                slope, moved = 0, False
                for j in range(r):
                    slope += grad[j] * step[j]
                    # As the kernels hold it.
                    trial[j] = <real>(theta[j] + step[j])
                    moved = moved or trial[j] != theta[j]
                if not (slope < 0 and isfinite(slope) and moved):
                    break
                expected = -slope / 2
                new = self.evaluate(trial, trial_grad, trial_hess)
                trial_norm = largest_entry(trial_grad, r)
                flat = self.noise * fabs(value)
                if not isfinite(new + trial_norm) or new > value + flat + (
                    self.armijo * slope if expected > flat else 0
                ) or (expected <= flat and trial_norm >= norm):
                    break
                memcpy(theta, trial, size)
                memcpy(grad, trial_grad, size)
                memcpy(hess, trial_hess, r * size)
                value, norm = new, trial_norm
                self.history[steps, 0], self.history[steps, 1] = value, norm
                self.history[steps, 2] = 1
                steps += 1
                if expected < self.enough:
                    break
                with gil:
                    if PyErr_CheckSignals() != 0:
                        pending()
            for j in range(r):
                for k in range(j + 1, r):
                    hess[k * r + j] = hess[j * r + k]
        return steps, expected
