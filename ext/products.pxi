# Products of matrices, of which Hessians and their factors are made. They are our own because
# those of a threaded BLAS have other bits for another number of threads.

cdef enum:
    PRODUCT_ROWS = 256          # a tile of both matrices lies in L1 together
    MAX_PRODUCT_ROWS = 320     # rather than a few rows apart
    PRODUCT_COLUMNS = 256       # of the right one, in L2


cdef void pack_columns(
    const real[:, :] source, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t column,
    Py_ssize_t columns, Py_ssize_t width, real *panel
) noexcept nogil:
    """Columns of some rows, as lines of `width` numbers padded with zeros."""
    cdef Py_ssize_t i, j, step = source.strides[1] // REAL_SIZE
    cdef const real *line
    for i in range(rows):
        line = &source[row + i, column]
        # Constant numbers of bytes, which the compiler copies in registers.
        if step == 1 and columns == TILE_WIDTH:
            memcpy(panel, line, TILE_WIDTH * REAL_SIZE)
        elif step == 1 and columns == TILE_ROWS:
            memcpy(panel, line, TILE_ROWS * REAL_SIZE)
        elif step == 1:
            memcpy(panel, line, columns * REAL_SIZE)
        else:
            for j in range(columns):
                panel[j] = line[j * step]
        for j in range(columns, width):
            panel[j] = 0
        panel += width


cdef void add_products(
    const real[:, :] left, const real[:, :] right, double factor, double[:, :] out, bint upper,
    Py_ssize_t row, Py_ssize_t rows, Py_ssize_t column, Py_ssize_t columns, real *panels,
    Py_ssize_t place
) noexcept nogil:
    """The part of some rows of both, for a tile of columns of the left from `place` on."""
    cdef real[MAX_TILE_REALS] tile
    cdef real *mine = panels + MAX_PRODUCT_ROWS * PRODUCT_COLUMNS
    cdef real *panel
    cdef double *target
    cdef Py_ssize_t m = min(<Py_ssize_t>TILE_ROWS, left.shape[1] - place), k, i, j, count
    pack_columns(left, row, rows, place, m, TILE_ROWS, mine)
    k = max(0, place - column) // TILE_WIDTH * TILE_WIDTH if upper else 0
    while k < columns:
        count = min(<Py_ssize_t>TILE_WIDTH, columns - k)
        panel = panels + k * rows
        for i in range(m):
            target = &out[place + i, column + k]
            for j in range((count + 7) // 8):
                prefetch(<const char *>(target + 8 * j))
        columns_product(m, TILE_REGISTERS, rows, mine, TILE_ROWS, panel, TILE_WIDTH, tile,
                        TILE_WIDTH, <const char *>(panel + rows * TILE_WIDTH),
                        TILE_WIDTH * REAL_SIZE)
        for i in range(m):
            target = &out[place + i, column + k]
            if count == TILE_WIDTH:
                # A constant number.
                for j in range(TILE_WIDTH):
                    target[j] += factor * tile[i * TILE_WIDTH + j]
            else:
                for j in range(count):
                    target[j] += factor * tile[i * TILE_WIDTH + j]
        k += TILE_WIDTH


def add_product(
    const real[:, :] left, const real[:, :] right, double factor, double[:, :] out, bint upper
):
    """out += factor left^T right; see `contract.add_product`."""
    cdef Py_ssize_t n = left.shape[0], row, rows, column = 0, columns, stop, k
    cdef Py_ssize_t place
    cdef Team alone
    cdef real *memory
    cdef real *panels
    memset(&alone, 0, sizeof(Team))
    if out.shape[0] == 0 or out.shape[1] == 0:
        return
    if right.shape[0] != n or left.shape[1] != out.shape[0] or right.shape[1] != out.shape[1]:
        raise ValueError("shapes do not match")
    if out.strides[1] != sizeof(double):
        raise ValueError("rows of out are not contiguous")
    # One line more, as much as is fetched ahead.
    memory = <real *>reserve(
        64 // REAL_SIZE + MAX_PRODUCT_ROWS * (PRODUCT_COLUMNS + TILE_ROWS + TILE_WIDTH),
        REAL_SIZE, "a product of matrices",
    )
    panels = from_cache_line(memory)
    try:
        with nogil:
            while column < out.shape[1] and not alone.interrupted:
                columns = min(<Py_ssize_t>PRODUCT_COLUMNS, out.shape[1] - column)
                stop = min(out.shape[0], column + columns) if upper else out.shape[0]
                row = 0
                while row < n and not alone.interrupted:
                    rows = n - row
                    if rows > MAX_PRODUCT_ROWS:
                        rows = PRODUCT_ROWS
                    k = 0
                    while k < columns:
                        pack_columns(right, row, rows, column + k,
                                     min(<Py_ssize_t>TILE_WIDTH, columns - k), TILE_WIDTH,
                                     panels + k * rows)
                        k += TILE_WIDTH
                    place = 0
                    while place < stop:
                        add_products(left, right, factor, out, upper, row, rows, column, columns,
                                     panels, place)
                        place += TILE_ROWS
                        if check_signals(&alone, 0, rows * columns // 2):
                            break
                    row += rows
                column += columns
        raise_if_interrupted(&alone)
    finally:
        free(memory)
