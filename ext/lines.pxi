# The two loops that touch X, over "lines": runs of contiguous reals, `step` bytes apart.
#
# Rows are the lines of C order, columns those of Fortran order, and the passes swap roles:
#     z = X w      rows: dots with w               columns: sum of columns scaled by w
#     X^T g        rows: sum of rows scaled by g   columns: dots with g
#
# A length that is no multiple of LANES is finished by one more register over the last LANES
# elements, which meets a vector (`last`) whose already treated lanes are zero: nothing is
# read beyond a line.
#
# Nothing is prefetched by hand. Blocks are so small that processors run into the next one
# while they finish this one, and `dots` reads them from end to end, one line after another,
# which is what their own prefetching is made for: at d = 100 on Zen 4 that reached 90 % of
# the rate of sequential reading. Four lines at a time reached 50 %, and blocks of 12 KiB with
# the next one asked for in time 65 %, because such requests wait in the few places of L1.


ctypedef const real *line_t


cdef inline const real *at(const char *lines, Py_ssize_t offset) noexcept nogil:
    return <const real *>(lines + offset)


cdef inline vreal long_dot(
    const real *line, Py_ssize_t length, const real *vector, const real *last
) noexcept nogil:
    cdef Py_ssize_t whole = length - length % LANES, j = 0
    cdef vreal a = v_set(0), b = v_set(0), c = v_set(0), d = v_set(0)
    while j + 4 * LANES <= whole:
        a = a + v_load(vector + j) * v_load(line + j)
        b = b + v_load(vector + j + LANES) * v_load(line + j + LANES)
        c = c + v_load(vector + j + 2 * LANES) * v_load(line + j + 2 * LANES)
        d = d + v_load(vector + j + 3 * LANES) * v_load(line + j + 3 * LANES)
        j += 4 * LANES
    while j < whole:
        a = a + v_load(vector + j) * v_load(line + j)
        j += LANES
    if whole < length:
        b = b + v_load(last) * v_load(line + length - LANES)
    return (a + b) + (c + d)


cdef inline void dots(
    const char *lines, Py_ssize_t step, Py_ssize_t count, Py_ssize_t length,
    const real *vector, const real *last, real *out, bint add,
) noexcept nogil:
    """out[i] = line i . vector, or += it"""
    cdef Py_ssize_t i = 0
    cdef vreal a, b, c, d
    cdef real[4] four
    while i + 4 <= count:
        a = long_dot(at(lines, i * step), length, vector, last)
        b = long_dot(at(lines, (i + 1) * step), length, vector, last)
        c = long_dot(at(lines, (i + 2) * step), length, vector, last)
        d = long_dot(at(lines, (i + 3) * step), length, vector, last)
        if add:
            v_sum4(a, b, c, d, four)
            out[i] += four[0]
            out[i + 1] += four[1]
            out[i + 2] += four[2]
            out[i + 3] += four[3]
        else:
            v_sum4(a, b, c, d, out + i)
        i += 4
    while i < count:
        out[i] = v_sum(long_dot(at(lines, i * step), length, vector, last)) + (out[i] if add else 0)
        i += 1


cdef enum:
    LINES_AT_ONCE = 8
    CACHE_LINE = 64


cdef inline vreal plus_lines(
    Py_ssize_t count, vreal even, const line_t *line, const vreal *factor, Py_ssize_t j
) noexcept nogil:
    cdef vreal odd = v_set(0)
    cdef Py_ssize_t i
    for i in range(count):
        if i % 2 == 0:
            even = even + factor[i] * v_load(line[i] + j)
        else:
            odd = odd + factor[i] * v_load(line[i] + j)
    return even + odd


cdef inline inlined_void add_lines(
    Py_ssize_t count, const char *lines, Py_ssize_t step, Py_ssize_t length,
    const real *factors, real *out, real *last,
) noexcept nogil:
    """As `accumulate`, for a constant number of lines."""
    cdef Py_ssize_t whole = length - length % LANES, j = 0, i
    cdef line_t[LINES_AT_ONCE] line
    cdef vreal[LINES_AT_ONCE] factor
    for i in range(count):
        line[i] = at(lines, i * step)
        factor[i] = v_set(factors[i])
    while j < whole:
        v_store(out + j, plus_lines(count, v_load(out + j), line, factor, j))
        j += LANES
    if whole < length:
        v_store(last, plus_lines(count, v_load(last), line, factor, length - LANES))


cdef inline void accumulate(
    const char *lines, Py_ssize_t step, Py_ssize_t count, Py_ssize_t length,
    const real *factors, real *out, real *last,
) noexcept nogil:
    """out += sum of factors[i] * line i; the final LANES of a ragged line go to `last`."""
    cdef Py_ssize_t i = 0
    while i + 8 <= count:
        add_lines(8, lines + i * step, step, length, factors + i, out, last)
        i += 8
    if i + 4 <= count:
        add_lines(4, lines + i * step, step, length, factors + i, out, last)
        i += 4
    if i + 2 <= count:
        add_lines(2, lines + i * step, step, length, factors + i, out, last)
        i += 2
    if i < count:
        add_lines(1, lines + i * step, step, length, factors + i, out, last)


