# The team of threads of every job: the thread that calls runs the job and hands out the chunks
# of one task after another; docs/internals/kernels.md says why it is made so.

cdef enum:
    LINGERING_NS = 4000000  # without a task, after which a thread of an evaluator exits
    # Spins between tasks before those that end in a sleep, some 200 us: as long as Newton's
    # method thinks between passes. Shorter ones cost its fits of 100,000 x 100 6 %.
    SPINS_BETWEEN_TASKS = 5000
    # A chunk that thread 0 waits for so long is one of a thread that is off the processor.
    LATE_NS = 500000
    ALONE_FACTOR = 16       # times that wait it then does without the others
    MAX_ALONE_NS = 500000000
    ELEMENTS_PER_CHECK = 50_000_000  # between two checks of signals: some hundredths of a second
    ELEMENTS_PER_SLEEP = 200_000

cdef enum Presence:         # of a thread
    ABSENT
    STARTED
    PLACED                  # on another processor than the one that started it
    HERE

# Until when the jobs of this process do without other threads, because one was late.
cdef int64_t alone_until = 0

ctypedef void (*ChunkFunction)(void *job, int64_t thread, Py_ssize_t chunk) noexcept nogil


cdef struct Team:
    int64_t n_threads       # the one that calls, which is 0, and those that it may start
    # The task under way.
    ChunkFunction do_chunk
    void *job
    int64_t n_chunks
    int64_t remaining       # chunks that no thread has taken
    int64_t finished
    int64_t ended           # no task will come any more
    bint uneven             # chunks may take longer than others: to wait says nothing
    int64_t interrupted     # a signal's handler raised; chunk functions may return at once
    PyObject *kind          # of its exception, put aside: nothing runs well while one is set
    PyObject *value
    PyObject *traceback
    Py_ssize_t unchecked    # elements since the last check of signals


cdef inline bint alone() noexcept nogil:
    cdef int64_t until = atomic_read(&alone_until)
    return until and clock_ns() < until


cdef void go_alone(int64_t waited) noexcept nogil:
    """Do without other threads for a while, where one was waited for too long."""
    if waited > LATE_NS:
        waited = min(<int64_t>MAX_ALONE_NS, ALONE_FACTOR * waited)
        atomic_write(&alone_until, clock_ns() + waited)


cdef int64_t take_chunks(Team *team, int64_t thread) noexcept nogil:
    """Chunks of the task under way, until there are none; returns how many."""
    cdef int64_t left, taken = 0
    # Counted down, so that a number alone says whether it is a chunk of the task under way.
    while atomic_read(&team.remaining) > 0:
        left = atomic_add(&team.remaining, -1)
        if left <= 0:
            break
        team.do_chunk(team.job, thread, team.n_chunks - left)
        atomic_add(&team.finished, 1)
        taken += 1
    return taken


cdef void run_chunks(
    Team *team, ChunkFunction do_chunk, void *job, Py_ssize_t n_chunks
) noexcept nogil:
    """All chunks of a task, with those threads that are there: a barrier. For thread 0 only."""
    cdef int spins = 0
    cdef Py_ssize_t chunk
    cdef int64_t begin, now, taken, waited
    if team.n_threads == 1 or n_chunks == 1 or alone():
        for chunk in range(n_chunks):
            do_chunk(job, 0, chunk)
        return
    team.do_chunk, team.job, team.n_chunks = do_chunk, job, n_chunks
    team.finished = 0
    begin = clock_ns()
    # Who takes a chunk has read this, and so sees what was written before.
    atomic_write(&team.remaining, n_chunks)
    taken = take_chunks(team, 0)
    now = clock_ns()
    while atomic_read(&team.finished) != n_chunks:
        spins = spin_wait(spins)
        if spins == SPINS:
            check_signals(team, 0, ELEMENTS_PER_SLEEP)
    if spins == SPINS and not team.uneven:
        waited = clock_ns() - now
        if waited > 2 * (now - begin) // (taken + 1):
            go_alone(waited)


