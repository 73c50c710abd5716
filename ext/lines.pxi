# The two loops that touch X, over "lines": runs of contiguous reals, `step` bytes apart.
#
# Rows are the lines of C order, columns those of Fortran order, and the passes swap roles:
#     z = X w      rows: dots with w               columns: sum of columns scaled by w
#     X^T g        rows: sum of rows scaled by g   columns: dots with g
#
# Four lines at a time share each load of the vector they meet. A length that is no multiple
# of LANES is finished by one more register over the last LANES elements, which meets a
# vector (`last`) whose already treated lanes are zero: nothing is read beyond a line.
#
# `ahead` (bytes, 0 for none) is the distance to the block that comes next: each loop asks
# for two of every four lines of it, so that X arrives while this block is worked on.


cdef inline const real *at(const char *lines, Py_ssize_t offset) noexcept nogil:
    return <const real *>(lines + offset)


cdef inline void dots(
    const char *lines, Py_ssize_t step, Py_ssize_t count, Py_ssize_t length,
    const real *vector, const real *last, real *out, Py_ssize_t ahead,
) noexcept nogil:
    """out[i] += line i . vector"""
    cdef Py_ssize_t whole = length - length % LANES
    cdef Py_ssize_t pairs = whole - whole % (2 * LANES)
    cdef Py_ssize_t i = 0, j
    cdef const real *l0
    cdef const real *l1
    cdef const real *l2
    cdef const real *l3
    cdef vreal a0, a1, a2, a3, v
    cdef real four[4]
    while i + 4 <= count:
        l0 = at(lines, i * step)
        l1 = at(lines, (i + 1) * step)
        l2 = at(lines, (i + 2) * step)
        l3 = at(lines, (i + 3) * step)
        a0 = a1 = a2 = a3 = v_set(0)
        j = 0
        if ahead:
            while j < pairs:
                prefetch(at(<const char *>(l0 + j), ahead))
                v = v_load(vector + j)
                a0 = a0 + v * v_load(l0 + j)
                a1 = a1 + v * v_load(l1 + j)
                a2 = a2 + v * v_load(l2 + j)
                a3 = a3 + v * v_load(l3 + j)
                prefetch(at(<const char *>(l1 + j), ahead))
                v = v_load(vector + j + LANES)
                a0 = a0 + v * v_load(l0 + j + LANES)
                a1 = a1 + v * v_load(l1 + j + LANES)
                a2 = a2 + v * v_load(l2 + j + LANES)
                a3 = a3 + v * v_load(l3 + j + LANES)
                j += 2 * LANES
            # The last, odd register of a line lies in a cache line of its own.
            prefetch(at(<const char *>(l0 + j), ahead))
            prefetch(at(<const char *>(l1 + j), ahead))
        while j < whole:
            v = v_load(vector + j)
            a0 = a0 + v * v_load(l0 + j)
            a1 = a1 + v * v_load(l1 + j)
            a2 = a2 + v * v_load(l2 + j)
            a3 = a3 + v * v_load(l3 + j)
            j += LANES
        if whole < length:
            v = v_load(last)
            j = length - LANES
            a0 = a0 + v * v_load(l0 + j)
            a1 = a1 + v * v_load(l1 + j)
            a2 = a2 + v * v_load(l2 + j)
            a3 = a3 + v * v_load(l3 + j)
        v_sum4(a0, a1, a2, a3, four)
        out[i] += four[0]
        out[i + 1] += four[1]
        out[i + 2] += four[2]
        out[i + 3] += four[3]
        i += 4
    while i + 2 <= count:
        l0 = at(lines, i * step)
        l1 = at(lines, (i + 1) * step)
        a0 = a1 = v_set(0)
        j = 0
        while j < whole:
            v = v_load(vector + j)
            a0 = a0 + v * v_load(l0 + j)
            a1 = a1 + v * v_load(l1 + j)
            j += LANES
        if whole < length:
            v = v_load(last)
            a0 = a0 + v * v_load(l0 + length - LANES)
            a1 = a1 + v * v_load(l1 + length - LANES)
        out[i] += v_sum(a0)
        out[i + 1] += v_sum(a1)
        i += 2
    if i < count:
        l0 = at(lines, i * step)
        a0 = v_set(0)
        j = 0
        while j < whole:
            a0 = a0 + v_load(vector + j) * v_load(l0 + j)
            j += LANES
        if whole < length:
            a0 = a0 + v_load(last) * v_load(l0 + length - LANES)
        out[i] += v_sum(a0)


