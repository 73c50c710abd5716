# Many passes with the same arrays, between which the caller thinks for a moment.
#
# A thread that is started for each pass comes late: where the other processor was idle, or
# another package's idle threads spin there, the system lets it wait behind the one that
# started it, for milliseconds. So the other members stay for the next pass, a few milliseconds
# at most, and nobody waits for them to come: who is late finds fewer chunks, or none.

cdef enum:
    LINGERING = 4000000     # nanoseconds without a pass after which a member leaves


cdef void take_shares(Problem *p, int64_t member) noexcept nogil:
    """Chunks of the pass under way, or as many shares of their sum, until there are none."""
    cdef Py_ssize_t tiles = round_up(p.K * p.span, SUM_TILE) // SUM_TILE
    cdef int64_t chunk
    while True:
        chunk = atomic_next(&p.next_chunk)
        if chunk >= p.n_chunks:
            return
        if p.summing:
            sum_chunks(p, chunk * tiles // p.n_chunks, (chunk + 1) * tiles // p.n_chunks)
        elif not p.interrupted:
            chunk_pass(p, &p.scratch[member], chunk)
        # Done, of the chunks or shares.
        atomic_next(&p.arrived)
        if member == 0 and not p.interrupted:
            look_at_signals(p)


cdef void share_with_lingerers(Problem *p) noexcept nogil:
    """All of the pass, with those members that are there. Called by the first only."""
    cdef int step
    for step in range(2 if p.shared_sum else 1):
        p.arrived = 0
        p.summing = step == 1
        # Who takes a chunk has read this, and so sees what was written before.
        atomic_write(&p.next_chunk, 0)
        take_shares(p, 0)
        wait_until(&p.arrived, p.n_chunks)


cdef class Evaluator(Job):
    """What `evaluator` returns."""

    cdef const real[:, ::1] coef
    cdef const real[::1] intercept
    cdef real[:, ::1] coef_grad
    cdef real[::1] intercept_grad
    cdef double scale
    cdef int64_t *there     # for each member whether it is
    cdef places *allowed    # for each member

    def __cinit__(self):
        self.there = NULL
        self.allowed = NULL

    def __dealloc__(self):
        free(self.there)
        free(self.allowed)

    def __init__(self, data, int loss, coef, intercept, coef_grad, intercept_grad, n_threads):
        self.set_up(data.X, coef.shape[0], loss, data.y, data.sample_weight, n_threads,
                    loss != LOSS_MULTINOMIAL)
        if self.p.x.layout == PACKED:
            self.p.n_threads = 1
        self.scale = data.scale
        self.coef, self.intercept = coef, intercept
        self.coef_grad, self.intercept_grad = coef_grad, intercept_grad
        self.p.lingering = True
        # No chunk is to be had before the first pass.
        self.p.next_chunk = INT64_MAX
        self.there = <int64_t *>calloc(n_threads, sizeof(int64_t))
        self.allowed = <places *>calloc(n_threads, sizeof(places))
        if self.there == NULL or self.allowed == NULL:
            raise MemoryError()

    def linger(self, int64_t member):
        """Serve as member 1, 2, … until no pass comes any more."""
        cdef Problem *p = &self.p
        cdef int64_t last
        with nogil:
            run_anywhere(&self.allowed[member])
            last = nanoseconds()
            while nanoseconds() - last < LINGERING:
                if atomic_read(&p.next_chunk) < p.n_chunks:
                    take_shares(p, member)
                    last = nanoseconds()
                else:
                    rest_a_moment()
            atomic_write(&self.there[member], 0)

    def __call__(self):
        cdef Problem *p = &self.p
        cdef Py_ssize_t k
        cdef int64_t member
        cdef double value
        for member in range(1, p.n_threads):
            if not atomic_read(&self.there[member]):
                atomic_write(&self.there[member], 1)
                try:
                    # It waits for the interpreter's lock, so it is alive.
                    send_away(start_new_thread(self.linger, (member,)), &self.allowed[member])
                except (RuntimeError, MemoryError):
                    # The system grants no more: this one does their work, too.
                    atomic_write(&self.there[member], 0)
        self.set_theta(self.coef, self.intercept)
        with nogil:
            value = whole_pass(p, NULL, 0, p.x.n, self.scale)
        if p.interrupted:
            p.interrupted = False
            pending()
        for k in range(p.K):
            memcpy(&self.coef_grad[k, 0], p.total + k * p.span, p.x.d * REAL_SIZE)
            self.intercept_grad[k] = p.total[k * p.span + p.x.d]
        return value
