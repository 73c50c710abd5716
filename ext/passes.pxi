# Many passes with the same arrays, between which the caller thinks for a moment.
#
# A thread that is started for each pass comes late: where the other processor was idle, or
# another package's idle threads spin there, the system lets it wait behind the one that
# started it, for milliseconds. So the other members stay for the next pass, a few milliseconds
# at most, and nobody waits for them to come: who is late finds fewer chunks, or none.

cdef enum:
    LINGERING = 4000000     # nanoseconds without a pass after which a member leaves

cdef enum Task:
    TASK_PASS
    TASK_SUM                # over the chunks of a pass
    TASK_CURVATURE
    TASK_GUEST              # the guest's


cdef void do_share(Problem *p, int64_t member, Py_ssize_t share, Py_ssize_t shares) noexcept nogil:
    """One of so many shares of the task under way."""
    cdef Py_ssize_t count, chunk
    if p.task == TASK_SUM:
        count = round_up(p.K * p.span, SUM_TILE) // SUM_TILE
        sum_chunks(p, share * count // shares, (share + 1) * count // shares)
        return
    count = p.n_chunks if p.task == TASK_PASS else p.curvature.n_chunks
    for chunk in range(share * count // shares, (share + 1) * count // shares):
        if p.task == TASK_PASS:
            chunk_pass(p, &p.scratch[member], chunk)
        else:
            curvature_chunk(p, member, chunk)


cdef void take_shares(Problem *p, int64_t member) noexcept nogil:
    """Shares of the task under way, until there are none."""
    cdef int64_t share
    while True:
        share = atomic_next(&p.next_chunk)
        if share >= p.n_shares:
            return
        if not p.interrupted:
            do_share(p if p.task != TASK_GUEST else p.guest, member, share, p.n_shares)
        # Done, or dropped.
        atomic_next(&p.arrived)
        if member == 0 and not p.interrupted:
            look_at_signals(p)


cdef void share_out(Problem *p, int task) noexcept nogil:
    """All of a task, with those members that are there. Called by the first only."""
    cdef Problem *host = p
    p.task = task
    if p.host != NULL:
        host = p.host
        host.guest, host.task = p, TASK_GUEST
    host.arrived = 0
    # Who takes a share has read this, and so sees what was written before.
    atomic_write(&host.next_chunk, 0)
    take_shares(host, 0)
    wait_until(&host.arrived, host.n_shares)
    if p.host != NULL and host.interrupted:
        p.interrupted, host.interrupted = True, False


cdef class Evaluator(Job):
    """What `evaluator` returns."""

    cdef const real[:, ::1] coef
    cdef const real[::1] intercept
    cdef real[:, ::1] coef_grad
    cdef real[::1] intercept_grad
    cdef double scale
    cdef int64_t *there     # for each member whether it is

    def __cinit__(self):
        self.there = NULL

    def __dealloc__(self):
        free(self.there)

    def __init__(self, data, int loss, coef, intercept, coef_grad, intercept_grad, n_threads):
        cdef Problem *p = &self.p
        self.set_up(data.X, coef.shape[0], loss, data.y, data.sample_weight, n_threads,
                    loss != LOSS_MULTINOMIAL)
        self.scale = data.scale
        self.coef, self.intercept = coef, intercept
        self.coef_grad, self.intercept_grad = coef_grad, intercept_grad
        p.lingering = True
        # No share is to be had before the first task.
        p.next_chunk = INT64_MAX
        self.there = <int64_t *>calloc(n_threads, sizeof(int64_t))
        self.make_places()
        if self.there == NULL:
            raise MemoryError()
        if p.x.layout == PACKED:
            p.n_threads = 1
            return
        p.stop = p.x.n
        cut_chunks(p)
        # Never another number: a member that comes late would take what is another task's.
        p.n_shares = p.n_chunks
        # They take a while to come.
        self.call_members()

    def linger(self, int64_t member):
        """Serve as member 1, 2, … until no task comes any more."""
        cdef Problem *p = &self.p
        cdef int64_t last
        with nogil:
            run_anywhere(&self.allowed[member])
            last = nanoseconds()
            while nanoseconds() - last < LINGERING:
                if atomic_read(&p.next_chunk) < p.n_shares:
                    take_shares(p, member)
                    last = nanoseconds()
                else:
                    rest_a_moment()
            atomic_write(&self.there[member], 0)

    cdef int call_members(self) except -1:
        cdef int64_t member
        for member in range(1, self.p.n_threads):
            if not atomic_read(&self.there[member]):
                atomic_write(&self.there[member], 1)
                try:
                    # It waits for the interpreter's lock, so it is alive.
                    send_away(start_new_thread(self.linger, (member,)), &self.allowed[member])
                except (RuntimeError, MemoryError):
                    # The system grants no more: this one does their work, too.
                    atomic_write(&self.there[member], 0)
        return 0

    def __call__(self):
        cdef Problem *p = &self.p
        cdef Py_ssize_t k
        cdef double value
        self.call_members()
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
