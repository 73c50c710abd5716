# Several neurons: scores and gradients are products of matrices, so that each number that is
# loaded serves several neurons.
#
# Dense rows are copied into the scratch, where they lie an odd number of cache lines apart, and
# weights into panels of TILE_WIDTH neurons:
#
#     scores      rows (B, d) x panels (d, K), then transposed: a loss takes registers of rows
#     gradients   derivatives (K, B) x rows (B, d), in tiles of some neurons and TILE_WIDTH features
#
# An entry of a sparse row meets one panel of all neurons, and sums of which each feature has its
# K side by side.

cdef extern from "product.h" nogil:
    const int TILE_ROWS
    const int NARROW_ROWS
    const int TILE_WIDTH
    const int TILE_REGISTERS
    const int MAX_TILE
    ctypedef struct Product:
        Py_ssize_t m
        Py_ssize_t K
        const real *A
        Py_ssize_t a_stride
        const real *B
        Py_ssize_t b_stride
        const real *start
        real *C
        Py_ssize_t c_stride
        const char *prefetch
        Py_ssize_t prefetch_step
    void rows_product(int nv, const Product *p)
    void rows_product_ahead(int nv, const Product *p)
    void columns_product(int nv, const Product *p)
    void column_sums(int nv, Py_ssize_t rows, const real *B, Py_ssize_t b_stride, real *out)
    void transpose(const real *source, Py_ssize_t stride, Py_ssize_t rows, real *target,
                   Py_ssize_t target_stride, Py_ssize_t columns)

cdef enum:
    # Neurons from which the products pay.
    SEVERAL_OUTPUTS = 3
    # A block of rows is read twice, from L2.
    SEVERAL_BLOCK_BYTES = 131072
    TILE_OUTPUTS = 8            # neurons of a tile of gradients, at most
    SPARSE_REGISTERS = 4        # of scores of a sparse row at a time


cdef inline Py_ssize_t spread_stride(Py_ssize_t width) noexcept nogil:
    """Reals from row to row: an odd number of cache lines, which spreads a column over all sets
    of the cache."""
    cdef Py_ssize_t lines = (width * REAL_SIZE + CACHE_LINE - 1) // CACHE_LINE
    return (lines | 1) * CACHE_LINE // REAL_SIZE


cdef inline bint takes_products(const Rows *x, Py_ssize_t K) noexcept nogil:
    """Whether several neurons are worth copies of the rows."""
    return K >= SEVERAL_OUTPUTS and not x.narrow and (
        x.layout == ROWS or x.layout == CONVERTED_ROWS or x.layout == SPARSE
    )


