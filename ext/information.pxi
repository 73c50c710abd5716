# `information` and `weighted_gram` of the contract: log-likelihood, gradient and information of one
# neuron on dense rows, and [X 1]^T S [X 1] alone.
#
# Blocks of rows lie as columns in L2, as those of `newton_many`, whose sums these are. Before the
# products the columns are multiplied by the roots of the curvature, in place.

cdef struct Evaluation:
    Models *models
    int64_t *parts          # a model for each thread: the block of rows at work
    const double *theta
    Py_ssize_t chunk        # rows of a chunk
    Py_ssize_t n_chunks
    Py_ssize_t head         # of the sums of a chunk: value and gradient, or nothing
    double *sums            # of each chunk, with the matrix behind its head
    # With Firth's penalty, of all rows; and the inverse of the factor, its columns as rows.
    real *scores
    real *curvature
    real *inverse


cdef inline Py_ssize_t size_of_sums(const Evaluation *c) noexcept nogil:
    return c.head + c.models.r * c.models.r


cdef inline Py_ssize_t begin_block(
    Evaluation *c, Modeller *s, int64_t thread, Py_ssize_t first, Py_ssize_t stop
) noexcept nogil:
    """Make a block of rows the model at work; returns how many they are."""
    cdef int64_t *part = c.parts + thread * len_model
    part[MODELPART_FIRST], part[MODELPART_STOP] = first, min(first + c.models.block, stop)
    s.model, s.count = part, part[MODELPART_STOP] - first
    s.rows_first = s.model_first = -1
    return s.count


cdef inline inlined_void scale_columns(Models *job, Modeller *s) noexcept nogil:
    """Columns times the roots of the curvature."""
    cdef Py_ssize_t i = 0, j, length = round_up(s.count, LANES)
    cdef real *column
    while i < length:
        v_store(s.curvature + i, v_sqrt(v_load(s.curvature + i)))
        i += LANES
    for j in range(job.r):
        column, i = s.columns + j * job.step, 0
        while i < length:
            v_store(column + i, v_load(column + i) * v_load(s.curvature + i))
            i += LANES