cdef inline inlined_void interleaved(
    Py_ssize_t count, const char *new, const char *old, Py_ssize_t step, Py_ssize_t length,
    const real *vector, const real *last, real *out, const real *factors, real *sums,
    real *last_sums,
) noexcept nogil:
    """`dots` of new lines and `accumulate` of old ones, 2 or 4 of each, register by register.

    So that memory is read at one pace: one loop after the other would let it wait.
    """
    cdef Py_ssize_t whole = length - length % LANES
    cdef Py_ssize_t share = whole // LANES // count * count * LANES
    cdef Py_ssize_t i, u, j, at_ = 0
    cdef line_t[4] line
    cdef vreal[4] factor, dot, total
    cdef const real *x
    for i in range(count):
        line[i] = at(old, i * step)
        factor[i] = v_set(factors[i])
    for i in range(count):
        x = at(new, i * step)
        for u in range(count):
            dot[u] = v_set(0)
        j = 0
        while j < share:
            for u in range(count):
                dot[u] = dot[u] + v_load(vector + j) * v_load(x + j)
                j += LANES
            v_store(sums + at_, plus_lines(count, v_load(sums + at_), line, factor, at_))
            at_ += LANES
        while j < whole:
            dot[0] = dot[0] + v_load(vector + j) * v_load(x + j)
            j += LANES
        if whole < length:
            dot[1] = dot[1] + v_load(last) * v_load(x + length - LANES)
        total[i] = dot[0] + dot[1]
        if count == 4:
            total[i] = total[i] + (dot[2] + dot[3])
    if count == 4:
        v_sum4(total[0], total[1], total[2], total[3], out)
    else:
        out[0] = v_sum(total[0])
        out[1] = v_sum(total[1])
    while at_ < whole:
        v_store(sums + at_, plus_lines(count, v_load(sums + at_), line, factor, at_))
        at_ += LANES
    if whole < length:
        v_store(last_sums,
                plus_lines(count, v_load(last_sums), line, factor, length - LANES))


# --------------------------------------------------------------------- short lines
#
# The scores of short rows: the number of registers is a constant of each call below, so that
# the compiler unrolls over it.

cdef inline inlined_void short_dot(
    Py_ssize_t registers, const real *line, const vreal *v, Py_ssize_t final_at, vreal *sums
) noexcept nogil:
    """line . v, of so many registers; the last lies at `final_at` in the line."""
    cdef vreal a = v_set(0), b = v[registers - 1] * v_load(line + final_at)
    cdef Py_ssize_t r
    for r in range(registers - 1):
        if r % 2 == 0:
            a = a + v[r] * v_load(line + r * LANES)
        else:
            b = b + v[r] * v_load(line + r * LANES)
    sums[0] = a + b


cdef inline inlined_void block_dots(
    Py_ssize_t registers, const char *lines, Py_ssize_t step, Py_ssize_t count,
    const real *vector, const real *final, Py_ssize_t final_at, real *out,
) noexcept nogil:
    cdef Py_ssize_t i = 0
    # Stays in registers where there are 32 of them.
    cdef vreal[16] v
    cdef vreal a, b, c, d
    for i in range(registers - 1):
        v[i] = v_load(vector + i * LANES)
    v[registers - 1] = v_load(final)
    i = 0
    while i + 4 <= count:
        short_dot(registers, at(lines, i * step), v, final_at, &a)
        short_dot(registers, at(lines, (i + 1) * step), v, final_at, &b)
        short_dot(registers, at(lines, (i + 2) * step), v, final_at, &c)
        short_dot(registers, at(lines, (i + 3) * step), v, final_at, &d)
        v_sum4(a, b, c, d, out + i)
        i += 4
    while i < count:
        short_dot(registers, at(lines, i * step), v, final_at, &a)
        out[i] = v_sum(a)
        i += 1


cdef void row_dots(
    const char *lines, Py_ssize_t step, Py_ssize_t count, Py_ssize_t length,
    const real *vector, const real *last, real *out,
) noexcept nogil:
    """out[i] = line i . vector"""
    cdef Py_ssize_t registers = (length + LANES - 1) // LANES
    cdef Py_ssize_t final_at = (registers - 1) * LANES
    cdef const real *final = vector + final_at
    if length % LANES:
        final_at = length - LANES
        final = last
    if registers == 1:
        block_dots(1, lines, step, count, vector, final, final_at, out)
    elif registers == 2:
        block_dots(2, lines, step, count, vector, final, final_at, out)
    elif registers == 3:
        block_dots(3, lines, step, count, vector, final, final_at, out)
    elif registers == 4:
        block_dots(4, lines, step, count, vector, final, final_at, out)
    elif registers == 5:
        block_dots(5, lines, step, count, vector, final, final_at, out)
    elif registers == 6:
        block_dots(6, lines, step, count, vector, final, final_at, out)
    elif registers == 7:
        block_dots(7, lines, step, count, vector, final, final_at, out)
    elif registers == 8:
        block_dots(8, lines, step, count, vector, final, final_at, out)
    elif registers == 9:
        block_dots(9, lines, step, count, vector, final, final_at, out)
    elif registers == 10:
        block_dots(10, lines, step, count, vector, final, final_at, out)
    elif registers == 11:
        block_dots(11, lines, step, count, vector, final, final_at, out)
    elif registers == 12:
        block_dots(12, lines, step, count, vector, final, final_at, out)
    elif registers == 13:
        block_dots(13, lines, step, count, vector, final, final_at, out)
    elif registers == 14:
        block_dots(14, lines, step, count, vector, final, final_at, out)
    elif registers == 15:
        block_dots(15, lines, step, count, vector, final, final_at, out)
    elif registers == 16:
        block_dots(16, lines, step, count, vector, final, final_at, out)
    else:
        dots(lines, step, count, length, vector, last, out, False)
