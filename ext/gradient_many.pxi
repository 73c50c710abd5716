# `gradient_many` of the contract: losses and gradients of many models on the same rows.
#
# A block of rows is converted once for up to MODELS_OF_BLOCK models. Their scores and gradients are
# products of matrices, tile by tile of product.h, with all scores of the block in L1 between them.

cdef enum:
    MODELS_OF_BLOCK = 64        # at the most
    SHARED_ROWS = 64            # of a block: whole tiles of every type
    # Rows that a thread takes at a time, and so many such parts at the most.
    SHARED_CHUNK = 4096
    MAX_SHARED_CHUNKS = 16


cdef struct SharedRows:
    # A call.
    Team *team
    Rows x
    const real *y
    Py_ssize_t y_step
    const real *weights         # (S, weights_step), or NULL
    Py_ssize_t weights_step
    int loss
    const int64_t *models
    Py_ssize_t M
    Py_ssize_t r
    Py_ssize_t width            # r in whole tiles
    const double *theta
    double *sums                # (row chunks, M, r + 1): gradient, value
    Py_ssize_t rows             # of a chunk
    Py_ssize_t n_blocks         # of models
    Py_ssize_t models_of_block
    SharedScratch *scratch


cdef struct SharedScratch:
    real *theta                 # (MODELS_OF_BLOCK, width)
    real *rows                  # (SHARED_ROWS, width): [x 1], padded with zeros
    real *columns               # (r, SHARED_ROWS)
    real *scores                # (MODELS_OF_BLOCK, SHARED_ROWS)
    real *y                     # (SHARED_ROWS): of rows that do not fill a block
    real *weight
    real *ones
    real *tile


cdef void take_shared_rows(
    SharedRows *job, SharedScratch *s, Py_ssize_t first, Py_ssize_t count
) noexcept nogil:
    """Rows [x 1], and the same as columns."""
    cdef Rows *x = &job.x
    cdef Py_ssize_t i, j, d = x.d, width = job.width
    cdef real *row
    for i in range(SHARED_ROWS):
        row = s.rows + i * width
        if i >= count:
            memset(row, 0, width * REAL_SIZE)
            continue
        if x.layout == SPARSE:
            take_sparse_row(x, first + i, row)
        else:
            convert(row, x.base + (first + i) * x.row_stride, d, x.column_stride, x.kind)
            if first + i + ROWS_AHEAD < x.n:
                prefetch_dense_row(x, first + i + ROWS_AHEAD)
        for j in range(d, width):
            row[j] = j < job.r
    i = 0
    while i < SHARED_ROWS:
        j = 0
        while j < job.r:
            transpose(s.rows + i * width + j, width, LANES, s.columns + j * SHARED_ROWS + i,
                      SHARED_ROWS, min(<Py_ssize_t>LANES, job.r - j))
            j += LANES
        i += LANES


cdef inline inlined_void shared_losses(
    int loss, const real *y, const real *weight, real *z, double *value
) noexcept nogil:
    """Add the losses of a block; scores become derivatives."""
    cdef Py_ssize_t i = 0
    cdef vreal total = v_set(0), c, g
    while i < SHARED_ROWS:
        loss_of(loss, v_load(z + i), v_load(y + i), v_load(weight + i), &c, &g)
        total = total + c
        v_store(z + i, g)
        i += LANES
    value[0] += v_sum(total)


cdef inline const real *shared_entries(
    const real *all, real *own, Py_ssize_t first, Py_ssize_t count
) noexcept nogil:
    """Entries of a block: where they lie, or padded with zeros."""
    cdef Py_ssize_t i
    if count == SHARED_ROWS:
        return all + first
    for i in range(SHARED_ROWS):
        own[i] = all[first + i] if i < count else 0
    return own


cdef void shared_block(
    SharedRows *job, SharedScratch *s, const int64_t *models, Py_ssize_t count,
    Py_ssize_t first, Py_ssize_t rows, double *sums
) noexcept nogil:
    """Add the sums of a block of rows to those of a block of models."""
    cdef Py_ssize_t k, j, i, registers, width = job.width, r = job.r
    cdef const real *y
    cdef const real *weight
    cdef double *target
    cdef Product p
    p.m, p.K, p.start = count, r, NULL
    p.A, p.a_stride = s.theta, width
    p.b_stride = p.c_stride = SHARED_ROWS
    p.prefetch, p.prefetch_step = NULL, 0
    j = 0
    while j < SHARED_ROWS:
        registers = min(<Py_ssize_t>TILE_WIDTH, SHARED_ROWS - j) // LANES
        p.B, p.C = s.columns + j, s.scores + j
        rows_product(<int>registers, &p)
        j += TILE_WIDTH
    for k in range(count):
        y = shared_entries(job.y + models[MODELPART_TARGET] * job.y_step, s.y, first, rows)
        if models[MODELPART_WEIGHT] >= 0:
            weight = shared_entries(
                job.weights + models[MODELPART_WEIGHT] * job.weights_step, s.weight, first, rows
            )
        else:
            weight = shared_entries(s.ones - first, s.weight, first, rows)
        target = sums + k * (r + 1) + r
        if job.loss == LOSS_LOG_LOSS:
            shared_losses(LOSS_LOG_LOSS, y, weight, s.scores + k * SHARED_ROWS, target)
        else:
            shared_losses(LOSS_SQUARED_ERROR, y, weight, s.scores + k * SHARED_ROWS, target)
        models += len_model
    p.K, p.A, p.a_stride = SHARED_ROWS, s.scores, SHARED_ROWS
    p.b_stride, p.C, p.c_stride = width, s.tile, TILE_WIDTH
    j = 0
    while j < r:
        registers = min(<Py_ssize_t>TILE_WIDTH, width - j) // LANES
        p.B = s.rows + j
        rows_product(<int>registers, &p)
        for k in range(count):
            target = sums + k * (r + 1) + j
            for i in range(min(<Py_ssize_t>TILE_WIDTH, r - j)):
                target[i] += s.tile[k * TILE_WIDTH + i]
        j += TILE_WIDTH


