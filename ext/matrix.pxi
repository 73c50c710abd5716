# X as the kernels read it: where it lies, in which order, and in what blocks of rows.

cdef enum Layout:
    ROWS               # lines are rows of X itself
    COLUMNS            # lines are columns of X itself
    PACKED             # small X: panels that were packed once (packed.pxi)
    CONVERTED_ROWS     # one block at a time becomes rows of reals
    CONVERTED_COLUMNS  # one block at a time becomes columns of reals
    SPARSE             # CSR

cdef enum:
    # A block is read twice, the second time from the cache. On Zen 5 blocks of 4 KiB are best
    # where X comes from memory, four times as long ones where X as a whole is in a cache, because
    # they hide more of the costs' latency. Long rows: four from memory, from a cache as many as
    # the first cache holds.
    ROWS_BLOCK_BYTES = 4096
    CACHED_BYTES = 16777216
    CACHED_BLOCK_BYTES = 16384
    LONG_BLOCK_ROWS = 4
    CACHED_LONG_BLOCK_BYTES = 32768
    # Rows that are read by turns. In shorter ones the further registers cost more than they
    # save: float32 at d = 100 took 3.7 instead of 3.3 ms, but at d = 112 (100 MB) 2.5 instead of
    # 2.7. With 16 registers they do so in all short rows: d = 128 took 2.8 instead of 2.5 ms.
    PHASED_BYTES = 448
    PHASED_BLOCK_BYTES = 8192
    # Sums take the rows of a turn together, four at least where there are four turns: 16 rows of
    # 2000 bytes took 4.3 ms instead of 3.7.
    FOUR_PHASES_BYTES = 1024
    CONVERTED_BLOCK_BYTES = 12288
    GROUP_ROWS = 256
    # Columns that are converted: long enough lines for few page changes, within half of a
    # 512 KiB L2.
    CONVERTED_COLUMNS_BLOCK_BYTES = 131072
    # Columns of X itself: of each a page, but no more in all than the L2 cache holds beside half
    # of the next block. On Zen 5 the first reading, from memory, takes 6 cycles a cache line, the
    # second 2 from L2 and 3 from L3; the first takes longer where pieces are shorter.
    COLUMNS_BLOCK_BYTES = 327680
    MIN_COLUMN_BYTES = 512
    MAX_COLUMN_BYTES = 4096
    # So few columns are read at once (columns.h), in blocks of this many rows, or twice as many
    # where X comes from memory.
    FEW_COLUMNS = 32
    FEW_COLUMNS_BLOCK = 1024
    # Registers of rows that a float32 sums up one by one, at most: 2e-6 of a sum of equals is
    # lost then.
    SUM_REGISTERS = 64
    # Rows of half a register or less, which become columns in the first cache.
    NARROW_BLOCK_BYTES = 12288
    # Packing pays where X stays in the L2 cache and is read many times.
    PACKED_BYTES = 524288
    PACKED_FEATURES = 256
    PANEL = 4  # registers of rows in a panel: four independent chains of additions
    # Few rows, whose entries are read from L1 the second time; entries are asked for so many
    # ahead.
    SPARSE_BLOCK_ROWS = 16
    SPARSE_AHEAD = 512
    # A chunk is what one thread takes at a time; its partial gradient is its own. The cut
    # depends on the problem alone, so the sums are the same for every number of threads.
    CHUNK_ELEMENTS = 65536
    MAX_CHUNKS = 64


cdef inline Py_ssize_t round_up(Py_ssize_t value, Py_ssize_t unit) noexcept nogil:
    return (value + unit - 1) // unit * unit


cdef inline Py_ssize_t clamp(Py_ssize_t low, Py_ssize_t value, Py_ssize_t high) noexcept nogil:
    return low if value < low else (high if value > high else value)


