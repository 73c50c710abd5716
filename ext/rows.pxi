# X as it is read: where it lies, in which order, in what blocks of rows, and how a block becomes
# rows or columns of reals. docs/internals/kernels.md explains the numbers.

cdef enum Layout:
    ROWS               # rows of X itself
    COLUMNS            # columns of X itself
    PACKED             # small X: panels that were packed once (packed.pxi)
    CONVERTED_ROWS     # one block at a time becomes rows of reals
    CONVERTED_COLUMNS  # one block at a time becomes columns of reals
    SPARSE             # CSR

cdef enum:
    # A block is read twice, the second time from a cache: small ones where X comes from memory,
    # larger ones, which hide more of the losses' latency, where X as a whole stays in a cache.
    ROWS_BLOCK_BYTES = 4096
    CACHED_BYTES = 16777216
    CACHED_BLOCK_BYTES = 16384
    LONG_BLOCK_ROWS = 4
    CACHED_LONG_BLOCK_BYTES = 32768
    CONVERTED_BLOCK_BYTES = 12288
    # How far ahead of their use rows are prefetched: those of more than LONG_ROW_BYTES, others.
    LONG_ROWS_AHEAD_BYTES = 16384
    LONG_ROW_BYTES = 512
    ROWS_AHEAD_BYTES = 12288
    # Rows that have alignment phases; those of more than FOUR_PHASES_BYTES only one or two.
    PHASED_BYTES = 448
    PHASED_BLOCK_BYTES = 8192
    FOUR_PHASES_BYTES = 1024
    GROUP_ROWS = 256        # whose targets are read at once
    # Columns that are converted: long enough for few page changes, within half of a 512 KiB L2.
    CONVERTED_COLUMNS_BLOCK_BYTES = 131072
    # Columns of X itself: of each a page, but no more in all than L2 holds beside half of the
    # next block.
    COLUMNS_BLOCK_BYTES = 327680
    MIN_COLUMN_BYTES = 512
    MAX_COLUMN_BYTES = 4096
    FEW_COLUMNS = 16        # which are read at once (columns.h)
    FEW_COLUMNS_BLOCK = 1024
    # Registers of rows that a float32 sums up one by one, at most: 2e-6 of a sum of equals is
    # lost then.
    SUM_REGISTERS = 64
    NARROW_BLOCK_BYTES = 12288
    # Packing pays where X stays in L2 and is read many times.
    PACKED_BYTES = 524288
    PACKED_FEATURES = 256
    PANEL = 4  # registers of rows in a panel: four independent chains of additions
    SPARSE_BLOCK_ROWS = 16  # whose entries are read from L1 the second time
    SPARSE_AHEAD = 512      # entries


cdef struct Rows:
    Layout layout
    const char *base
    Py_ssize_t n
    Py_ssize_t d
    Py_ssize_t row_stride     # bytes
    Py_ssize_t column_stride  # bytes
    char kind                 # NumPy's letter of the feature type
    Py_ssize_t block          # rows in a block
    Py_ssize_t group          # rows whose targets are read at once: whole blocks
    Py_ssize_t width          # d rounded up to whole registers
    Py_ssize_t narrow         # rows shorter than a register of which one can be read
    Py_ssize_t head           # rows before the first boundary of a register in all columns
    AlignmentPhases phases    # of rows that are read where they lie
    AlignmentPhases plain     # of rows that were converted
    real *panels              # of a packed X
    # CSR
    const real *values
    const void *indices
    const void *indptr
    int index_size


cdef struct RowRange:
    const int32_t *order      # or NULL
    Py_ssize_t first
    Py_ssize_t count


cdef inline Py_ssize_t row_at(const int32_t *order, Py_ssize_t i) noexcept nogil:
    return i if order == NULL else order[i]


# --------------------------------------------------------------------- sizes of blocks

cdef inline bint stays_cached(Py_ssize_t n, Py_ssize_t row_bytes) noexcept nogil:
    """Whether X as a whole stays in a cache from pass to pass."""
    return n <= CACHED_BYTES // row_bytes


