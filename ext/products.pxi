# Products of matrices, of which Hessians and their factors are made. They are our own because
# those of a threaded BLAS have other bits for another number of threads.

cdef enum:
    PRODUCT_ROWS = 256          # a tile of both matrices lies in L1 together
    MAX_PRODUCT_ROWS = 320     # rather than a few rows apart
    PRODUCT_COLUMNS = 256       # of the right one, in L2


cdef void pack_columns(
    const real[:, :] source, Py_ssize_t column, Py_ssize_t columns, Py_ssize_t width, real *panel
) noexcept nogil:
    """Some columns, as rows of `width` numbers padded with zeros."""
    cdef Py_ssize_t i, j, step = source.strides[1] // REAL_SIZE
    cdef const real *row
    for i in range(source.shape[0]):
        row = &source[i, column]
        # Constant numbers of bytes, which the compiler copies in registers.
        if step == 1 and columns == TILE_WIDTH:
            memcpy(panel, row, TILE_WIDTH * REAL_SIZE)
        elif step == 1 and columns == TILE_ROWS:
            memcpy(panel, row, TILE_ROWS * REAL_SIZE)
        else:
            for j in range(columns):
                panel[j] = row[j * step]
        for j in range(columns, width):
            panel[j] = 0
        panel += width


cdef void add_products(
    const real[:, :] left, double factor, double[:, :] out, Py_ssize_t place, Py_ssize_t column,
    real *panels
) noexcept nogil:
    """For a tile of columns of the left from `place` on, and the packed ones from `column` on."""
    cdef real[MAX_TILE] tile
    cdef real *panel
    cdef double *target
    cdef Py_ssize_t i, j, count, rows = left.shape[0]
    cdef Product p
    p.m, p.K = min(<Py_ssize_t>TILE_ROWS, left.shape[1] - place), rows
    p.A, p.a_stride = panels + MAX_PRODUCT_ROWS * PRODUCT_COLUMNS, TILE_ROWS
    p.C, p.b_stride, p.c_stride = tile, TILE_WIDTH, TILE_WIDTH
    p.prefetch_step = TILE_WIDTH * REAL_SIZE
    pack_columns(left, place, p.m, TILE_ROWS, <real *>p.A)
    while column < out.shape[1]:
        count = min(<Py_ssize_t>TILE_WIDTH, out.shape[1] - column)
        panel = panels + column * rows
        for i in range(p.m):
            target = &out[place + i, column]
            for j in range((count + 7) // 8):
                prefetch(<const char *>(target + 8 * j))
        p.B, p.prefetch = panel, <const char *>(panel + rows * TILE_WIDTH)
        columns_product(TILE_REGISTERS, &p)
        for i in range(p.m):
            target = &out[place + i, column]
            if count == TILE_WIDTH:
                # A constant number.
                for j in range(TILE_WIDTH):
                    target[j] += factor * tile[i * TILE_WIDTH + j]
            else:
                for j in range(count):
                    target[j] += factor * tile[i * TILE_WIDTH + j]
        column += TILE_WIDTH


def add_product(
    const real[:, :] left, const real[:, :] right, double factor, double[:, :] out, bint upper
):
    """out += factor left^T right; see `contract.add_product`."""
    cdef Py_ssize_t n = left.shape[0], row, rows, column = 0, columns, stop, k, place
    cdef Team alone
    cdef real *memory
    cdef real *panels
    cdef uint64_t mode
    memset(&alone, 0, sizeof(Team))
    if out.shape[0] == 0 or out.shape[1] == 0:
        return
    if right.shape[0] != n or left.shape[1] != out.shape[0] or right.shape[1] != out.shape[1]:
        raise ValueError("shapes do not match")
    if out.strides[1] != sizeof(double):
        raise ValueError("rows of out are not contiguous")
    # A cache line more, as much as is prefetched ahead.
    memory = <real *>reserve(
        64 // REAL_SIZE + MAX_PRODUCT_ROWS * (PRODUCT_COLUMNS + TILE_ROWS + TILE_WIDTH),
        REAL_SIZE, "a product of matrices",
    )
    panels = from_cache_line(memory)
    mode = ieee_mode()
    try:
        with nogil:
            while column < out.shape[1] and not alone.interrupted:
                columns = min(<Py_ssize_t>PRODUCT_COLUMNS, out.shape[1] - column)
                stop = min(out.shape[0], column + columns) if upper else out.shape[0]
                row = 0
                while row < n and not alone.interrupted:
                    rows = n - row if n - row <= MAX_PRODUCT_ROWS else PRODUCT_ROWS
                    k = place = 0
                    while k < columns:
                        pack_columns(right[row:row + rows], column + k,
                                     min(<Py_ssize_t>TILE_WIDTH, columns - k), TILE_WIDTH,
                                     panels + k * rows)
                        k += TILE_WIDTH
                    while place < stop and not check_signals(&alone, 0, rows * columns // 2):
                        k = max(0, place - column) // TILE_WIDTH * TILE_WIDTH if upper else 0
                        add_products(left[row:row + rows], factor,
                                     out[:, column:column + columns], place, k, panels)
                        place += TILE_ROWS
                    row += rows
                column += columns
        raise_if_interrupted(&alone)
    finally:
        restore_mode(mode)
        free(memory)