cdef void *reserve(Py_ssize_t count, Py_ssize_t size, str what, bint zeros=False) except NULL:
    """Memory for so many items of a size."""
    cdef Py_ssize_t n_bytes = max(count * size, 1)
    cdef void *memory = calloc(n_bytes, 1) if zeros else malloc(n_bytes)
    if memory == NULL:
        raise MemoryError(
            f"Unable to allocate {n_bytes:,} bytes ({n_bytes / 2**30:.1f} GiB) for {what}."
        )
    return memory


cdef inline real *from_cache_line(real *memory) noexcept nogil:
    """The first boundary of a cache line in memory that has a line to spare."""
    return <real *>(<size_t>memory + (CACHE_LINE - 1) & ~<size_t>(CACHE_LINE - 1))


cdef inline bint stays_cached(Py_ssize_t n, Py_ssize_t row_bytes) noexcept nogil:
    """Whether X as a whole stays in a cache from pass to pass."""
    return n <= CACHED_BYTES // row_bytes


cdef inline Py_ssize_t rows_of_block(Py_ssize_t n, Py_ssize_t row_bytes) noexcept nogil:
    cdef Py_ssize_t rows = LONG_BLOCK_ROWS
    cdef bint cached = stays_cached(n, row_bytes)
    if row_bytes > SHORT * LANES * REAL_SIZE:
        while cached and rows < 16 and 2 * rows * row_bytes <= CACHED_LONG_BLOCK_BYTES:
            rows *= 2
        return rows
    rows = CACHED_BLOCK_BYTES if cached else ROWS_BLOCK_BYTES
    return clamp(16, rows // row_bytes // 16 * 16, 128)


cdef inline Py_ssize_t beyond_boundary(const char *base) noexcept nogil:
    """Reals from `base` to the next boundary of a register, 0 where none lies on one."""
    cdef size_t bytes = (<size_t>0 - <size_t>base) % <size_t>(LANES * REAL_SIZE)
    return <Py_ssize_t>(bytes // REAL_SIZE) if bytes % REAL_SIZE == 0 else 0


cdef struct Lines:
    Layout layout
    const char *base
    Py_ssize_t n
    Py_ssize_t d
    Py_ssize_t row_stride     # bytes
    Py_ssize_t column_stride  # bytes
    char kind                 # NumPy's letter of the feature type
    Py_ssize_t block          # rows in a block
    Py_ssize_t head           # elements of each column before its first boundary of a register
    AlignmentPhases phases               # of rows
    Py_ssize_t group          # rows whose targets are read at once: whole blocks
    Py_ssize_t width          # d rounded up to whole registers
    Py_ssize_t narrow         # of rows of reals that fill no register, those where one can be read
    real *panels              # of a packed X
    # CSR
    const real *values
    const void *indices
    const void *indptr
    int index_size


cdef inline bint few_columns(Lines *x) noexcept nogil:
    """Whether all columns are read at once; with 16 registers only where X comes from memory."""
    if x.layout == CONVERTED_COLUMNS:
        return x.narrow
    return x.layout == COLUMNS and x.d <= FEW_COLUMNS and (
        REGISTERS > 16 or not stays_cached(x.n, x.d * REAL_SIZE)
    )


cdef inline Py_ssize_t rows_of_columns_block(Lines *x) noexcept nogil:
    cdef bint cached = stays_cached(x.n, x.d * REAL_SIZE)
    cdef Py_ssize_t rows
    if x.narrow:
        rows = clamp(256, NARROW_BLOCK_BYTES // (x.d * REAL_SIZE) // 64 * 64, 1024)
    elif x.layout == CONVERTED_COLUMNS:
        rows = clamp(32, CONVERTED_COLUMNS_BLOCK_BYTES // (x.d * REAL_SIZE) // 32 * 32, 1024)
    elif few_columns(x):
        rows = FEW_COLUMNS_BLOCK if cached else 2 * FEW_COLUMNS_BLOCK
    else:
        rows = clamp((MAX_COLUMN_BYTES if cached else MIN_COLUMN_BYTES) // REAL_SIZE,
                       COLUMNS_BLOCK_BYTES // (x.d * REAL_SIZE) // 32 * 32,
                       MAX_COLUMN_BYTES // REAL_SIZE)
    if REAL_SIZE == 4:
        # Many columns have two chains of sums each.
        rows = min(rows, SUM_REGISTERS * LANES * (1 if few_columns(x) else 2))
    return rows


cdef inline void set_phases(Lines *x) noexcept nogil:
    """Let rows be read by turns where that pays.

    Only of what comes from memory: the sums of smaller X do not depend on where it lies.
    """
    cdef Py_ssize_t phase, count = 1, row_bytes = x.d * REAL_SIZE
    while count < MAX_PHASES and count * x.row_stride % (LANES * REAL_SIZE):
        count *= 2
    if (
        count * x.row_stride % (LANES * REAL_SIZE) or row_bytes < PHASED_BYTES
        or REGISTERS == 16 and x.d <= SHORT * LANES
        or count == MAX_PHASES and row_bytes > FOUR_PHASES_BYTES
        or stays_cached(x.n, x.width * REAL_SIZE)
    ):
        return
    x.phases.count = count
    x.phases.step = x.width + 3 * LANES
    for phase in range(count):
        x.phases.heads[phase] = beyond_boundary(x.base + phase * x.row_stride)
    x.block = MAX_PHASED_ROWS if count == MAX_PHASES else clamp(
        LONG_BLOCK_ROWS, PHASED_BLOCK_BYTES // row_bytes // 4 * 4, MAX_PHASED_ROWS
    )


cdef class Matrix:
    """Rows as these kernels read them; keeps the arrays that it points into alive.

    Parameters
    ----------
    X : ndarray of shape (n, d), any strides
        Or, for CSR, None with the four arguments below.
    kind : str
        NumPy's one-letter code of the feature type.
    values, indices, indptr : 1-D arrays of a CSR matrix, or None
    shape : (int, int)
    """

    cdef Lines lines
    cdef Lines packed
    cdef real *memory         # in which the panels are
    cdef Py_buffer view
    cdef bint has_view
    cdef object keep
    cdef readonly tuple shape

    def __cinit__(self, X, str kind, tuple shape, values=None, indices=None, indptr=None):
        self.shape = shape
        self.lines.n, self.lines.d = shape
        self.lines.kind = <char>ord(kind)
        self.lines.head = self.lines.phases.count = self.lines.narrow = 0
        self.lines.width = round_up(self.lines.d, LANES)
        self.packed.panels = self.memory = NULL
        if X is None:
            self._hold_sparse(values, indices, indptr)
        else:
            PyObject_GetBuffer(X, &self.view, PyBUF_STRIDES)
            self.has_view = True
            self.lines.base = <const char *>self.view.buf
            self.lines.row_stride = self.view.strides[0]
            self.lines.column_stride = self.view.strides[1]
            self._choose_layout(self.view.itemsize)

    def __dealloc__(self):
        if self.has_view:
            PyBuffer_Release(&self.view)
        free(self.memory)

    cdef _hold_sparse(self, const real[::1] values, indices, indptr):
        cdef const int32_t[::1] narrow, narrow_ptr
        cdef const int64_t[::1] wide, wide_ptr
        self.keep = (values, indices, indptr)
        self.lines.layout = SPARSE
        self.lines.block = SPARSE_BLOCK_ROWS
        self.lines.group = GROUP_ROWS
        self.lines.index_size = indptr.itemsize
        # An empty memoryview has no first element to point at.
        self.lines.values = &values[0] if values.shape[0] else NULL
        if self.lines.index_size == 4:
            narrow, narrow_ptr = indices, indptr
            self.lines.indices = &narrow[0] if narrow.shape[0] else NULL
            self.lines.indptr = &narrow_ptr[0]
        else:
            wide, wide_ptr = indices, indptr
            self.lines.indices = &wide[0] if wide.shape[0] else NULL
            self.lines.indptr = &wide_ptr[0]

    cdef _choose_layout(self, Py_ssize_t itemsize):
        cdef Lines *x = &self.lines
        cdef bint own = x.kind == (c"f" if REAL_SIZE == 4 else c"d")
        cdef bint by_columns = x.row_stride == itemsize and (
            x.column_stride != itemsize or x.d == 1
        )
        if (
            own and not by_columns and x.d < LANES and x.column_stride == REAL_SIZE
            and x.row_stride > 0
        ):
            x.narrow = max(0, x.n - ((LANES - x.d) * REAL_SIZE - 1) // x.row_stride - 1)
            by_columns = x.narrow and LANES >= 4 and 2 * x.d <= LANES
        if by_columns:
            x.layout = COLUMNS if own and not x.narrow and x.n >= LANES else CONVERTED_COLUMNS
            x.block = x.group = rows_of_columns_block(x)
            # As in `set_phases`.
            if (
                x.layout == COLUMNS and x.column_stride % (LANES * REAL_SIZE) == 0
                and not stays_cached(x.n, x.width * REAL_SIZE)
            ):
                x.head = beyond_boundary(x.base)
        else:
            own = own and x.column_stride == REAL_SIZE and x.d >= LANES
            x.layout = ROWS if own else CONVERTED_ROWS
            if own:
                x.block = rows_of_block(x.n, x.width * REAL_SIZE)
                set_phases(x)
            else:
                x.block = CONVERTED_BLOCK_BYTES // (x.width * REAL_SIZE)
                x.block = 8 if x.block <= 2 else clamp(16, round_up(x.block, 16), 128)
            x.group = round_up(GROUP_ROWS, x.block)

    cdef bint pack(self) except -1:
        """Copy a small X into panels of registers of rows, at most once.

        Returns whether `packed` holds such a copy. Threads that come at once each make one, and
        the first that is whole stays.
        """
        cdef Lines x = self.lines
        cdef Py_ssize_t registers = round_up(self.lines.n, LANES) // LANES
        cdef Py_ssize_t whole = registers // PANEL * PANEL * LANES
        cdef Py_ssize_t i, j, width, first
        cdef real *memory
        cdef real *line
        if self.memory != NULL:
            return True
        if (
            self.lines.layout == SPARSE or self.lines.d > PACKED_FEATURES
            or registers > PACKED_BYTES // (LANES * REAL_SIZE) // self.lines.d
        ):
            return False
        line = <real *>reserve(self.lines.d, REAL_SIZE, "a row of X")
        try:
            memory = <real *>reserve(registers * LANES * self.lines.d + 64 // REAL_SIZE,
                                     REAL_SIZE, "the packed copy of X", True)
        except MemoryError:
            free(line)
            raise
        # A register of 512 bits that straddles two cache lines costs twice as much: 1797 x 64
        # took 5.4 microseconds an epoch instead of 4.4 (Zen 5), as chance would have it.
        x.panels = from_cache_line(memory)
        x.layout = PACKED
        with nogil:
            for i in range(self.lines.n):
                convert_line(line, self.lines.base + i * self.lines.row_stride, self.lines.d,
                             self.lines.column_stride, self.lines.kind)
                width = PANEL * LANES if i < whole else LANES
                first = i // width * width
                for j in range(self.lines.d):
                    x.panels[first * self.lines.d + j * width + i - first] = line[j]
            free(line)
        if self.memory == NULL:
            self.packed, self.memory = x, memory
        else:
            free(memory)
        return True


def matrix(X, str kind, tuple shape, values=None, indices=None, indptr=None):
    """Return a `Matrix`; see there."""
    return Matrix(X, kind, shape, values, indices, indptr)
