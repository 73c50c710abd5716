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
# A register that straddles two cache lines is read as two (NumPy's rows begin 16 bytes after a
# cache line's boundary). Long rows are therefore read from their first boundary on, `head`
# elements after their beginning, and the elements before it in one more register, whose vector
# follows `last`: 3.87 -> 3.21 ms and 4.28 -> 3.75 for 128 MB of float32 at d = 784 and 2000, one
# thread of Zen 5. Where a row's length is no multiple of a register, rows have a few leads by
# turns, and weights and sums are laid out anew for each turn (`AlignmentPhases`): 3.89 -> 3.14 ms for
# 128 MB of float64 at d = 100, 3.78 -> 3.05 of float32 at d = 200. Of these, 0.2 ms are what
# asking for a lead, too, gained: all of a row is to be asked for.
#
# Rows that are read in order are asked for before their turn (`Prefetch`), the same number for each
# register that either loop treats, because a processor whose loops alternate between waiting
# for memory and computing leaves it idle half of the time. On Zen 5, one thread, float32 at
# d = 28, 100 and 784, an epoch from memory takes 0.56, 0.58 and 0.89 of the time without.
# What is asked for lies together: every other cache line in either loop took 0.75 at d = 100.
#
# Of columns from memory, half of the next block is asked for while the sums of this one are
# taken: 3.84 -> 3.59 ms an epoch at d = 784, a hundredth at 100, 256 and 2000. Asked for in the
# scores' loop, too, they took longer, because processors drop requests beyond those that they can
# have under way; so did one loop for the scores of a block and the sums of the one before it, and
# the two in turn for each eight columns.


# From how far before their turn rows are asked for: 8 KiB is too late where blocks are longer,
# and 24 KiB begins to push what is in use out of the first cache.
cdef enum:
    CACHE_LINE = 64
    ROWS_AHEAD_BYTES = 12288
    LONG_ROWS_AHEAD_BYTES = 16384   # rows of more than LONG_ROW_BYTES
    LONG_ROW_BYTES = 512


cdef struct Prefetch:
    const char *next    # what to ask for, or NULL