cdef inline void copy_blocks(Rows *x) noexcept nogil:
    """Read rows through the scratch, in blocks of whole registers of rows."""
    x.layout, x.width = CONVERTED_ROWS, spread_stride(x.d)
    x.phases = x.plain
    x.block = clamp(16, SEVERAL_BLOCK_BYTES // (x.width * REAL_SIZE) // 16 * 16, 128)
    x.group = round_up(GROUP_ROWS, x.block)


cdef inline Py_ssize_t panel_width(const Pass *p, Py_ssize_t k) noexcept nogil:
    """Of the panel that begins with neuron k."""
    cdef Py_ssize_t left = round_up(p.w.K - k, LANES)
    return left if p.x.layout == SPARSE else min(<Py_ssize_t>TILE_WIDTH, left)


cdef inline Py_ssize_t panel_reals(const Parameters *w) noexcept nogil:
    """Of all panels, or of the sums of all features; a register more may be read."""
    return (w.d + 1) * round_up(w.K, LANES) + LANES


cdef inline Py_ssize_t tile_reals(const Pass *p) noexcept nogil:
    """Of a thread's tiles, and of its factors."""
    cdef Py_ssize_t width = panel_width(p, 0)
    return p.scores_step * width + width * <Py_ssize_t>(sizeof(double) // REAL_SIZE)


cdef void lay_out_panels(Pass *p) noexcept nogil:
    """The weights of the neurons of a panel side by side."""
    cdef Py_ssize_t j, i, k = 0, width
    cdef Parameters *w = &p.w
    cdef real *panel = w.operands
    while k < w.K:
        width = panel_width(p, k)
        i = 0
        while i < width:
            j = 0
            while j < w.d:
                transpose(w.theta + (k + i) * w.length + j, w.length,
                          min(<Py_ssize_t>LANES, w.K - k - i), panel + j * width + i, width,
                          min(<Py_ssize_t>LANES, w.d - j))
                j += LANES
            i += LANES
        panel += w.d * width
        k += width


cdef inline void transpose_scores(
    const Pass *p, Scratch *s, Py_ssize_t count, Py_ssize_t k, Py_ssize_t width
) noexcept nogil:
    """Those of the neurons of a panel, from the thread's tile to registers of rows."""
    cdef Py_ssize_t i, j = 0
    while j < width:
        i = 0
        while i < count:
            transpose(s.tiles + i * width + j, width, min(<Py_ssize_t>LANES, count - i),
                      s.scores + (k + j) * p.scores_step + i, p.scores_step,
                      min(<Py_ssize_t>LANES, p.w.K - k - j))
            i += LANES
        j += LANES


# --------------------------------------------------------------------- dense rows

cdef void several_scores(
    const Pass *p, Scratch *s, const RowRange *rows, const Block *block
) noexcept nogil:
    """X w of a block for every neuron, without the intercepts."""
    cdef Py_ssize_t i, k = 0, width, height, row_bytes = p.x.row_stride
    cdef const char *next = p.x.base + (rows.first + block.count) * row_bytes
    # Rows that follow each other in memory.
    cdef bint ahead = rows.order == NULL and 0 < row_bytes <= p.x.d * REAL_SIZE
    cdef Product product
    product.K, product.a_stride = p.w.d, p.x.width
    product.B, product.start = p.w.operands, NULL
    while k < p.w.K:
        width = product.b_stride = product.c_stride = panel_width(p, k)
        # While a tile of rows meets the first panel, as many rows of the next block come.
        height = NARROW_ROWS if width == LANES else TILE_ROWS
        product.prefetch_step = (height * row_bytes + p.w.d - 1) // p.w.d
        i = 0
        while i < block.count:
            product.m = min(height, block.count - i)
            product.A = <const real *>block.data + i * p.x.width
            product.C = s.tiles + i * width
            product.prefetch = next + i * row_bytes
            if ahead and k == 0:
                rows_product_ahead(<int>(width // LANES), &product)
            else:
                rows_product(<int>(width // LANES), &product)
            i += height
        transpose_scores(p, s, block.count, k, width)
        product.B += p.w.d * width
        k += width


cdef void several_gradients(const Pass *p, Scratch *s, const Block *block) noexcept nogil:
    """The scratch's sums += derivatives times the rows of a block."""
    cdef Py_ssize_t k, i, r, part, parts = (p.w.K + TILE_OUTPUTS - 1) // TILE_OUTPUTS
    cdef Py_ssize_t column = 0, registers, width = round_up(p.w.d, LANES)
    cdef real *target
    cdef real[MAX_TILE] tile
    cdef Product product
    product.K, product.start = block.count, NULL
    product.a_stride, product.b_stride = p.scores_step, p.x.width
    product.C, product.c_stride = tile, TILE_WIDTH
    while column < width:
        registers = min(<Py_ssize_t>TILE_WIDTH, width - column) // LANES
        product.B = <const real *>block.data + column
        for part in range(parts):
            # Tiles of equal height: one of two neurons would wait for its own sums.
            k = part * p.w.K // parts
            product.m = (part + 1) * p.w.K // parts - k
            product.A = s.scores + k * p.scores_step
            rows_product(<int>registers, &product)
            for i in range(product.m):
                target = s.sums + (k + i) * p.w.operand_step + operand_start(0) + column
                for r in range(registers):
                    v_store(target + r * LANES, v_load(target + r * LANES)
                            + v_load(tile + i * TILE_WIDTH + r * LANES))
        column += TILE_WIDTH


# --------------------------------------------------------------------- sparse rows

cdef inline inlined_void entries_scores(
    int registers, index_t *indices, const real *values, index_t start, index_t stop,
    const real *panel, Py_ssize_t width, real *z
) noexcept nogil:
    """Scores of a constant number of registers of neurons, in two chains of sums each."""
    cdef vreal[2 * SPARSE_REGISTERS] sums
    cdef vreal a, b
    cdef const real *first
    cdef const real *second
    cdef index_t i = start
    cdef int r
    for r in range(2 * registers):
        sums[r] = v_set(0)
    while i + 2 <= stop:
        a, b = v_set(values[i]), v_set(values[i + 1])
        first, second = panel + indices[i] * width, panel + indices[i + 1] * width
        for r in range(registers):
            sums[r] = sums[r] + a * v_load(first + r * LANES)
            sums[registers + r] = sums[registers + r] + b * v_load(second + r * LANES)
        i += 2
    if i < stop:
        a, first = v_set(values[i]), panel + indices[i] * width
        for r in range(registers):
            sums[r] = sums[r] + a * v_load(first + r * LANES)
    for r in range(registers):
        v_store(z + r * LANES, sums[r] + sums[registers + r])


cdef void several_sparse_scores_of(
    index_t *indices, const Pass *p, Scratch *s, const RowRange *rows
) noexcept nogil:
    cdef index_t *indptr = <index_t *>p.x.indptr
    cdef index_t start, stop
    cdef Py_ssize_t i, j, row, left, width = panel_width(p, 0)
    cdef const real *panel = p.w.operands
    cdef real *z
    for i in range(rows.count):
        row = row_at(rows.order, rows.first + i)
        start, stop = indptr[row], indptr[row + 1]
        prefetch_entries(indices, p.x.values, start, stop)
        j, z = 0, s.tiles + i * width
        while j < width:
            left = (width - j) // LANES
            if left >= 4:
                entries_scores(4, indices, p.x.values, start, stop, panel + j, width, z + j)
            elif left == 3:
                entries_scores(3, indices, p.x.values, start, stop, panel + j, width, z + j)
            elif left == 2:
                entries_scores(2, indices, p.x.values, start, stop, panel + j, width, z + j)
            else:
                entries_scores(1, indices, p.x.values, start, stop, panel + j, width, z + j)
            j += SPARSE_REGISTERS * LANES


cdef void several_sparse_scores(
    const Pass *p, Scratch *s, const RowRange *rows
) noexcept nogil:
    """As `several_scores`, of sparse rows."""
    if p.x.index_size == 4:
        several_sparse_scores_of(<int32_t *>p.x.indices, p, s, rows)
    else:
        several_sparse_scores_of(<int64_t *>p.x.indices, p, s, rows)
    transpose_scores(p, s, rows.count, 0, panel_width(p, 0))


cdef void several_sparse_gradients_of(
    index_t *indices, const Pass *p, Scratch *s, const RowRange *rows, double *sums
) noexcept nogil:
    cdef index_t *indptr = <index_t *>p.x.indptr
    cdef index_t at_
    cdef Py_ssize_t i, k, row, K = p.w.K
    cdef const real *values = p.x.values
    cdef double value
    cdef double *target
    cdef double *factors = s.factors
    for i in range(rows.count):
        row = row_at(rows.order, rows.first + i)
        for k in range(K):
            factors[k] = s.scores[k * p.scores_step + i]
        for at_ in range(indptr[row], indptr[row + 1]):
            value, target = values[at_], sums + indices[at_] * K
            for k in range(K):
                target[k] += value * factors[k]


cdef void several_sparse_gradients(
    const Pass *p, Scratch *s, const RowRange *rows, double *sums
) noexcept nogil:
    """sums[j * K + k] += derivatives times the rows."""
    if p.x.index_size == 4:
        several_sparse_gradients_of(<int32_t *>p.x.indices, p, s, rows, sums)
    else:
        several_sparse_gradients_of(<int64_t *>p.x.indices, p, s, rows, sums)


cdef void transpose_sums(Pass *p) noexcept nogil:
    """The total of sparse rows, from K of each feature side by side to those of each neuron."""
    cdef Py_ssize_t j = 0, k, d = p.w.d + 1, K = p.w.K
    # The panels are laid out anew for the next pass.
    cdef real *sums = p.w.operands
    memcpy(sums, p.sums.total, d * K * REAL_SIZE)
    while j < d:
        k = 0
        while k < K:
            transpose(sums + j * K + k, K, min(<Py_ssize_t>LANES, d - j),
                      p.sums.total + k * p.w.length + j, p.w.length,
                      min(<Py_ssize_t>LANES, K - k))
            k += LANES
        j += LANES
