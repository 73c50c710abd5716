# Sizes and memory.

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


cdef inline Py_ssize_t taken(Py_ssize_t count) noexcept nogil:
    """Reals that `take` uses for so many."""
    return round_up(count, CACHE_LINE // REAL_SIZE) + CACHE_LINE // REAL_SIZE


cdef inline real *take(real **free_, Py_ssize_t count) noexcept nogil:
    """So many reals of what is free, which then begins with a cache line.

    One line is left out, lest arrays of whole pages lie at the same place in theirs.
    """
    cdef real *memory = free_[0]
    free_[0] += taken(count)
    return memory
