# Newton's method for one neuron on dense rows: value and gradient by the fused pass, the Hessian
# by blocks of rows while they are in the cache, a Cholesky factor in float64, and whole steps as
# long as they serve.
#
# A block becomes rows [x 1] padded with zeros to whole registers, so that the intercept is a
# weight like the others. Scaled by the root of its curvature it gives the upper triangle of
# the Hessian, tile by tile of product.h.

cdef enum:
    # Rows of a block: each tile of the Hessian is loaded and stored once for so many. Twice as
    # many where they fit into L1 together.
    HESSIAN_ROWS = 64
    HESSIAN_BYTES = 32768
    # Products of a chunk at least, chunks at most, and reals of all their sums, unless it is of
    # two.
    HESSIAN_PRODUCTS = 4000000
    HESSIAN_CHUNKS = 8
    HESSIAN_REALS = 2097152
    # Blocks whose sums are added to those of all of a chunk's in float64.
    HESSIAN_BLOCKS = 64
    PIVOTS = 4              # rows of the factor that are subtracted from the others at a time
    CHAINS_OF_DOT = 8


cdef inline inlined_void curvature_roots(
    int loss, Py_ssize_t count, real *z, const real *weight
) noexcept nogil:
    """Scores, with their intercept, become roots of the second derivatives.

    Those of the squared error are its Gauss-Newton part, sigma'^2.
    """
    cdef vreal power, r, curvature
    cdef Py_ssize_t i = 0
    while i < count:
        exp_parts(v_load(z + i), &power, &r)
        curvature = logistic_derivative(logistic_of_parts(power, r))
        if loss == LOSS_SQUARED_ERROR:
            curvature = curvature * curvature
        v_store(z + i, v_sqrt(curvature * v_load(weight + i)))
        i += LANES


cdef void add_gram(
    Py_ssize_t m, Py_ssize_t width, const real *rows, real *hessian
) noexcept nogil:
    """Upper triangle of hessian += rows^T rows, and some of what lies below it."""
    cdef real[MAX_TILE] tile
    cdef Py_ssize_t j = 0, k, i, height, registers, r
    cdef real *target
    cdef Product p
    p.K, p.C, p.c_stride = m, tile, TILE_WIDTH
    p.a_stride = p.b_stride = width
    p.prefetch_step = width * REAL_SIZE
    while j < width:
        height = p.m = min(<Py_ssize_t>TILE_ROWS, width - j)
        k = j - j % LANES
        while k < width:
            registers = min(<Py_ssize_t>TILE_WIDTH, width - k) // LANES
            p.A, p.B, p.prefetch = rows + j, rows + k, <const char *>(rows + k)
            columns_product(<int>registers, &p)
            for i in range(height):
                target = hessian + (j + i) * width + k
                for r in range(registers):
                    v_store(target + r * LANES, v_load(target + r * LANES)
                            + v_load(tile + i * TILE_WIDTH + r * LANES))
            k += TILE_WIDTH
        j += TILE_ROWS


cdef inline double dot(const double *x, const double *y, Py_ssize_t r) noexcept nogil:
    # In chains of a constant number, which the compiler keeps in registers.
    cdef double[CHAINS_OF_DOT] sums
    cdef double total = 0
    cdef Py_ssize_t j = 0, u
    for u in range(CHAINS_OF_DOT):
        sums[u] = 0
    while j + CHAINS_OF_DOT <= r:
        for u in range(CHAINS_OF_DOT):
            sums[u] += x[j + u] * y[j + u]
        j += CHAINS_OF_DOT
    while j < r:
        total += x[j] * y[j]
        j += 1
    for u in range(CHAINS_OF_DOT):
        total += sums[u]
    return total


cdef inline void subtract(
    double *target, const double *row, double factor, Py_ssize_t first, Py_ssize_t stop
) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(first, stop):
        target[k] -= factor * row[k]