cdef inline void accumulate(
    const char *lines, Py_ssize_t step, Py_ssize_t count, Py_ssize_t length,
    const real *factors, real *out, real *last, Py_ssize_t ahead,
) noexcept nogil:
    """out += sum of factors[i] * line i; the final LANES of a ragged line go to `last`."""
    cdef Py_ssize_t whole = length - length % LANES
    cdef Py_ssize_t pairs = whole - whole % (2 * LANES)
    cdef Py_ssize_t i = 0, j
    cdef const real *l0
    cdef const real *l1
    cdef const real *l2
    cdef const real *l3
    cdef vreal f0, f1, f2, f3, a, b
    while i + 4 <= count:
        l0 = at(lines, i * step)
        l1 = at(lines, (i + 1) * step)
        l2 = at(lines, (i + 2) * step)
        l3 = at(lines, (i + 3) * step)
        f0 = v_set(factors[i])
        f1 = v_set(factors[i + 1])
        f2 = v_set(factors[i + 2])
        f3 = v_set(factors[i + 3])
        j = 0
        if ahead:
            while j < pairs:
                prefetch(at(<const char *>(l2 + j), ahead))
                a = v_load(out + j) + f0 * v_load(l0 + j)
                b = f1 * v_load(l1 + j)
                a = a + f2 * v_load(l2 + j)
                b = b + f3 * v_load(l3 + j)
                v_store(out + j, a + b)
                prefetch(at(<const char *>(l3 + j), ahead))
                a = v_load(out + j + LANES) + f0 * v_load(l0 + j + LANES)
                b = f1 * v_load(l1 + j + LANES)
                a = a + f2 * v_load(l2 + j + LANES)
                b = b + f3 * v_load(l3 + j + LANES)
                v_store(out + j + LANES, a + b)
                j += 2 * LANES
            prefetch(at(<const char *>(l2 + j), ahead))
            prefetch(at(<const char *>(l3 + j), ahead))
        while j < whole:
            a = v_load(out + j) + f0 * v_load(l0 + j)
            b = f1 * v_load(l1 + j)
            a = a + f2 * v_load(l2 + j)
            b = b + f3 * v_load(l3 + j)
            v_store(out + j, a + b)
            j += LANES
        if whole < length:
            j = length - LANES
            a = v_load(last) + f0 * v_load(l0 + j)
            b = f1 * v_load(l1 + j)
            a = a + f2 * v_load(l2 + j)
            b = b + f3 * v_load(l3 + j)
            v_store(last, a + b)
        i += 4
    while i + 2 <= count:
        l0 = at(lines, i * step)
        l1 = at(lines, (i + 1) * step)
        f0 = v_set(factors[i])
        f1 = v_set(factors[i + 1])
        j = 0
        while j < whole:
            v_store(out + j, (v_load(out + j) + f0 * v_load(l0 + j)) + f1 * v_load(l1 + j))
            j += LANES
        if whole < length:
            j = length - LANES
            v_store(last, (v_load(last) + f0 * v_load(l0 + j)) + f1 * v_load(l1 + j))
        i += 2
    if i < count:
        l0 = at(lines, i * step)
        f0 = v_set(factors[i])
        j = 0
        while j < whole:
            v_store(out + j, v_load(out + j) + f0 * v_load(l0 + j))
            j += LANES
        if whole < length:
            v_store(last, v_load(last) + f0 * v_load(l0 + length - LANES))