cdef void information_chunk(void *job, int64_t thread, Py_ssize_t chunk) noexcept nogil:
    """Sums of a chunk of rows."""
    cdef Evaluation *c = <Evaluation *>job
    cdef Models *models = c.models
    cdef Modeller *s = &models.modellers[thread]
    cdef double *sums = c.sums + chunk * size_of_sums(c)
    cdef Py_ssize_t first = chunk * c.chunk, stop = min(first + c.chunk, models.x.n), count, j
    memset(sums, 0, size_of_sums(c) * sizeof(double))
    while first < stop:
        count = begin_block(c, s, thread, first, stop)
        sums[0] += evaluate_model(models, s, c.theta, 0, s.gradient)
        for j in range(models.r):
            sums[1 + j] += s.gradient[j]
        if c.scores != NULL:
            memcpy(c.scores + first, s.scores, count * REAL_SIZE)
            memcpy(c.curvature + first, s.curvature, count * REAL_SIZE)
        scale_columns(models, s)
        add_block_gram(models, s, count, NULL, sums + c.head)
        first += count
        if check_signals(models.team, thread, count * models.r * models.r // 16):
            return


cdef inline inlined_void add_squares(Py_ssize_t count, const real *x, real *out) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i < count:
        v_store(out + i, v_load(out + i) + v_load(x + i) * v_load(x + i))
        i += LANES


cdef inline inlined_void firth_residuals(
    Py_ssize_t count, const real *scores, const real *curvature, real *squares
) noexcept nogil:
    """Squares become leverages times sigma - 1/2."""
    cdef Py_ssize_t i = 0
    cdef vreal z, power, r, middle
    while i < count:
        z = v_load(scores + i)
        exp_parts(z, &power, &r)
        middle = v_set(<real>0.5) - logistic_of_parts(power, r)
        middle = v_where_negative(z, v_set(0) - middle, middle)
        v_store(squares + i, v_load(squares + i) * v_load(curvature + i) * middle)
        i += LANES


cdef void firth_chunk(void *job, int64_t thread, Py_ssize_t chunk) noexcept nogil:
    """What Firth's penalty adds to the gradient, of a chunk of rows."""
    cdef Evaluation *c = <Evaluation *>job
    cdef Models *models = c.models
    cdef Modeller *s = &models.modellers[thread]
    cdef double *sums = c.sums + chunk * size_of_sums(c)
    cdef Py_ssize_t first = chunk * c.chunk, stop = min(first + c.chunk, models.x.n)
    cdef Py_ssize_t count, i, j, r = models.r
    cdef Block columns
    columns.step, columns.by_columns = models.step * REAL_SIZE, True
    memset(sums, 0, c.head * sizeof(double))
    while first < stop:
        count, i = begin_block(c, s, thread, first, stop), 0
        enter_block(models, s, 0)
        # What pads them, too.
        memset(s.scores, 0, round_up(count, LANES) * REAL_SIZE)
        memcpy(s.scores, c.scores + first, count * REAL_SIZE)
        memset(s.curvature, 0, round_up(count, LANES) * REAL_SIZE)
        memcpy(s.curvature, c.curvature + first, count * REAL_SIZE)
        memset(s.derivatives, 0, round_up(count, LANES) * REAL_SIZE)
        while i < count:
            columns.data = <const char *>(s.columns + i)
            columns.length = round_up(min(models.strip, count - i), LANES)
            for j in range(r):
                columns.count = j + 1
                column_axpys(columns, c.inverse + j * r, s.trial_scores)
                add_squares(columns.length, s.trial_scores, s.derivatives + i)
            firth_residuals(columns.length, s.scores + i, s.curvature + i, s.derivatives + i)
            columns.count = r
            memset(s.sums, 0, r * REAL_SIZE)
            column_dots(&columns, s.derivatives + i, s.sums, NULL)
            for j in range(r):
                sums[1 + j] += s.sums[j]
            i += models.strip
        first += count
        if check_signals(models.team, thread, count * r * r // 16):
            return


cdef void invert_factor(const double *u, Py_ssize_t r, real *out, double *column) noexcept nogil:
    """Columns of U^-1 as rows, for an upper triangle U."""
    cdef Py_ssize_t i, j
    for j in range(r):
        column[j] = 1 / u[j * r + j]
        for i in range(j - 1, -1, -1):
            column[i] = -dot(u + i * r + i + 1, column + i + 1, j - i) / u[i * r + i]
        for i in range(j + 1):
            out[j * r + i] = <real>column[i]


cdef void gram_chunk(void *job, int64_t thread, Py_ssize_t chunk) noexcept nogil:
    """Products of a chunk of rows, whose factors stand in the targets' place."""
    cdef Evaluation *c = <Evaluation *>job
    cdef Models *models = c.models
    cdef Modeller *s = &models.modellers[thread]
    cdef double *sums = c.sums + chunk * size_of_sums(c)
    cdef Py_ssize_t first = chunk * c.chunk, stop = min(first + c.chunk, models.x.n), count
    memset(sums, 0, size_of_sums(c) * sizeof(double))
    while first < stop:
        count = begin_block(c, s, thread, first, stop)
        enter_block(models, s, 0)
        memcpy(s.curvature, s.y, round_up(count, LANES) * REAL_SIZE)
        scale_columns(models, s)
        add_block_gram(models, s, count, NULL, sums)
        first += count
        if check_signals(models.team, thread, count * models.r * models.r // 16):
            return


cdef class BlockJob(ModelJob):
    """A call that adds up sums of blocks of rows."""

    cdef Evaluation evaluation
    cdef double *sums

    def __cinit__(self):
        self.sums = NULL

    def __dealloc__(self):
        free(self.sums)
        free(self.evaluation.parts)

    cdef int set_up_blocks(
        self, Matrix X, bint fit_intercept, bint takes_gradient, Py_ssize_t spare, n_threads
    ) except -1:
        """Cut the rows, and reserve memory, with spare numbers behind the sums."""
        cdef Models *job = &self.job
        cdef Evaluation *c = &self.evaluation
        cdef Py_ssize_t n = X.rows.n, r = X.rows.d + fit_intercept, wanted, t
        job.x, job.r, job.y_step = X.rows, r, n
        job.config.loss, job.config.fit_intercept = LOSS_LOG_LOSS, fit_intercept
        self.cut(n)
        self.set_up(job.block, n_threads)
        # As the chunks of Newton's method.
        wanted = clamp(1, n * r * r // HESSIAN_PRODUCTS, HESSIAN_CHUNKS)
        wanted = min(wanted, max(2, HESSIAN_REALS // (r * r)))
        c.models, c.chunk = job, round_up(max(1, (n + wanted - 1) // wanted), job.block)
        c.n_chunks = (n + c.chunk - 1) // c.chunk
        c.head = takes_gradient * (1 + r)
        what = f"{c.n_chunks} partial sums of {r} x {r}"
        self.sums = <double *>reserve(
            c.n_chunks * size_of_sums(c) + spare, sizeof(double), what
        )
        c.sums = self.sums
        c.parts = <int64_t *>reserve(n_threads * <int>len_model, sizeof(int64_t), what, True)
        for t in range(n_threads):
            job.modellers[t].total = 1
            c.parts[t * <int>len_model + <int>MODELPART_WEIGHT] = 0 if job.weights != NULL else -1
        return 0

    cdef void add_matrices(self, double *out) noexcept nogil:
        """The sum of the chunks' matrices, both triangles."""
        cdef Evaluation *c = &self.evaluation
        cdef Py_ssize_t r = self.job.r, i, j, chunk
        cdef const double *sums
        memset(out, 0, r * r * sizeof(double))
        for chunk in range(c.n_chunks):
            sums = c.sums + chunk * size_of_sums(c) + c.head
            for j in range(r):
                for i in range(j, r):
                    out[j * r + i] += sums[j * r + i]
        for j in range(r):
            for i in range(j):
                out[j * r + i] = out[i * r + j]


cdef class WeightedGram(BlockJob):
    """A call of `weighted_gram`."""

    cdef double[:, ::1] out

    def __init__(
        self, Matrix X, const real[::1] factors, bint fit_intercept, double[:, ::1] out, n_threads
    ):
        self.keep = (X, factors)
        self.out = out
        self.job.y = &factors[0]
        self.set_up_blocks(X, fit_intercept, False, 0, n_threads)

    def lead(self):
        cdef double *out = &self.out[0, 0]
        with nogil:
            run_chunks(self.job.team, gram_chunk, &self.evaluation, self.evaluation.n_chunks)
            self.add_matrices(out)
        raise_if_interrupted(self.job.team)


cdef class Information(BlockJob):
    """What `information` returns."""

    cdef bint bias_reduced
    cdef double singular
    cdef real *rows         # targets and, for Firth's penalty, what is kept of each row

    def __cinit__(self):
        self.rows = NULL

    def __dealloc__(self):
        free(self.rows)

    def __init__(
        self, data, const real[::1] offset, bint fit_intercept, bint bias_reduced,
        double singular, n_threads
    ):
        cdef Models *job = &self.job
        cdef Evaluation *c = &self.evaluation
        cdef Matrix X = data.X
        cdef Targets targets
        cdef Py_ssize_t n = X.rows.n, r = X.rows.d + fit_intercept, i
        cdef real *free_
        self.keep = (X, data, offset)
        self.bias_reduced, self.singular = bias_reduced, singular
        bind_targets(&targets, 1, data.y, data.sample_weight)
        job.weights, job.weights_step = targets.weights, n
        if offset is not None:
            job.offset = &offset[0]
        self.rows = <real *>reserve(
            taken(n) + bias_reduced * (2 * taken(n) + taken(r * r)) + CACHE_LINE // REAL_SIZE,
            REAL_SIZE, f"the information of {r} parameters",
        )
        free_ = from_cache_line(self.rows)
        job.y = take(&free_, n)
        for i in range(n):
            (<real *>job.y)[i] = target_of(&targets, 0, i)
        if bias_reduced:
            c.scores, c.curvature = take(&free_, n), take(&free_, n)
            c.inverse = take(&free_, r * r)
        # A factor, and a column of its inverse.
        self.set_up_blocks(X, fit_intercept, True, r * r + r, n_threads)
        self.patience = LINGERING_NS

    def __call__(self, theta, gradient, information):
        cdef uint64_t mode = ieee_mode()
        try:
            return self.evaluate(theta, gradient, information)
        finally:
            restore_mode(mode)

    cdef double evaluate(
        self, const double[::1] theta, double[::1] gradient, double[:, ::1] information
    ) except? -1:
        cdef Models *job = &self.job
        cdef Evaluation *c = &self.evaluation
        cdef Py_ssize_t r = job.r, j, chunk
        cdef double value = 0
        cdef double *grad = &gradient[0]
        cdef double *out = &information[0, 0]
        cdef const double *sums
        cdef double *factor = self.sums + c.n_chunks * size_of_sums(c)
        cdef uint64_t mode
        c.theta = &theta[0]
        self.start_threads()
        mode = ieee_mode()
        with nogil:
            run_chunks(job.team, information_chunk, c, c.n_chunks)
            memset(grad, 0, r * sizeof(double))
            for chunk in range(c.n_chunks):
                sums = c.sums + chunk * size_of_sums(c)
                value += sums[0]
                for j in range(r):
                    grad[j] += sums[1 + j]
            self.add_matrices(out)
            if self.bias_reduced and not job.team.interrupted:
                memcpy(factor, out, r * r * sizeof(double))
                if not factorise(job.team, 0, factor, r, self.singular):
                    value = INFINITY
                else:
                    for j in range(r):
                        value -= log(factor[j * r + j])
                    invert_factor(factor, r, c.inverse, factor + r * r)
                    run_chunks(job.team, firth_chunk, c, c.n_chunks)
                    for chunk in range(c.n_chunks):
                        sums = c.sums + chunk * size_of_sums(c)
                        for j in range(r):
                            grad[j] += sums[1 + j]
        restore_mode(mode)
        raise_if_interrupted(job.team)
        return value