cdef inline Py_ssize_t rows_of_block(Py_ssize_t n, Py_ssize_t row_bytes) noexcept nogil:
    cdef Py_ssize_t rows = LONG_BLOCK_ROWS
    cdef bint cached = stays_cached(n, row_bytes)
    if row_bytes > SHORT_REGISTERS * LANES * REAL_SIZE:
        while cached and rows < 16 and 2 * rows * row_bytes <= CACHED_LONG_BLOCK_BYTES:
            rows *= 2
        return rows
    rows = CACHED_BLOCK_BYTES if cached else ROWS_BLOCK_BYTES
    return clamp(16, rows // row_bytes // 16 * 16, 128)


cdef inline bint few_columns(Rows *x) noexcept nogil:
    """Whether all columns are read at once; with 16 registers only where X comes from memory."""
    if x.layout == CONVERTED_COLUMNS:
        return SCHUSS_FEW_COLUMNS and x.narrow
    return SCHUSS_FEW_COLUMNS and x.layout == COLUMNS and x.d <= FEW_COLUMNS and (
        REGISTERS > 16 or not stays_cached(x.n, x.d * REAL_SIZE)
    )


cdef inline Py_ssize_t rows_of_columns_block(Rows *x) noexcept nogil:
    cdef bint cached = stays_cached(x.n, x.d * REAL_SIZE)
    cdef Py_ssize_t rows, row_bytes = x.d * REAL_SIZE
    if x.narrow:
        rows = clamp(256, NARROW_BLOCK_BYTES // row_bytes // 64 * 64, 1024)
    elif x.layout == CONVERTED_COLUMNS:
        rows = clamp(32, CONVERTED_COLUMNS_BLOCK_BYTES // row_bytes // 32 * 32, 1024)
    elif few_columns(x):
        rows = FEW_COLUMNS_BLOCK if cached else 2 * FEW_COLUMNS_BLOCK
    else:
        rows = clamp((MAX_COLUMN_BYTES if cached else MIN_COLUMN_BYTES) // REAL_SIZE,
                     COLUMNS_BLOCK_BYTES // row_bytes // 32 * 32, MAX_COLUMN_BYTES // REAL_SIZE)
    if REAL_SIZE == 4:
        # Many columns have two chains of sums each.
        rows = min(rows, SUM_REGISTERS * LANES * (1 if few_columns(x) else 2))
    return rows


cdef inline Py_ssize_t before_boundary(const char *base) noexcept nogil:
    """Reals from `base` to the next boundary of a register, 0 where none lies on one."""
    cdef size_t bytes = (<size_t>0 - <size_t>base) % <size_t>(LANES * REAL_SIZE)
    return <Py_ssize_t>(bytes // REAL_SIZE) if bytes % REAL_SIZE == 0 else 0


cdef inline bint aligns(Rows *x) noexcept nogil:
    """Whether rows or columns are read from boundaries on: only what comes from memory, for the
    sums of smaller X shall not depend on where it lies."""
    return SCHUSS_ALIGNMENT_PHASES and not stays_cached(x.n, x.width * REAL_SIZE)


cdef inline void set_phases(Rows *x) noexcept nogil:
    """Read rows from boundaries on where that pays."""
    cdef Py_ssize_t phase, count = 1, row_bytes = x.d * REAL_SIZE
    while count < MAX_PHASES and count * x.row_stride % (LANES * REAL_SIZE):
        count *= 2
    if (
        not aligns(x) or count * x.row_stride % (LANES * REAL_SIZE) or row_bytes < PHASED_BYTES
        or REGISTERS == 16 and x.d <= SHORT_REGISTERS * LANES
        or count == MAX_PHASES and row_bytes > FOUR_PHASES_BYTES
    ):
        return
    x.phases.count = count
    for phase in range(count):
        x.phases.heads[phase] = before_boundary(x.base + phase * x.row_stride)
    x.block = MAX_PHASED_ROWS if count == MAX_PHASES else clamp(
        LONG_BLOCK_ROWS, PHASED_BLOCK_BYTES // row_bytes // 4 * 4, MAX_PHASED_ROWS
    )


cdef inline const AlignmentPhases *phases_of(
    const Rows *x, const int32_t *order
) noexcept nogil:
    """With an order, blocks of any layout become rows."""
    return &x.phases if x.layout == ROWS and order == NULL else &x.plain


cdef inline Py_ssize_t rows_before_boundary(
    const Rows *x, const int32_t *order, Py_ssize_t first
) noexcept nogil:
    """Rows from `first` on that lie before the columns' next boundary of a register."""
    if order != NULL or x.head == 0:
        return 0
    return (x.head + LANES - first % LANES) % LANES


cdef inline Py_ssize_t buffer_reals(const Rows *x) noexcept nogil:
    """What `take_block` needs; the last of narrow rows are stored as a register."""
    if x.layout == SPARSE:
        return 0
    return round_up(x.block, LANES) * x.width + (LANES if x.narrow else 0)


# --------------------------------------------------------------------- a block of dense rows

cdef extern from "narrow.h" nogil:
    ctypedef struct NarrowRows:
        const char *rows
        Py_ssize_t stride
        Py_ssize_t count
        Py_ssize_t inside
        Py_ssize_t d
        real *columns
        Py_ssize_t step
        real *wide
    void narrow_columns(const NarrowRows *n)


cdef inline void prefetch_rows(
    Rows *x, Py_ssize_t first, Py_ssize_t m, Py_ssize_t ahead
) noexcept nogil:
    """Prefetch as many bytes as m rows have, if they lie one behind the other."""
    cdef Py_ssize_t i = 0, wanted = m * x.row_stride if x.row_stride == x.d * REAL_SIZE else 0
    while i < wanted:
        prefetch(x.base + first * x.row_stride + ahead + i)
        i += CACHE_LINE


cdef void take_narrow_rows(Rows *x, const RowRange *rows, real *buffer) noexcept nogil:
    """Each row in a register, with zeros after it.

    It is loaded as if it filled the register, what lies behind it dropped; the last rows
    (`narrow`), behind which there is nothing, are copied.
    """
    cdef Py_ssize_t i, row
    cdef const char *source
    cdef real[MAX_LANES] own
    cdef vreal kept, zero = v_set(0)
    for i in range(LANES):
        own[i] = -1 if i < x.d else 0
    kept = v_load(own)
    for i in range(rows.count):
        row = row_at(rows.order, rows.first + i)
        source = x.base + row * x.row_stride
        if row < x.narrow:
            v_store(buffer + i * LANES, v_where_negative(kept, v_load(<const real *>source), zero))
        else:
            v_store(buffer + i * LANES, zero)
            memcpy(buffer + i * LANES, source, x.d * REAL_SIZE)


cdef void take_narrow_columns(
    Rows *x, Py_ssize_t first, Py_ssize_t m, real *buffer, Py_ssize_t padded
) noexcept nogil:
    """The columns of m rows, each with zeros after it up to a whole register."""
    cdef Py_ssize_t j, whole = m - m % LANES
    cdef const char *source = x.base + first * x.row_stride
    cdef NarrowRows n
    n.rows, n.stride, n.count, n.inside, n.d = source, x.row_stride, whole, x.narrow - first, x.d
    n.columns, n.step, n.wide = buffer, padded, buffer + padded * x.d
    narrow_columns(&n)
    if whole < m:
        for j in range(x.d):
            v_store(buffer + j * padded + whole, v_set(0))
            convert(buffer + j * padded + whole, source + whole * x.row_stride + j * REAL_SIZE,
                    m - whole, x.row_stride, x.kind)


cdef inline void convert_padded(
    real *target, const char *source, Py_ssize_t length, Py_ssize_t stride, char kind
) noexcept nogil:
    # What fills the last register, before it: what lay there might be subnormal numbers, which
    # take 12 times as long (softmax of 100,000 x 50 x 10).
    v_store(target + (length - 1) // LANES * LANES, v_set(0))
    convert(target, source, length, stride, kind)


cdef inline void take_block(
    Rows *x, const RowRange *rows, real *buffer, Block *block
) noexcept nogil:
    """Point at rows, or convert them into the buffer."""
    cdef Py_ssize_t i, first = rows.first, m = rows.count, padded = round_up(m, LANES)
    cdef const int32_t *order = rows.order
    cdef bint cached = stays_cached(x.n, x.d * REAL_SIZE), direct = order == NULL
    # Copies, which stores to the buffer cannot change behind the compiler's back.
    cdef Py_ssize_t d = x.d, width = x.width, row_stride = x.row_stride
    cdef Py_ssize_t column_stride = x.column_stride
    cdef const char *base = x.base
    cdef char kind = x.kind
    block.data, block.first = <const char *>buffer, first
    block.prefetch.next = NULL
    block.by_columns = direct and x.layout != ROWS and x.layout != CONVERTED_ROWS
    if block.by_columns:
        block.count = x.d
        if x.layout == COLUMNS and m == padded:
            block.data = x.base + first * REAL_SIZE
            if SCHUSS_PREFETCH_COLUMNS and not cached:
                block.prefetch.next = block.data + m * REAL_SIZE
            block.step, block.length = x.column_stride, m
            return
        block.step, block.length = padded * REAL_SIZE, padded
        if x.narrow:
            if not cached:
                prefetch_rows(x, first, m, ROWS_AHEAD_BYTES)
            take_narrow_columns(x, first, m, buffer, padded)
            return
        for i in range(d):
            convert_padded(buffer + i * padded, base + first * row_stride + i * column_stride, m,
                           row_stride, kind)
        return
    block.count, block.phases = m, phases_of(x, order)
    if direct and x.layout == ROWS:
        block.data = x.base + first * x.row_stride
        if x.row_stride == x.d * REAL_SIZE:
            block.prefetch.next = block.data + (
                ROWS_AHEAD_BYTES if x.row_stride <= LONG_ROW_BYTES else LONG_ROWS_AHEAD_BYTES
            )
        block.step, block.length = x.row_stride, x.d
        return
    block.step, block.length = x.width * REAL_SIZE, x.width
    if x.narrow:
        if direct and not cached:
            prefetch_rows(x, first, m, ROWS_AHEAD_BYTES)
        take_narrow_rows(x, rows, buffer)
        return
    for i in range(m):
        convert_padded(buffer + i * width, base + row_at(order, first + i) * row_stride, d,
                       column_stride, kind)


# --------------------------------------------------------------------- entries of sparse rows

ctypedef fused index_t:
    int32_t
    int64_t


cdef inline void prefetch_entries(
    index_t *indices, const real *values, Py_ssize_t start, Py_ssize_t stop
) noexcept nogil:
    """Prefetch as many entries as a row has, SPARSE_AHEAD after it.

    Processors see the end of a row too late: 7.0 -> 5.2 ms an epoch of 100,000 rows of 60 (Zen 5).
    """
    cdef Py_ssize_t i = start
    while SCHUSS_PREFETCH_ENTRIES and i < stop:
        prefetch(values + i + SPARSE_AHEAD)
        prefetch(indices + i + SPARSE_AHEAD)
        i += CACHE_LINE // 8


# Entries are counted in the type of the indices: with a wider one, gcc gathers weights into
# registers one by one, which takes longer.

cdef inline real entries_dot(
    index_t *indices, const real *values, index_t at_, index_t stop, const real *weights
) noexcept nogil:
    cdef real a = 0, b = 0, c = 0, d = 0
    while stop - at_ >= 4:
        a += values[at_] * weights[indices[at_]]
        b += values[at_ + 1] * weights[indices[at_ + 1]]
        c += values[at_ + 2] * weights[indices[at_ + 2]]
        d += values[at_ + 3] * weights[indices[at_ + 3]]
        at_ += 4
    while at_ < stop:
        a += values[at_] * weights[indices[at_]]
        at_ += 1
    return (a + b) + (c + d)


cdef inline void add_entries(
    index_t *indices, const real *values, index_t at_, index_t stop, double factor, double *sums
) noexcept nogil:
    while stop - at_ >= 4:
        sums[indices[at_]] += factor * values[at_]
        sums[indices[at_ + 1]] += factor * values[at_ + 1]
        sums[indices[at_ + 2]] += factor * values[at_ + 2]
        sums[indices[at_ + 3]] += factor * values[at_ + 3]
        at_ += 4
    while at_ < stop:
        sums[indices[at_]] += factor * values[at_]
        at_ += 1


cdef void sparse_dots_of(
    index_t *indices, const Rows *x, const RowRange *rows, const Parameters *w, real *z,
    Py_ssize_t z_step
) noexcept nogil:
    cdef index_t *indptr = <index_t *>x.indptr
    cdef index_t start, stop
    cdef const real *values = x.values
    cdef const real *theta = w.theta
    cdef RowRange range_ = rows[0]
    cdef Py_ssize_t i, k, row, K = w.K, length = w.length
    for i in range(range_.count):
        row = row_at(range_.order, range_.first + i)
        start, stop = indptr[row], indptr[row + 1]
        prefetch_entries(indices, values, start, stop)
        for k in range(K):
            z[k * z_step + i] = entries_dot(indices, values, start, stop, theta + k * length)


cdef void sparse_axpys_of(
    index_t *indices, const Rows *x, const RowRange *rows, const Parameters *w, const real *g,
    Py_ssize_t g_step, double *sums
) noexcept nogil:
    cdef index_t *indptr = <index_t *>x.indptr
    cdef const real *values = x.values
    cdef RowRange range_ = rows[0]
    cdef Py_ssize_t i, k, row, K = w.K, length = w.length
    for i in range(range_.count):
        row = row_at(range_.order, range_.first + i)
        for k in range(K):
            add_entries(indices, values, indptr[row], indptr[row + 1], g[k * g_step + i],
                        sums + k * length)


cdef inline void sparse_dots(
    const Rows *x, const RowRange *rows, const Parameters *w, real *z, Py_ssize_t z_step
) noexcept nogil:
    """z[k * z_step + i] = row i . the weights of neuron k"""
    if x.index_size == 4:
        sparse_dots_of(<int32_t *>x.indices, x, rows, w, z, z_step)
    else:
        sparse_dots_of(<int64_t *>x.indices, x, rows, w, z, z_step)


cdef inline void sparse_axpys(
    const Rows *x, const RowRange *rows, const Parameters *w, const real *g, Py_ssize_t g_step,
    double *sums
) noexcept nogil:
    """The sums of neuron k += g[k * g_step + i] * row i"""
    if x.index_size == 4:
        sparse_axpys_of(<int32_t *>x.indices, x, rows, w, g, g_step, sums)
    else:
        sparse_axpys_of(<int64_t *>x.indices, x, rows, w, g, g_step, sums)


cdef inline Py_ssize_t entries_between(
    const Rows *x, Py_ssize_t first, Py_ssize_t stop
) noexcept nogil:
    if x.index_size == 4:
        return (<int32_t *>x.indptr)[stop] - (<int32_t *>x.indptr)[first]
    return (<int64_t *>x.indptr)[stop] - (<int64_t *>x.indptr)[first]


# --------------------------------------------------------------------- what `prepare` returns

cdef class Matrix:
    """Rows as these kernels read them; keeps the arrays that it points into alive.

    Parameters
    ----------
    X : ndarray of shape (n, d), any strides
        Or, for CSR, None with the four arguments below.
    kind : str
        NumPy's one-letter code of the feature type.
    shape : (int, int)
    values, indices, indptr : 1-D arrays of a CSR matrix, or None
    """

    cdef Rows rows
    cdef Rows packed
    cdef real *memory         # in which the panels are
    cdef Py_buffer view
    cdef bint has_view
    cdef object keep
    cdef readonly tuple shape

    def __cinit__(self, X, str kind, tuple shape, values=None, indices=None, indptr=None):
        cdef Rows *x = &self.rows
        self.shape = shape
        memset(x, 0, sizeof(Rows))
        x.n, x.d = shape
        x.kind = <char>ord(kind)
        x.width = round_up(x.d, LANES)
        x.plain.count, x.plain.step = 1, x.width + 3 * LANES
        x.phases = x.plain
        self.packed.panels = self.memory = NULL
        if X is None:
            self._hold_sparse(values, indices, indptr)
        else:
            PyObject_GetBuffer(X, &self.view, PyBUF_STRIDES)
            self.has_view = True
            x.base = <const char *>self.view.buf
            x.row_stride, x.column_stride = self.view.strides[0], self.view.strides[1]
            self._choose_layout(self.view.itemsize)

    @property
    def is_sparse(self):
        return self.rows.layout == SPARSE

    def __dealloc__(self):
        if self.has_view:
            PyBuffer_Release(&self.view)
        free(self.memory)

    cdef _hold_sparse(self, const real[::1] values, indices, indptr):
        cdef Rows *x = &self.rows
        cdef const int32_t[::1] indices_4, indptr_4
        cdef const int64_t[::1] indices_8, indptr_8
        self.keep = (values, indices, indptr)
        x.layout, x.block, x.group = SPARSE, SPARSE_BLOCK_ROWS, GROUP_ROWS
        x.index_size = indptr.itemsize
        # An empty memoryview has no first element to point at.
        x.values = &values[0] if values.shape[0] else NULL
        if x.index_size == 4:
            indices_4, indptr_4 = indices, indptr
            x.indices, x.indptr = &indices_4[0] if indices_4.shape[0] else NULL, &indptr_4[0]
        else:
            indices_8, indptr_8 = indices, indptr
            x.indices, x.indptr = &indices_8[0] if indices_8.shape[0] else NULL, &indptr_8[0]

    cdef _choose_layout(self, Py_ssize_t itemsize):
        cdef Rows *x = &self.rows
        cdef bint own = x.kind == (c"f" if REAL_SIZE == 4 else c"d")
        cdef bint by_columns = x.row_stride == itemsize and (
            x.column_stride != itemsize or x.d == 1
        )
        if (
            SCHUSS_NARROW_ROWS and own and not by_columns and x.d < LANES
            and x.column_stride == REAL_SIZE and x.row_stride > 0
        ):
            x.narrow = max(0, x.n - ((LANES - x.d) * REAL_SIZE - 1) // x.row_stride - 1)
            by_columns = x.narrow and LANES >= 4 and 2 * x.d <= LANES
        if by_columns:
            x.layout = COLUMNS if own and not x.narrow and x.n >= LANES else CONVERTED_COLUMNS
            x.block = x.group = rows_of_columns_block(x)
            if (
                x.layout == COLUMNS and x.column_stride % (LANES * REAL_SIZE) == 0 and aligns(x)
            ):
                x.head = before_boundary(x.base)
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
        cdef Rows *x = &self.rows
        cdef Rows packed = self.rows
        cdef Py_ssize_t registers = round_up(x.n, LANES) // LANES
        cdef Py_ssize_t whole = registers // PANEL * PANEL * LANES
        cdef Py_ssize_t i, j, width, first
        cdef real *memory
        cdef real *row
        if self.memory != NULL:
            return True
        if (
            not SCHUSS_PACKED or x.layout == SPARSE or x.d > PACKED_FEATURES
            or registers > PACKED_BYTES // (LANES * REAL_SIZE) // x.d
        ):
            return False
        # The panels begin with a cache line, and a row is converted behind them.
        memory = <real *>reserve((registers * LANES + 1) * x.d + CACHE_LINE // REAL_SIZE,
                                 REAL_SIZE, "the packed copy of X", True)
        packed.panels, packed.layout = from_cache_line(memory), PACKED
        row = packed.panels + registers * LANES * x.d
        with nogil:
            for i in range(x.n):
                convert(row, x.base + i * x.row_stride, x.d, x.column_stride, x.kind)
                width = PANEL * LANES if i < whole else LANES
                first = i // width * width
                for j in range(x.d):
                    packed.panels[first * x.d + j * width + i - first] = row[j]
        if self.memory == NULL:
            self.packed, self.memory = packed, memory
        else:
            free(memory)
        return True


def matrix(X, str kind, tuple shape, values=None, indices=None, indptr=None):
    """Return a `Matrix`; see there."""
    return Matrix(X, kind, shape, values, indices, indptr)
