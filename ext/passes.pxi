# Passes whose chunks are shared with threads that come and go.
#
# Nobody waits for a member to come: who is late, or off the processor, finds fewer shares, or
# none. The first member waits only for those that have taken one.

cdef enum:
    LINGERING = 4000000     # nanoseconds without a task after which an evaluator's member leaves
    # Spins between tasks before those that end in a sleep, some 200 us: as long as Newton's
    # method thinks between passes. Members that slept after 20 us cost its fits of
    # 100,000 x 100 6 %; those that never sleep lose their turns to other processes, which made
    # two threads on two busy processors as slow as one (20,000 x 100: 42 instead of 32 ms).
    SPINS_BETWEEN_TASKS = 5000

cdef enum Task:
    TASK_PASS
    TASK_SUM                # over the chunks of a pass
    TASK_CURVATURE
    TASK_GUEST              # the guest's


cdef Py_ssize_t parts(Problem *p) noexcept nogil:
    """Of the task under way."""
    if p.task == TASK_PASS:
        return p.n_chunks
    return tiles(p) if p.task == TASK_SUM else p.curvature.n_chunks


cdef void do_part(Problem *p, int64_t thread, Py_ssize_t part) noexcept nogil:
    if p.task == TASK_PASS:
        chunk_pass(p, &p.scratch[thread], part)
    elif p.task == TASK_SUM:
        sum_chunks(p, part)
    else:
        curvature_chunk(p, thread, part)


cdef void do_share(Problem *p, int64_t thread, Py_ssize_t share, Py_ssize_t shares) noexcept nogil:
    """One of so many shares of the task under way."""
    cdef Py_ssize_t count = parts(p), part
    for part in range(share * count // shares, (share + 1) * count // shares):
        if not atomic_read(&p.interrupted):
            do_part(p, thread, part)


cdef void take_shares(Problem *p, int64_t thread) noexcept nogil:
    """Shares of the task under way, until there are none."""
    cdef int64_t share
    while True:
        share = atomic_next(&p.next_share)
        if share >= p.n_shares:
            return
        do_share(p if p.task != TASK_GUEST else p.borrower, thread, share, p.n_shares)
        # Done, or dropped.
        atomic_next(&p.arrived)


cdef void share_out(Problem *p, int task) noexcept nogil:
    """All of a task, with those members that are there. Called by the first only."""
    cdef Problem *owner = p if p.owner == NULL else p.owner
    p.task = task
    if owner.n_threads == 1:
        do_share(p, 0, 0, 1)
        return
    if owner != p:
        owner.borrower, owner.task = p, TASK_GUEST
    owner.arrived = 0
    # Who takes a share has read this, and so sees what was written before.
    atomic_write(&owner.next_share, 0)
    take_shares(owner, 0)
    wait_for_others(p, &owner.arrived, owner.n_shares)


cdef class PassJob(Job):
    """A job whose members stay between passes."""

    cdef int64_t patience   # nanoseconds without a task after which a member leaves
    cdef int64_t *there     # for each member whether it is
    cdef int64_t process    # in which

    def __cinit__(self):
        self.there = NULL
        self.patience = INT64_MAX

    def __dealloc__(self):
        free(self.there)

    cdef int open(self) except -1:
        """Before there are members."""
        cdef Problem *p = &self.p
        if p.x.layout == PACKED:
            p.n_threads = 1
            return 0
        p.start, p.stop = 0, p.x.n
        cut_chunks(p)
        if p.n_threads == 1:
            return 0
        # No share is to be had before the first task.
        p.next_share = INT64_MAX
        # Never another number: a member that comes late would take what is another task's.
        p.n_shares = p.n_chunks
        self.there = <int64_t *>reserve(p.n_threads, sizeof(int64_t), "threads", True)
        self.make_places()
        return 0

    def follow(self, int64_t thread):
        """Serve as member 1, 2, … until the job ends or no task comes any more."""
        cdef Problem *p = &self.p
        cdef int64_t last
        cdef int spins = -SPINS_BETWEEN_TASKS
        with nogil:
            clear_affinity(&self.allowed[thread])
            last = clock_ns()
            while not atomic_read(&p.ended) and clock_ns() - last < self.patience:
                if atomic_read(&p.next_share) < p.n_shares:
                    take_shares(p, thread)
                    last = clock_ns()
                    spins = -SPINS_BETWEEN_TASKS
                else:
                    spins = rest(spins)
            atomic_write(&self.there[thread], 0)

    cdef int call_members(self) except -1:
        cdef int64_t thread
        cdef bint forked = self.process != process_id()
        self.process = process_id()
        for thread in range(1, self.p.n_threads):
            # A child of fork has none of its parent's threads.
            if forked or not atomic_read(&self.there[thread]):
                atomic_write(&self.there[thread], 1)
                try:
                    # It waits for the interpreter's lock, so it is alive.
                    set_affinity(start_new_thread(self.follow, (thread,)), &self.allowed[thread])
                except (RuntimeError, MemoryError):
                    # The system grants no more: this one does their work, too.
                    atomic_write(&self.there[thread], 0)
        return 0

    def run(self):
        """Do the job; members that are off the processor then leave when they are on it."""
        self.open()
        try:
            self.call_members()
            return self.lead()
        finally:
            atomic_write(&self.p.ended, 1)
            # Members that are not gone yet read nothing any more, and shall not keep X alive.
            self.keep = None


cdef class Gradient(PassJob):
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
        if p.interrupted:
            p.interrupted = False
            raise_pending()
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
        self.patience = LINGERING
        self.open()
        # They take a while to come.
        self.call_members()

    def __call__(self):
        self.call_members()
        return self.lead()