cdef void shared_chunk(void *job_, int64_t thread, Py_ssize_t chunk) noexcept nogil:
    cdef SharedRows *job = <SharedRows *>job_
    cdef SharedScratch *s = &job.scratch[thread]
    cdef Py_ssize_t part = chunk // job.n_blocks, first = chunk % job.n_blocks * job.models_of_block
    cdef Py_ssize_t count = min(job.models_of_block, job.M - first), k, j, rows
    cdef Py_ssize_t row = part * job.rows, stop = min(row + job.rows, job.x.n)
    cdef double *sums = job.sums + (part * job.M + first) * (job.r + 1)
    memset(sums, 0, count * (job.r + 1) * sizeof(double))
    for k in range(count):
        for j in range(job.r):
            s.theta[k * job.width + j] = <real>job.theta[(first + k) * job.r + j]
    while row < stop:
        rows = min(<Py_ssize_t>SHARED_ROWS, stop - row)
        take_shared_rows(job, s, row, rows)
        shared_block(job, s, job.models + first * len_model, count, row, rows, sums)
        row += rows
        if check_signals(job.team, thread, rows * job.r * count // 4):
            return


cdef class GradientMany(Job):
    """A call of `gradient_many`."""

    cdef SharedRows job
    cdef real *reals
    cdef double *doubles
    cdef double[::1] values
    cdef double[:, ::1] gradients

    def __cinit__(self):
        memset(&self.job, 0, sizeof(SharedRows))
        self.reals = NULL
        self.doubles = NULL

    def __dealloc__(self):
        free(self.reals)
        free(self.doubles)
        free(self.job.scratch)

    def __init__(
        self, data, const int64_t[:, ::1] models, int loss, const double[:, ::1] theta,
        double[::1] values, double[:, ::1] gradients, n_threads
    ):
        cdef SharedRows *job = &self.job
        cdef Matrix X = data.X
        cdef const real[:, ::1] y = data.y
        cdef const real[:, ::1] weights
        cdef Py_ssize_t i, t, own, parts
        cdef SharedScratch *s
        cdef real *free_
        job.x, job.loss, job.M, job.r = X.rows, loss, models.shape[0], theta.shape[1]
        job.y, job.y_step = &y[0, 0], y.shape[1]
        if data.sample_weight is not None:
            weights = data.sample_weight
            job.weights, job.weights_step = &weights[0, 0], weights.shape[1]
        job.models, job.theta = &models[0, 0], &theta[0, 0]
        self.values, self.gradients = values, gradients
        self.keep = (X, data, models, theta)
        job.width = round_up(job.r, LANES)
        parts = clamp(1, job.x.n // SHARED_CHUNK, MAX_SHARED_CHUNKS)
        job.rows = round_up((job.x.n + parts - 1) // parts, SHARED_ROWS)
        parts = (job.x.n + job.rows - 1) // job.rows
        job.n_blocks = (job.M + MODELS_OF_BLOCK - 1) // MODELS_OF_BLOCK
        job.models_of_block = (job.M + job.n_blocks - 1) // job.n_blocks
        self.form_team(n_threads)
        self.team.uneven = True
        job.team = &self.team
        own = (
            (taken(MODELS_OF_BLOCK * job.width) + taken(SHARED_ROWS * job.width))
            + taken(job.r * SHARED_ROWS) + taken(MODELS_OF_BLOCK * SHARED_ROWS)
            + 3 * taken(SHARED_ROWS) + taken(MODELS_OF_BLOCK * TILE_WIDTH)
        )
        what = f"the gradients of {job.M} models of {job.r} parameters"
        self.reals = <real *>reserve(
            n_threads * own + CACHE_LINE // REAL_SIZE, REAL_SIZE, what, True
        )
        self.doubles = <double *>reserve(parts * job.M * (job.r + 1), sizeof(double), what)
        job.scratch = <SharedScratch *>reserve(n_threads, sizeof(SharedScratch), what, True)
        job.sums = self.doubles
        free_ = from_cache_line(self.reals)
        for t in range(n_threads):
            s = &job.scratch[t]
            s.theta = take(&free_, MODELS_OF_BLOCK * job.width)
            s.rows = take(&free_, SHARED_ROWS * job.width)
            s.columns = take(&free_, job.r * SHARED_ROWS)
            s.scores = take(&free_, MODELS_OF_BLOCK * SHARED_ROWS)
            s.y = take(&free_, SHARED_ROWS)
            s.weight = take(&free_, SHARED_ROWS)
            s.ones = take(&free_, SHARED_ROWS)
            s.tile = take(&free_, MODELS_OF_BLOCK * TILE_WIDTH)
            for i in range(SHARED_ROWS):
                s.ones[i] = 1

    def lead(self):
        cdef SharedRows *job = &self.job
        cdef Py_ssize_t parts = (job.x.n + job.rows - 1) // job.rows, part, m, j
        cdef double total
        with nogil:
            run_chunks(job.team, shared_chunk, job, parts * job.n_blocks)
        raise_if_interrupted(job.team)
        for m in range(job.M):
            for j in range(job.r + 1):
                total = 0
                for part in range(parts):
                    total += job.sums[(part * job.M + m) * (job.r + 1) + j]
                if j < job.r:
                    self.gradients[m, j] = total
                else:
                    self.values[m] = total