cdef void call_check_signals(Team *team) noexcept nogil:
    team.unchecked = 0
    if not team.interrupted:
        with gil:
            if PyErr_CheckSignals() != 0:
                PyErr_Fetch(&team.kind, &team.value, &team.traceback)
                atomic_write(&team.interrupted, True)


cdef inline bint check_signals(Team *team, int64_t thread, Py_ssize_t elements) noexcept nogil:
    """Whether the job was interrupted; thread 0 lets Ctrl-C through after so many elements."""
    if thread == 0:
        team.unchecked += elements
        if team.unchecked >= ELEMENTS_PER_CHECK:
            call_check_signals(team)
    return atomic_read(&team.interrupted) != 0


cdef int raise_pending() except? -1:
    """Let the exception out that is set already."""
    return -1


cdef int raise_if_interrupted(Team *team) except -1:
    if team.interrupted:
        team.interrupted = 0
        PyErr_Restore(team.kind, team.value, team.traceback)
        raise_pending()
    return 0


cdef class Job:
    """A call of the contract: its team, and what its threads read."""

    cdef Team team
    cdef object keep        # alive while the job runs
    cdef CpuSet *allowed    # where each thread may run
    cdef int64_t *present   # for each thread its `Presence`
    cdef int64_t process    # in which
    cdef int64_t patience   # nanoseconds without a task after which a thread exits

    def __cinit__(self):
        memset(&self.team, 0, sizeof(Team))
        self.allowed = NULL
        self.present = NULL
        self.process = 0
        self.patience = INT64_MAX
        self.team.n_threads = 1

    def __dealloc__(self):
        free(self.allowed)
        free(self.present)

    cdef int form_team(self, Py_ssize_t n_threads) except -1:
        self.allowed = <CpuSet *>reserve(n_threads, sizeof(CpuSet), "threads", True)
        self.present = <int64_t *>reserve(n_threads, sizeof(int64_t), "threads", True)
        self.team.n_threads = n_threads
        return 0

    def follow(self, int64_t thread):
        """Take chunks as thread 1, 2, … until the job ends or no task comes any more."""
        cdef Team *team = &self.team
        cdef int64_t last
        cdef int spins = -SPINS_BETWEEN_TASKS
        ieee_mode()
        with nogil:
            while atomic_read(&self.present[thread]) != PLACED:
                spins = spin_wait(spins)
            clear_affinity(&self.allowed[thread])
            atomic_write(&self.present[thread], HERE)
            last = clock_ns()
            while not atomic_read(&team.ended) and clock_ns() - last < self.patience:
                if atomic_read(&team.remaining) > 0:
                    take_chunks(team, thread)
                    last = clock_ns()
                    spins = -SPINS_BETWEEN_TASKS
                else:
                    spins = spin_wait(spins)
                    if spins == SPINS and alone():
                        long_sleep()
            atomic_write(&self.present[thread], ABSENT)

    cdef int start_threads(self) except -1:
        """Those that are not there, unless threads come late."""
        cdef int64_t thread
        cdef bint forked = self.process != process_id()
        if alone():
            return 0
        self.process = process_id()
        for thread in range(1, self.team.n_threads):
            # A child of fork has none of its parent's threads.
            if forked or not atomic_read(&self.present[thread]):
                atomic_write(&self.present[thread], STARTED)
                try:
                    # It waits until it is placed, so it is alive.
                    set_affinity(start_new_thread(self.follow, (thread,)), &self.allowed[thread])
                    atomic_write(&self.present[thread], PLACED)
                except (RuntimeError, MemoryError):
                    # The system grants no more: the others take its chunks.
                    atomic_write(&self.present[thread], ABSENT)
        return 0

    def run(self):
        """Do the job; threads that are off the processor then exit when they are on it."""
        cdef int64_t begin = clock_ns(), thread
        cdef uint64_t mode = ieee_mode()
        try:
            self.start_threads()
            return self.lead()
        finally:
            restore_mode(mode)
            atomic_write(&self.team.ended, 1)
            for thread in range(1, self.team.n_threads):
                if atomic_read(&self.present[thread]) == PLACED:
                    go_alone(clock_ns() - begin)
            # Threads that are not gone yet read nothing any more, and shall not keep X alive.
            self.keep = None