cdef bint factorise(
    Team *team, int64_t thread, double *a, Py_ssize_t r, double singular
) noexcept nogil:
    """The upper triangle U of a becomes the factor with U^T U = a.

    Returns False where a square on the diagonal of U would be at most `singular` times the entry
    of a there: what is left of it then is rounding. That does not depend on units of columns.
    False, too, where a signal interrupts.
    """
    cdef Py_ssize_t first = 0, stop, i, j, k
    cdef double pivot, f0, f1, f2, f3
    cdef double *target
    cdef double *l0
    cdef double *l1
    cdef double *l2
    cdef double *l3
    # The lower triangle has room for what the diagonal was.
    for j in range(1, r):
        a[j * r] = a[j * r + j]
    while first < r:
        stop = min(first + PIVOTS, r)
        for j in range(first, stop):
            pivot = a[j * r + j]
            if not (pivot > 0 and pivot > singular * (a[j * r] if j else pivot)):
                return False
            pivot = sqrt(pivot)
            for k in range(j, r):
                a[j * r + k] /= pivot
            for i in range(j + 1, stop):
                subtract(a + i * r, a + j * r, a[j * r + i], i, r)
        if stop - first == PIVOTS:
            l0 = a + first * r
            l1, l2, l3 = l0 + r, l0 + 2 * r, l0 + 3 * r
            for i in range(stop, r):
                target = a + i * r
                f0, f1, f2, f3 = l0[i], l1[i], l2[i], l3[i]
                for k in range(i, r):
                    target[k] -= f0 * l0[k] + f1 * l1[k] + f2 * l2[k] + f3 * l3[k]
        if check_signals(team, thread, PIVOTS * (r - first) * (r - first) // 2):
            return False
        first = stop
    return True


cdef void solve_factor(const double *u, Py_ssize_t r, double *x) noexcept nogil:
    """x becomes the solution of U^T U solution = x."""
    cdef Py_ssize_t i, rest
    for i in range(r):
        x[i] /= u[i * r + i]
        subtract(x, u + i * r, x[i], i + 1, r)
    for i in range(r - 1, -1, -1):
        rest = r - i - 1
        x[i] = (x[i] - dot(u + i * r + i + 1, x + i + 1, rest)) / u[i * r + i]


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


cdef struct Curvature:
    # A Hessian under way.
    Team *team
    Rows x
    int loss
    const real *sample_weight
    const double *theta
    Py_ssize_t r            # parameters
    Py_ssize_t width        # that many, in whole registers
    Py_ssize_t rows         # of a block
    Py_ssize_t chunk        # rows of a chunk
    Py_ssize_t n_chunks
    Py_ssize_t block_reals  # of a thread's working memory
    real *blocks
    real *sums              # a matrix for each chunk
    double *wide            # the same, or NULL where chunks are of few rows


cdef inline void scaled_rows(
    Curvature *c, const RowRange *rows, real *block, const real *operand, real *root,
    real *weight
) noexcept nogil:
    """Rows [x 1] times the root of their curvature."""
    cdef Py_ssize_t i, j, m = rows.count
    cdef real *row
    cdef vreal f
    cdef Block scored
    scored.data, scored.step = <const char *>block, c.width * REAL_SIZE
    scored.count, scored.length, scored.first = m, c.width, 0
    scored.phases, scored.prefetch.next = &c.x.plain, NULL
    if c.sample_weight != NULL:
        memcpy(weight, c.sample_weight + rows.first, m * REAL_SIZE)
    for i in range(m):
        row = block + i * c.width
        convert(row, c.x.base + (rows.first + i) * c.x.row_stride, c.x.d, c.x.column_stride,
                c.x.kind)
        for j in range(c.x.d, c.width):
            row[j] = j < c.r
    row_dots(&scored, operand, root, &scored.prefetch)
    if c.loss == LOSS_LOG_LOSS:
        curvature_roots(LOSS_LOG_LOSS, round_up(m, LANES), root, weight)
    else:
        curvature_roots(LOSS_SQUARED_ERROR, round_up(m, LANES), root, weight)
    for i in range(m):
        f = v_set(root[i])
        row = block + i * c.width
        j = 0
        while j < c.width:
            v_store(row + j, f * v_load(row + j))
            j += LANES


cdef void curvature_chunk(void *job, int64_t thread, Py_ssize_t chunk) noexcept nogil:
    """Sums of a chunk of rows: upper triangle of their part of the Hessian."""
    cdef Curvature *c = <Curvature *>job
    cdef Py_ssize_t width = c.width, B = c.rows, begin = chunk * c.chunk, i
    cdef Py_ssize_t stop = min(begin + c.chunk, c.x.n)
    cdef real *sums = c.sums + chunk * width * width
    cdef double *wide = NULL if c.wide == NULL else c.wide + chunk * width * width
    cdef real *block = c.blocks + thread * c.block_reals
    cdef real *operand = block + B * width
    cdef real *root = operand + operand_start(0) + width
    cdef real *weight = root + B
    cdef RowRange rows
    rows.order, rows.first = NULL, begin
    memset(sums, 0, width * width * REAL_SIZE)
    if wide != NULL:
        memset(wide, 0, width * width * sizeof(double))
    memset(operand, 0, (operand_start(0) + width) * REAL_SIZE)
    for i in range(c.r):
        operand[operand_start(0) + i] = <real>c.theta[i]
    for i in range(B):
        weight[i] = 1
    while rows.first < stop:
        rows.count = min(B, stop - rows.first)
        scaled_rows(c, &rows, block, operand, root, weight)
        add_gram(rows.count, width, block, sums)
        rows.first += rows.count
        if wide != NULL and (
            (rows.first - begin) % (HESSIAN_BLOCKS * B) == 0 or rows.first >= stop
        ):
            for i in range(width * width):
                wide[i] += sums[i]
                sums[i] = 0
        # Products take an eighth of the time of elements.
        if check_signals(c.team, thread, rows.count * c.r * c.r // 16):
            return


cdef class Newton(NeuronJob):
    """What `newton` returns."""

    cdef double[::1] theta
    cdef const double[::1] l2
    cdef double[::1] gradient
    cdef double scale, tol, gap, floor, rate, enough, noise, singular, armijo
    cdef Py_ssize_t r
    cdef Curvature curvature
    cdef Evaluator helper
    cdef real *reals
    cdef double *wide
    cdef double *doubles
    # Pairs of steps and changes of the gradient that mend the factor.
    cdef double *moves
    cdef double *changes
    cdef double *products
    cdef double *shares
    cdef Py_ssize_t n_pairs, most_pairs
    # Where the last call ended: its value and largest entry of the gradient, whether the factor
    # still serves there, whether it is of that place, and whether there is one.
    cdef double *last
    cdef double value, norm
    cdef bint begun, known, serves, here, factored

    def __cinit__(self):
        self.reals = NULL
        self.wide = NULL
        self.doubles = NULL

    def __dealloc__(self):
        free(self.reals)
        free(self.wide)
        free(self.doubles)

    def __init__(
        self, data, config, theta, gradient, const double[:, ::1] model, Evaluator helper
    ):
        cdef Pass *p = &self.p
        cdef Curvature *c = &self.curvature
        cdef Matrix X = data.X
        cdef Py_ssize_t wanted, n_threads = 1 if helper is None else helper.team.n_threads
        self.theta, self.gradient = theta, gradient
        self.l2, self.scale = config.l2, data.scale
        self.tol, self.gap, self.floor = config.tol, config.gap, config.floor
        self.rate, self.enough = config.rate, config.enough
        self.noise, self.singular, self.armijo = config.noise, config.singular, config.armijo
        self.bind(X, 1, config.loss, data.y, data.sample_weight)
        self.pack(X)
        self.set_up(n_threads, True)
        if n_threads > 1:
            self.helper = helper
            p.team = &helper.team
        self.r = self.theta.shape[0]
        c.team, c.x, c.loss = p.team, X.rows, p.loss
        c.sample_weight = p.targets.weights
        c.r, c.width = self.r, round_up(self.r, LANES)
        c.rows = HESSIAN_ROWS
        if 2 * HESSIAN_ROWS * c.width * REAL_SIZE <= HESSIAN_BYTES:
            c.rows = 2 * HESSIAN_ROWS
        # As the chunks of a pass, cut by the problem alone.
        wanted = clamp(1, c.x.n * self.r * self.r // HESSIAN_PRODUCTS, HESSIAN_CHUNKS)
        wanted = min(wanted, max(2, HESSIAN_REALS // (c.width * c.width)))
        c.chunk = round_up(max(1, (c.x.n + wanted - 1) // wanted), c.rows)
        c.n_chunks = (c.x.n + c.chunk - 1) // c.chunk
        c.block_reals = round_up((c.rows + 1) * c.width + operand_start(0) + 2 * c.rows, 64)
        self.reals = <real *>reserve(
            64 // REAL_SIZE + n_threads * c.block_reals + c.n_chunks * c.width * c.width,
            REAL_SIZE, f"{c.n_chunks} partial Hessians of {self.r} parameters",
        )
        if REAL_SIZE == 4 and c.chunk > HESSIAN_BLOCKS * c.rows:
            self.wide = <double *>reserve(c.n_chunks * c.width * c.width, sizeof(double),
                                          f"{c.n_chunks} partial Hessians of {self.r} parameters")
        c.wide = self.wide
        c.blocks = from_cache_line(self.reals)
        c.sums = c.blocks + n_threads * c.block_reals
        self.most_pairs = config.steps
        self.doubles = <double *>reserve(
            (self.r + 2 * self.most_pairs + 4) * self.r + 2 * self.most_pairs, sizeof(double),
            f"the Hessian of {self.r} parameters",
        )
        self.last = self.doubles + self.r * self.r
        self.moves = self.last + 4 * self.r
        self.changes = self.moves + self.most_pairs * self.r
        self.products = self.changes + self.most_pairs * self.r
        self.shares = self.products + self.most_pairs
        self.begun = self.known = self.serves = self.here = self.factored = False
        self.n_pairs = 0
        if model is not None:
            memcpy(self.doubles, &model[0, 0], self.r * self.r * sizeof(double))
            with nogil:
                self.serves = factorise(p.team, 0, self.doubles, self.r, self.singular)
            self.factored = self.serves
            raise_if_interrupted(p.team)

    cdef double evaluate(self, const double *theta, double *grad) noexcept nogil:
        """Objective and gradient."""
        cdef Pass *p = &self.p
        cdef Py_ssize_t j
        cdef double value
        for j in range(self.r):
            p.w.theta[j] = <real>theta[j]
        value = run_pass(p, NULL, 0, p.x.n, self.scale)
        for j in range(self.r):
            value += 0.5 * self.l2[j] * theta[j] * theta[j]
            grad[j] = p.sums.total[j] + self.l2[j] * theta[j]
        return value

    cdef void curve(self, const double *theta, double *hess) noexcept nogil:
        """Upper triangle of the Hessian."""
        cdef Curvature *c = &self.curvature
        cdef Py_ssize_t r = self.r, width = c.width, chunk, i, j
        cdef const real *sums
        cdef const double *wide
        c.theta = theta
        run_chunks(c.team, curvature_chunk, c, c.n_chunks)
        for j in range(r):
            for i in range(j, r):
                hess[j * r + i] = 0
            for chunk in range(c.n_chunks):
                sums = c.sums + (chunk * width + j) * width
                if c.wide != NULL:
                    wide = c.wide + (chunk * width + j) * width
                    for i in range(j, r):
                        hess[j * r + i] += self.scale * wide[i]
                    continue
                for i in range(j, r):
                    hess[j * r + i] += self.scale * sums[i]
            hess[j * r + j] += self.l2[j]

    cdef void direct(self, const double *factor, const double *grad, double *step) noexcept nogil:
        """-H^-1 grad by the factor and the pairs (Nocedal & Wright, algorithm 7.4)."""
        cdef Py_ssize_t r = self.r, i, j
        cdef double share
        for j in range(r):
            step[j] = -grad[j]
        for i in range(self.n_pairs - 1, -1, -1):
            self.shares[i] = dot(self.moves + i * r, step, r) / self.products[i]
            subtract(step, self.changes + i * r, self.shares[i], 0, r)
        solve_factor(factor, r, step)
        for i in range(self.n_pairs):
            share = dot(self.changes + i * r, step, r) / self.products[i]
            subtract(step, self.moves + i * r, share - self.shares[i], 0, r)

    cdef void remember(
        self, const double *theta, const double *grad, const double *trial,
        const double *trial_grad,
    ) noexcept nogil:
        """A pair, where it says something of the curvature."""
        cdef Py_ssize_t r = self.r, j
        cdef double *move = self.moves + self.n_pairs * r
        cdef double *change = self.changes + self.n_pairs * r
        cdef double product
        for j in range(r):
            move[j], change[j] = trial[j] - theta[j], trial_grad[j] - grad[j]
        product = dot(move, change, r)
        if product > DBL_EPSILON * dot(change, change, r):
            self.products[self.n_pairs] = product
            self.n_pairs += 1

    def __call__(self, history, hessian=None):
        cdef uint64_t mode = ieee_mode()
        try:
            return self.advance(history, hessian)
        finally:
            restore_mode(mode)

    cdef tuple advance(self, double[:, ::1] history, double[:, ::1] hessian):
        cdef Py_ssize_t r = self.r, steps = 0, gradients = 0, hessians = 0, j, k
        cdef size_t size = r * sizeof(double)
        cdef double *theta = &self.theta[0]
        cdef double *grad = &self.gradient[0]
        cdef double *hess
        cdef double *factor = self.doubles
        cdef double *trial_grad = self.last + r
        cdef double *trial = trial_grad + r
        cdef double *step = trial + r
        cdef double new, directional, flat, trial_norm, expected = INFINITY
        cdef bint moved, within, known = self.known
        # Unless this call comes to its end.
        self.known = False
        if self.helper is not None:
            self.helper.start_threads()
        with nogil:
            if not known or memcmp(theta, self.last, size):
                self.serves, self.here = self.serves and not self.begun, False
                self.factored, self.begun = self.serves, True
                self.value = self.evaluate(theta, grad)
                self.norm = largest_entry(grad, r)
                gradients += 1
            while (
                steps < history.shape[0] and isfinite(self.value + self.norm)
                and not self.p.team.interrupted
            ):
                within = self.norm <= self.tol
                if within and (self.gap == INFINITY or self.value < self.floor):
                    break
                # The factor of an earlier iterate will do to tell whether it is the last.
                if not self.serves and not (within and self.factored):
                    self.curve(theta, factor)
                    if self.p.team.interrupted:
                        break
                    hessians += 1
                    self.n_pairs = 0
                    self.factored = factorise(self.p.team, 0, factor, r, self.singular)
                    if not self.factored:
                        break
                    self.serves = self.here = True
                self.direct(factor, grad, step)
                directional, moved = dot(grad, step, r), False
                if within and -directional / 2 <= self.gap * fabs(self.value):
                    expected = -directional / 2
                    break
                if not self.serves:
                    self.factored = False
                    continue
                for j in range(r):
                    # As the kernels hold it.
                    trial[j] = <real>(theta[j] + step[j])
                    moved = moved or trial[j] != theta[j]
                if not (directional < 0 and isfinite(directional) and moved):
                    if self.here:
                        break
                    self.serves = False
                    continue
                expected = -directional / 2
                new = self.evaluate(trial, trial_grad)
                if self.p.team.interrupted:
                    break
                gradients += 1
                trial_norm = largest_entry(trial_grad, r)
                flat = self.noise * fabs(self.value)
                if not isfinite(new + trial_norm) or new > self.value + flat + (
                    self.armijo * directional if expected > flat else 0
                ) or (expected <= flat and trial_norm >= self.norm):
                    if self.here:
                        break
                    self.serves = False
                    continue
                self.remember(theta, grad, trial, trial_grad)
                self.serves = trial_norm <= self.rate * self.norm
                self.serves = self.serves and self.n_pairs < self.most_pairs
                self.here = False
                memcpy(theta, trial, size)
                memcpy(grad, trial_grad, size)
                self.value, self.norm = new, trial_norm
                history[steps, 0], history[steps, 1] = new, trial_norm
                history[steps, 2] = 1
                steps += 1
                if expected < self.enough:
                    break
                with gil:
                    if PyErr_CheckSignals() != 0:
                        raise_pending()
                    if self.helper is not None:
                        # Factorising may have taken longer than they wait.
                        self.helper.start_threads()
            memcpy(self.last, theta, size)
            if hessian is not None and not self.p.team.interrupted:
                hess = &hessian[0, 0]
                self.curve(theta, hess)
                hessians += 1
                for j in range(r):
                    for k in range(j + 1, r):
                        hess[k * r + j] = hess[j * r + k]
        raise_if_interrupted(self.p.team)
        self.known = True
        return steps, expected, gradients, hessians
