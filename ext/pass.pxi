# What a pass over the rows needs, and the memory of a call: NeuronJob.

cdef struct Scratch:
    # One thread's working memory; every array is padded to whole registers.
    real *rows     # converted block
    real *scores   # (K, scores_step): z, then the derivative
    real *targets  # (K, group)
    real *weights  # (group)
    real *sums     # (K, operand_step): gradients of a group of rows
    real *bias     # (K, LANES): those of the intercepts
    real *tiles    # of several neurons: scores of a block (outputs.pxi)
    double *factors  # and derivatives of a sparse row


cdef struct PackedTargets:
    # Of a packed X: the panels' rows, the last padded with rows that weigh nothing.
    real *y                 # (K, step)
    real *weights
    Py_ssize_t step
    real *sums              # a register for each parameter


cdef struct Pass:
    Team *team
    Rows x
    Targets targets
    PackedTargets packed
    Parameters w
    PartialSums sums
    int loss
    bint several            # neurons, for which products of matrices serve (outputs.pxi)
    Scratch *scratch        # one for each thread
    Py_ssize_t scores_step  # a block in whole registers
    # The rows under way, cut into chunks.
    const int32_t *order
    Py_ssize_t start
    Py_ssize_t stop
    Py_ssize_t chunk
    Py_ssize_t row_elements  # read for a row, for all neurons


cdef enum:
    # What one thread takes at a time; its sums are its own. The cut depends on the problem alone,
    # so the sums are the same for every number of threads.
    CHUNK_ELEMENTS = 65536
    MAX_CHUNKS = 64
    MAX_PARTIALS = 1 << 23  # entries of sums beside those of a chunk: 64 MiB


cdef Py_ssize_t elements_of(
    const Rows *x, const int32_t *order, Py_ssize_t start, Py_ssize_t stop
) noexcept nogil:
    """Entries in some rows; with an order, their expected number."""
    if x.layout != SPARSE:
        return (stop - start) * x.d
    if order == NULL:
        return entries_between(x, start, stop)
    return entries_between(x, 0, x.n) // x.n * (stop - start)


