# Sums over the rows of chunks, each its own, which are added in the order of the chunks: the
# result has the same bits for every number of threads.

cdef enum:
    SUM_TILE = 32           # entries that are summed over the chunks at a time
    SHARED_SUM = 1 << 17    # entries of all chunks, whose sum takes some 10 us alone
    SHARED_SUM_PARTS = 32


cdef struct PartialSums:
    Py_ssize_t n_chunks
    Py_ssize_t size         # entries of a sum
    double *sums            # (n_chunks, size)
    double *values          # (n_chunks)
    double factor           # of the total
    real *total             # (size)
    Py_ssize_t n_parts      # of the sum over the chunks, which threads share


cdef inline Py_ssize_t tiles(PartialSums *s) noexcept nogil:
    return (s.size + SUM_TILE - 1) // SUM_TILE


cdef inline void sum_tile(PartialSums *s, Py_ssize_t tile) noexcept nogil:
    cdef Py_ssize_t first = tile * SUM_TILE, chunk, i
    cdef Py_ssize_t count = min(<Py_ssize_t>SUM_TILE, s.size - first)
    cdef double[SUM_TILE] total
    cdef const double *part
    for i in range(SUM_TILE):
        total[i] = 0
    for chunk in range(s.n_chunks):
        part = s.sums + chunk * s.size + first
        if count == SUM_TILE:
            # A constant number: the compiler keeps the sums in registers.
            for i in range(SUM_TILE):
                total[i] += part[i]
        else:
            for i in range(count):
                total[i] += part[i]
    for i in range(count):
        s.total[first + i] = <real>(total[i] * s.factor)


cdef void sum_part(void *job, int64_t thread, Py_ssize_t part) noexcept nogil:
    cdef PartialSums *s = <PartialSums *>job
    cdef Py_ssize_t tile, count = tiles(s)
    for tile in range(part * count // s.n_parts, (part + 1) * count // s.n_parts):
        sum_tile(s, tile)


cdef double sum_chunks(Team *team, PartialSums *s, double factor) noexcept nogil:
    """The sum of the chunks' values; `total` becomes that of their sums, times the factor."""
    cdef Py_ssize_t chunk
    cdef double value = 0
    s.factor = factor
    s.n_parts = SHARED_SUM_PARTS if s.n_chunks * s.size > SHARED_SUM else 1
    run_chunks(team, sum_part, s, s.n_parts)
    for chunk in range(s.n_chunks):
        value += s.values[chunk]
    return value * factor