cdef inline inlined_void prefetch_along(Prefetch *prefetch_ptr, Py_ssize_t nbytes) noexcept nogil:
    """Ask for so many of the bytes that follow; a constant number at each call."""
    cdef Py_ssize_t i
    if prefetch_ptr.next != NULL:
        for i in range((nbytes + CACHE_LINE - 1) // CACHE_LINE):
            prefetch(prefetch_ptr.next + i * CACHE_LINE)
        prefetch_ptr.next += nbytes


cdef enum:
    MAX_PHASES = 4
    MAX_PHASED_ROWS = 16   # in a block


cdef struct AlignmentPhases:
    # Rows take turns in their leads: row i has lead i modulo `count`, a power of two, or 0 where
    # rows are not read by turns. For each lead there is a vector, `step` reals after the one
    # before: `last` and what follows it, then what meets a row, `head` reals before a boundary.
    Py_ssize_t count
    Py_ssize_t step
    Py_ssize_t[MAX_PHASES] heads


cdef inline Py_ssize_t phase_of(const AlignmentPhases *phases, Py_ssize_t row) noexcept nogil:
    return row & (phases.count - 1)


cdef inline Py_ssize_t phase_start(const AlignmentPhases *phases, Py_ssize_t phase) noexcept nogil:
    """Where in the vectors what meets a row begins."""
    return phase * phases.step + 2 * LANES + (LANES - phases.heads[phase]) % LANES


ctypedef const real *line_t


cdef inline const real *at(const char *lines, Py_ssize_t offset) noexcept nogil:
    return <const real *>(lines + offset)


cdef inline vreal long_dot(
    const real *line, Py_ssize_t length, Py_ssize_t head, const real *vector, const real *last,
    Prefetch *prefetch_ptr,
) noexcept nogil:
    cdef Py_ssize_t whole = length - (length - head) % LANES, j = head
    cdef vreal a = v_set(0), b = v_set(0), c = v_set(0), d = v_set(0)
    if head:
        a = v_load(last + LANES) * v_load(line)
        prefetch_along(prefetch_ptr, LANES * REAL_SIZE // 2)
    while j + 4 * LANES <= whole:
        a = a + v_load(vector + j) * v_load(line + j)
        b = b + v_load(vector + j + LANES) * v_load(line + j + LANES)
        c = c + v_load(vector + j + 2 * LANES) * v_load(line + j + 2 * LANES)
        d = d + v_load(vector + j + 3 * LANES) * v_load(line + j + 3 * LANES)
        j += 4 * LANES
        prefetch_along(prefetch_ptr, 2 * LANES * REAL_SIZE)
    # 256 doubles are 31 registers and two parts: 3.74 -> 3.11 ms for 128 MB.
    if j + 2 * LANES <= length:
        prefetch_along(prefetch_ptr, 2 * LANES * REAL_SIZE)
    while j < whole:
        a = a + v_load(vector + j) * v_load(line + j)
        j += LANES
    if whole < length:
        b = b + v_load(last) * v_load(line + length - LANES)
    return (a + b) + (c + d)


cdef inline void dots(
    const char *lines, Py_ssize_t step, Py_ssize_t count, Py_ssize_t length, const real *vector,
    const real *last, real *out, Prefetch *prefetch_ptr,
) noexcept nogil:
    """out[i] = line i . vector"""
    cdef Py_ssize_t i = 0, u
    cdef vreal[4] four
    while i + 4 <= count:
        for u in range(4):
            four[u] = long_dot(at(lines, (i + u) * step), length, 0, vector, last, prefetch_ptr)
        v_sum4(four[0], four[1], four[2], four[3], out + i)
        i += 4
    while i < count:
        out[i] = v_sum(long_dot(at(lines, i * step), length, 0, vector, last, prefetch_ptr))
        i += 1


cdef enum:
    LINES_AT_ONCE = 8


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


cdef inline void add_column_dots(
    const char *lines, Py_ssize_t step, Py_ssize_t count, Py_ssize_t length,
    const real *vector, real *out, const char *next,
) noexcept nogil:
    """out[i] += line i . vector; the length is whole registers.

    Four lines at a time, two chains of sums each. From the last line, which is still in the
    first cache, to the first; meanwhile half of the lines at `next`, if it is not NULL, are
    asked for.
    """
    cdef Py_ssize_t i = count, j, u
    cdef vreal a, b
    cdef vreal[4] even, odd
    cdef real[4] four
    cdef line_t[4] line
    cdef Prefetch none
    none.next = NULL
    while i % 4:
        i -= 1
        out[i] += v_sum(long_dot(at(lines, i * step), length, 0, vector, NULL, &none))
    while i:
        i -= 4
        for u in range(4):
            line[u] = at(lines, (i + u) * step)
            even[u] = odd[u] = v_set(0)
        j = 0
        while j + 2 * LANES <= length:
            a, b = v_load(vector + j), v_load(vector + j + LANES)
            for u in range(4):
                even[u] = even[u] + a * v_load(line[u] + j)
                odd[u] = odd[u] + b * v_load(line[u] + j + LANES)
            if next != NULL:
                prefetch_far(next + j * REAL_SIZE)
                prefetch_far(next + step + j * REAL_SIZE)
                if 2 * LANES * REAL_SIZE > CACHE_LINE:
                    prefetch_far(next + (j + LANES) * REAL_SIZE)
                    prefetch_far(next + step + (j + LANES) * REAL_SIZE)
            j += 2 * LANES
        if j < length:
            for u in range(4):
                even[u] = even[u] + v_load(vector + j) * v_load(line[u] + j)
        v_sum4(even[0] + odd[0], even[1] + odd[1], even[2] + odd[2], even[3] + odd[3], four)
        for u in range(4):
            out[i + u] += four[u]
        if next != NULL:
            next += 2 * step


cdef inline vreal lines_sum(
    Py_ssize_t count, const line_t *line, const vreal *factor, Py_ssize_t j
) noexcept nogil:
    cdef vreal total = factor[0] * v_load(line[0] + j)
    cdef Py_ssize_t i
    for i in range(1, count):
        total = total + factor[i] * v_load(line[i] + j)
    # Not to be added one by one to a sum of many rows, which costs more digits.
    return v_rounded(total)


cdef inline inlined_void add_columns(
    Py_ssize_t count, bint first, const char *lines, Py_ssize_t step, Py_ssize_t length,
    const real *factors, real *out,
) noexcept nogil:
    """As `sum_columns`, for a constant number of columns; `out` is read if not the first."""
    cdef line_t[LINES_AT_ONCE] line
    cdef vreal[LINES_AT_ONCE] factor
    cdef Py_ssize_t i, j = 0
    for i in range(count):
        line[i] = at(lines, i * step)
        factor[i] = v_set(factors[i])
    while j < length:
        v_store(out + j, plus_lines(count, v_set(0) if first else v_load(out + j), line, factor, j))
        j += LANES


cdef inline void sum_columns(
    const char *lines, Py_ssize_t step, Py_ssize_t count, Py_ssize_t length,
    const real *factors, real *out,
) noexcept nogil:
    """out = sum of factors[i] * line i; the length is whole registers."""
    cdef Py_ssize_t i = 8
    if count < 8:
        memset(out, 0, length * REAL_SIZE)
        i = 0
    else:
        add_columns(8, True, lines, step, length, factors, out)
    while i + 8 <= count:
        add_columns(8, False, lines + i * step, step, length, factors + i, out)
        i += 8
    if i + 4 <= count:
        add_columns(4, False, lines + i * step, step, length, factors + i, out)
        i += 4
    if i + 2 <= count:
        add_columns(2, False, lines + i * step, step, length, factors + i, out)
        i += 2
    if i < count:
        add_columns(1, False, lines + i * step, step, length, factors + i, out)


cdef inline inlined_void add_lines(
    Py_ssize_t count, const char *lines, Py_ssize_t step, Py_ssize_t length, Py_ssize_t head,
    const real *factors, real *out, real *last, Prefetch *prefetch_ptr,
) noexcept nogil:
    """As `accumulate`, for a constant number of lines."""
    cdef Py_ssize_t whole = length - (length - head) % LANES, j = head, i
    cdef line_t[LINES_AT_ONCE] line
    cdef vreal[LINES_AT_ONCE] factor
    for i in range(count):
        line[i] = at(lines, i * step)
        factor[i] = v_set(factors[i])
    if head:
        v_store(last + LANES, v_load(last + LANES) + lines_sum(count, line, factor, 0))
        prefetch_along(prefetch_ptr, count * LANES * REAL_SIZE // 2)
    while j < whole:
        v_store(out + j, v_load(out + j) + lines_sum(count, line, factor, j))
        j += LANES
        prefetch_along(prefetch_ptr, count * LANES * REAL_SIZE // 2)
    if whole < length:
        v_store(last, v_load(last) + lines_sum(count, line, factor, length - LANES))


cdef inline void accumulate(
    const char *lines, Py_ssize_t step, Py_ssize_t count, Py_ssize_t length, Py_ssize_t head,
    const real *factors, real *out, real *last, Prefetch *prefetch_ptr,
) noexcept nogil:
    """out += sum of factors[i] * line i.

    The final LANES of a ragged line go to `last`, those that contain a lead next to it.
    """
    cdef Py_ssize_t i = 0
    while i + 8 <= count:
        add_lines(8, lines + i * step, step, length, head, factors + i, out, last, prefetch_ptr)
        i += 8
    if i + 4 <= count:
        add_lines(4, lines + i * step, step, length, head, factors + i, out, last, prefetch_ptr)
        i += 4
    if i + 2 <= count:
        add_lines(2, lines + i * step, step, length, head, factors + i, out, last, prefetch_ptr)
        i += 2
    if i < count:
        add_lines(1, lines + i * step, step, length, head, factors + i, out, last, prefetch_ptr)


# --------------------------------------------------------------------- short lines
#
# The number of registers in a row is a constant of each call below, so that the compiler
# unrolls over it: the weights stay in registers for all rows of a block, and so do the sums.

cdef enum:
    SHORT = 16              # registers in a short row at most


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


cdef inline inlined_void four_dots(
    Py_ssize_t registers, const char *lines, Py_ssize_t step, const vreal *v,
    Py_ssize_t final_at, vreal *sums, Prefetch *prefetch_ptr,
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(4):
        short_dot(registers, at(lines, i * step), v, final_at, sums + i)
        if i % 2 == 1:
            prefetch_along(prefetch_ptr, registers * LANES * REAL_SIZE)


cdef inline inlined_void block_dots(
    Py_ssize_t registers, const char *lines, Py_ssize_t step, Py_ssize_t count,
    const real *vector, const real *final, Py_ssize_t final_at, real *out, Prefetch *prefetch_ptr,
) noexcept nogil:
    cdef Py_ssize_t i = 0, q
    cdef vreal[SHORT] v
    cdef vreal[4] four
    cdef vreal[4] folded
    for i in range(registers - 1):
        v[i] = v_load(vector + i * LANES)
    v[registers - 1] = v_load(final)
    i = 0
    # A register of scores is stored as one, because costs will load it as one: a load that
    # spans several stores waits until they have reached the cache.
    while LANES >= 4 and i + LANES <= count:
        for q in range(LANES // 4):
            four_dots(registers, lines + (i + 4 * q) * step, step, v, final_at, four, prefetch_ptr)
            folded[q] = v_fold4(four[0], four[1], four[2], four[3])
        v_store(out + i, v_join(folded))
        i += LANES
    while i + 4 <= count:
        four_dots(registers, lines + i * step, step, v, final_at, four, prefetch_ptr)
        v_sum4(four[0], four[1], four[2], four[3], out + i)
        i += 4
    while i < count:
        short_dot(registers, at(lines, i * step), v, final_at, four)
        out[i] = v_sum(four[0])
        i += 1


cdef inline inlined_void block_sums(
    Py_ssize_t registers, Py_ssize_t chains, const char *lines, Py_ssize_t step,
    Py_ssize_t count, const real *factors, real *out, real *final, Py_ssize_t final_at,
    Prefetch *prefetch_ptr,
) noexcept nogil:
    """As `accumulate`, in so many chains of sums, 2 or 4, that never leave the registers."""
    cdef Py_ssize_t i = 0, c, r
    cdef vreal[4 * SHORT] sums
    cdef vreal factor, total
    cdef const real *line
    cdef real *target
    for r in range(registers):
        for c in range(chains):
            sums[c * registers + r] = v_set(0)
    while i + chains <= count:
        for c in range(chains):
            line = at(lines, (i + c) * step)
            factor = v_set(factors[i + c])
            for r in range(registers - 1):
                sums[c * registers + r] = (
                    sums[c * registers + r] + factor * v_load(line + r * LANES)
                )
            r = registers - 1
            sums[c * registers + r] = sums[c * registers + r] + factor * v_load(line + final_at)
            if c % 2 == 1:
                prefetch_along(prefetch_ptr, registers * LANES * REAL_SIZE)
        i += chains
    while i < count:
        line = at(lines, i * step)
        factor = v_set(factors[i])
        for r in range(registers):
            sums[r] = sums[r] + factor * v_load(
                line + (r * LANES if r < registers - 1 else final_at)
            )
        i += 1
    for r in range(registers):
        total = sums[r] + sums[registers + r]
        if chains == 4:
            total = total + (sums[2 * registers + r] + sums[3 * registers + r])
        target = out + r * LANES if r < registers - 1 else final
        v_store(target, v_load(target) + v_rounded(total))


cdef inline inlined_void short_rows(
    Py_ssize_t registers, bint scores, const char *lines, Py_ssize_t step, Py_ssize_t count,
    Py_ssize_t length, const real *vector, const real *last, real *out, real *sums_last,
    Prefetch *prefetch_ptr,
) noexcept nogil:
    """`block_dots` with the weights `vector`, or `block_sums` with it as the factors.

    Rows whose sums leave no room in the registers for anything else go to `accumulate`.
    """
    cdef Py_ssize_t final_at = (registers - 1) * LANES
    cdef bint ragged = length % LANES != 0
    if scores:
        block_dots(registers, lines, step, count, vector, last if ragged else vector + final_at,
                   length - LANES if ragged else final_at, out, prefetch_ptr)
    elif 4 * registers <= REGISTERS // 2:
        block_sums(registers, 4, lines, step, count, vector, out,
                   sums_last if ragged else out + final_at,
                   length - LANES if ragged else final_at, prefetch_ptr)
    elif 2 * registers <= 3 * REGISTERS // 4:
        block_sums(registers, 2, lines, step, count, vector, out,
                   sums_last if ragged else out + final_at,
                   length - LANES if ragged else final_at, prefetch_ptr)
    else:
        accumulate(lines, step, count, length, 0, vector, out, sums_last, prefetch_ptr)


cdef inline inlined_void rows_of_any(
    bint scores, const char *lines, Py_ssize_t step, Py_ssize_t count, Py_ssize_t length,
    const real *vector, const real *last, real *out, real *sums_last, Prefetch *prefetch_ptr,
) noexcept nogil:
    cdef Py_ssize_t registers = (length + LANES - 1) // LANES
    if registers == 1:
        short_rows(1, scores, lines, step, count, length, vector, last, out, sums_last, prefetch_ptr)
    elif registers == 2:
        short_rows(2, scores, lines, step, count, length, vector, last, out, sums_last, prefetch_ptr)
    elif registers == 3:
        short_rows(3, scores, lines, step, count, length, vector, last, out, sums_last, prefetch_ptr)
    elif registers == 4:
        short_rows(4, scores, lines, step, count, length, vector, last, out, sums_last, prefetch_ptr)
    elif registers == 5:
        short_rows(5, scores, lines, step, count, length, vector, last, out, sums_last, prefetch_ptr)
    elif registers == 6:
        short_rows(6, scores, lines, step, count, length, vector, last, out, sums_last, prefetch_ptr)
    elif registers == 7:
        short_rows(7, scores, lines, step, count, length, vector, last, out, sums_last, prefetch_ptr)
    elif registers == 8:
        short_rows(8, scores, lines, step, count, length, vector, last, out, sums_last, prefetch_ptr)
    elif registers == 9:
        short_rows(9, scores, lines, step, count, length, vector, last, out, sums_last, prefetch_ptr)
    elif registers == 10:
        short_rows(10, scores, lines, step, count, length, vector, last, out, sums_last, prefetch_ptr)
    elif registers == 11:
        short_rows(11, scores, lines, step, count, length, vector, last, out, sums_last, prefetch_ptr)
    elif registers == 12:
        short_rows(12, scores, lines, step, count, length, vector, last, out, sums_last, prefetch_ptr)
    elif registers == 13:
        short_rows(13, scores, lines, step, count, length, vector, last, out, sums_last, prefetch_ptr)
    elif registers == 14:
        short_rows(14, scores, lines, step, count, length, vector, last, out, sums_last, prefetch_ptr)
    elif registers == 15:
        short_rows(15, scores, lines, step, count, length, vector, last, out, sums_last, prefetch_ptr)
    elif registers == 16:
        short_rows(16, scores, lines, step, count, length, vector, last, out, sums_last, prefetch_ptr)
    elif scores:
        dots(lines, step, count, length, vector, last, out, prefetch_ptr)
    else:
        accumulate(lines, step, count, length, 0, vector, out, sums_last, prefetch_ptr)


cdef void row_dots(
    const char *lines, Py_ssize_t step, Py_ssize_t count, Py_ssize_t length, const real *vector,
    const real *last, real *out, Prefetch *prefetch_ptr,
) noexcept nogil:
    """out[i] = line i . vector"""
    rows_of_any(True, lines, step, count, length, vector, last, out, NULL, prefetch_ptr)


cdef void row_sums(
    const char *lines, Py_ssize_t step, Py_ssize_t count, Py_ssize_t length,
    const real *factors, real *out, real *last, Prefetch *prefetch_ptr,
) noexcept nogil:
    """As `accumulate`."""
    rows_of_any(False, lines, step, count, length, factors, NULL, out, last, prefetch_ptr)


# --------------------------------------------------------------------- rows by turns

cdef inline vreal phased_dot(
    const AlignmentPhases *phases, Py_ssize_t row, const char *line, Py_ssize_t length,
    const real *vectors, Prefetch *prefetch_ptr,
) noexcept nogil:
    cdef Py_ssize_t phase = phase_of(phases, row)
    return long_dot(<const real *>line, length, phases.heads[phase],
                    vectors + phase_start(phases, phase), vectors + phase * phases.step, prefetch_ptr)


cdef void phased_dots(
    const AlignmentPhases *phases, Py_ssize_t first, const char *lines, Py_ssize_t step, Py_ssize_t count,
    Py_ssize_t length, const real *vectors, real *out, Prefetch *prefetch_ptr,
) noexcept nogil:
    """out[i] = line i . the vector of row `first` + i"""
    cdef Py_ssize_t i = 0, q, u
    cdef vreal[4] four
    cdef vreal[4] folded
    # See `block_dots`.
    while LANES >= 4 and i + LANES <= count:
        for q in range(LANES // 4):
            for u in range(4):
                four[u] = phased_dot(phases, first + i + 4 * q + u,
                                     lines + (i + 4 * q + u) * step, length, vectors, prefetch_ptr)
            folded[q] = v_fold4(four[0], four[1], four[2], four[3])
        v_store(out + i, v_join(folded))
        i += LANES
    while i < count:
        out[i] = v_sum(phased_dot(phases, first + i, lines + i * step, length, vectors, prefetch_ptr))
        i += 1


cdef void phased_sums(
    const AlignmentPhases *phases, Py_ssize_t first, const char *lines, Py_ssize_t step, Py_ssize_t count,
    Py_ssize_t length, const real *factors, real *vectors, Prefetch *prefetch_ptr,
) noexcept nogil:
    """The vector of row `first` + i += factors[i] * line i, for at most MOST_TURNED_ROWS rows."""
    cdef Py_ssize_t phase, i, share
    cdef const char *own_lines
    cdef real[MAX_PHASED_ROWS] own
    for phase in range(phases.count):
        i = phase_of(phases, phase - first)
        share = 0
        own_lines = lines + i * step
        while i < count:
            own[share] = factors[i]
            share += 1
            i += phases.count
        accumulate(own_lines, phases.count * step, share, length, phases.heads[phase], own,
                   vectors + phase_start(phases, phase), vectors + phase * phases.step, prefetch_ptr)