cdef inline Py_ssize_t chunks_wanted(const Pass *p, Py_ssize_t elements) noexcept nogil:
    """At most."""
    cdef Py_ssize_t most = clamp(2, 1 + MAX_PARTIALS // (p.w.K * p.w.length), MAX_CHUNKS)
    cdef Py_ssize_t least = (2 if p.several else 6) * p.w.length
    return clamp(1, elements // max(<Py_ssize_t>CHUNK_ELEMENTS, least), most)


cdef void cut_chunks(
    Pass *p, const int32_t *order, Py_ssize_t start, Py_ssize_t stop
) noexcept nogil:
    """Cut rows into chunks of whole blocks, by the problem alone."""
    cdef Py_ssize_t rows = stop - start, head = rows_before_boundary(&p.x, order, start)
    cdef Py_ssize_t elements = elements_of(&p.x, order, start, stop)
    cdef Py_ssize_t wanted = chunks_wanted(p, elements)
    # In numbers that threads share evenly.
    wanted -= wanted % 8 if wanted > 8 else wanted % 2 if wanted > 2 else 0
    p.order, p.start, p.stop = order, start, stop
    # At least one row a chunk, also where there are none to cut.
    p.chunk = round_up(max(1, (rows + wanted - 1) // wanted), p.x.group)
    p.sums.n_chunks = (max(rows - head, min(rows, 1)) + p.chunk - 1) // p.chunk
    p.row_elements = (elements // max(1, rows) + 1) * p.w.K


cdef inline Py_ssize_t first_row(Pass *p, Py_ssize_t chunk) noexcept nogil:
    """Of a chunk; the first has the rows before the columns' boundary, too."""
    if chunk == 0:
        return p.start
    return min(p.start + rows_before_boundary(&p.x, p.order, p.start) + chunk * p.chunk, p.stop)


cdef inline Py_ssize_t rows_at(
    Pass *p, Py_ssize_t first, Py_ssize_t stop, Py_ssize_t most
) noexcept nogil:
    """How many rows are taken together, from `first` on: up to a boundary, or whole registers."""
    cdef Py_ssize_t m = min(most, stop - first)
    cdef Py_ssize_t head = rows_before_boundary(&p.x, p.order, first)
    if 0 < head < m:
        return head
    if (p.x.layout == COLUMNS or few_columns(&p.x)) and m > LANES:
        m -= m % LANES
    return m


cdef inline void lay_out(Pass *p, const int32_t *order) noexcept nogil:
    """The weights, as the products with rows read them."""
    if p.several:
        lay_out_panels(p)
    elif p.x.layout != SPARSE:
        lay_out_weights(&p.w, phases_of(&p.x, order))


cdef inline void block_scores(
    Pass *p, Scratch *s, const RowRange *rows, Block *block, bint prefetches
) noexcept nogil:
    """X w for every neuron, without the intercepts, into the scratch's scores."""
    cdef Py_ssize_t k, B = p.scores_step
    cdef Prefetch none
    none.next = NULL
    if p.x.layout == SPARSE:
        if p.several:
            several_sparse_scores(p, s, rows)
        else:
            sparse_dots(&p.x, rows, &p.w, s.scores, B)
        return
    take_block(&p.x, rows, s.rows, block)
    if p.several:
        several_scores(p, s, rows, block)
        return
    for k in range(p.w.K):
        if block.by_columns:
            column_axpys(block[0], p.w.theta + k * p.w.length, s.scores + k * B)
        else:
            row_dots(block, p.w.operands + k * p.w.operand_step, s.scores + k * B,
                     &block.prefetch if k == 0 and prefetches else &none)


cdef class NeuronJob(Job):
    """A call's rows, targets, parameters and memory."""

    cdef Pass p
    cdef real *memory
    cdef double *partials

    def __cinit__(self):
        memset(&self.p, 0, sizeof(Pass))
        self.memory = NULL
        self.partials = NULL

    def __dealloc__(self):
        free(self.memory)
        free(self.partials)
        free(self.p.scratch)

    cdef int bind(self, Matrix X, Py_ssize_t K, int loss, y, sample_weight) except -1:
        """Point at the data."""
        cdef Pass *p = &self.p
        self.keep = (X, y, sample_weight)
        p.x, p.loss = X.rows, loss
        bind_targets(&p.targets, K, y, sample_weight)
        p.w.K, p.w.d, p.w.length = K, p.x.d, round_up(p.x.d + 1, LANES)
        if loss == LOSS_MULTINOMIAL:
            # Softmax treats whole registers of rows.
            p.x.block = round_up(p.x.block, LANES)
            p.x.group = round_up(p.x.group, p.x.block)
        return 0

    cdef int pack(self, Matrix X) except -1:
        """Read a small X in panels, which take one output at a time."""
        if self.p.loss != LOSS_MULTINOMIAL and X.pack():
            self.p.x = X.packed
        return 0

    cdef int set_up(self, Py_ssize_t n_threads, bint gradients) except -1:
        """Form the team and reserve the memory, that of gradients where they are wanted."""
        cdef Pass *p = &self.p
        cdef Scratch *s
        cdef bint packed = p.x.layout == PACKED
        cdef Py_ssize_t K = p.w.K, size = K * p.w.length, chunks = 0, step, t
        cdef Py_ssize_t total = 0, sums = 0, bias = 0, group = 0, tiles = 0, fixed, own
        cdef real *free_
        what = f"the weights of {K} x {p.x.d}" + (" and their gradients" if gradients else "")
        # Few rows: one thread takes the panels.
        self.form_team(1 if packed else n_threads)
        p.team = &self.team
        p.several = not packed and takes_products(&p.x, K)
        if p.several and p.x.layout != SPARSE:
            copy_blocks(&p.x)
        if not packed and p.x.layout != SPARSE:
            p.w.operand_step = p.x.phases.count * p.x.phases.step
        p.scores_step = round_up(p.x.block, LANES)
        p.packed.step = round_up(p.x.n, LANES) if packed else 0
        p.sums.size = size
        if gradients:
            # As many chunks as all rows have.
            chunks = chunks_wanted(p, elements_of(&p.x, NULL, 0, p.x.n))
            total, sums, bias = size, K * p.w.operand_step, K * LANES
            group = 0 if packed else p.x.group
        if packed:
            fixed = (K + 1) * p.packed.step + LANES * p.w.length
            own = 0
        else:
            fixed = max(K * p.w.operand_step, panel_reals(&p.w) if p.several else 0)
            tiles = tile_reals(p) if p.several else 0
            own = tiles + buffer_reals(&p.x) + K * p.scores_step + sums + bias + (K + 1) * group
        # Every array begins with a cache line: registers do not straddle two.
        step = CACHE_LINE // REAL_SIZE
        self.memory = <real *>reserve(
            fixed + size + total + 11 * step + self.team.n_threads * (own + 12 * step), REAL_SIZE,
            what,
        )
        self.partials = <double *>reserve(chunks * (1 + size) + 8, sizeof(double), what)
        p.scratch = <Scratch *>reserve(self.team.n_threads, sizeof(Scratch), "threads", True)
        p.sums.sums = <double *>from_cache_line(<real *>self.partials)
        p.sums.values = p.sums.sums + chunks * size
        free_ = from_cache_line(self.memory)
        p.w.theta = take(&free_, size)
        p.sums.total = take(&free_, total)
        if packed:
            p.packed.y = take(&free_, K * p.packed.step)
            p.packed.weights = take(&free_, p.packed.step)
            p.packed.sums = take(&free_, LANES * p.w.length)
        else:
            p.w.operands = take(&free_, fixed)
        memset(p.w.theta, 0, (free_ - p.w.theta) * REAL_SIZE)
        for t in range(self.team.n_threads):
            s = &p.scratch[t]
            s.targets = take(&free_, K * group)
            s.weights = take(&free_, group)
            if not packed:
                s.scores = take(&free_, K * p.scores_step)
                s.sums = take(&free_, sums)
                s.bias = take(&free_, bias)
                s.tiles = take(&free_, tiles)
                # Behind the tiles.
                s.factors = <double *>(s.tiles + p.scores_step * panel_width(p, 0))
                s.rows = take(&free_, buffer_reals(&p.x))
        if packed:
            self.pad_targets()
        return 0

    cdef void pad_targets(self) noexcept:
        """Targets and weights of a packed X once, padded with rows that weigh nothing."""
        cdef Pass *p = &self.p
        cdef Py_ssize_t i
        cdef RowRange rows
        rows.order, rows.first, rows.count = NULL, 0, p.x.n
        read_targets(&p.targets, p.w.K, &rows, p.packed.y, p.packed.step)
        for i in range(p.x.n):
            p.packed.weights[i] = weight_of(&p.targets, i)
