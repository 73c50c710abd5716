# `take_columns` and `coordinate_descent` of the contract: a quadratic model with an L1 penalty,
# minimised one weight at a time. Columns are copied, so that each lies in one piece.

cdef enum:
    TAKEN_ROWS = 32  # of X, whose cache lines serve for all columns that are taken


def copy_columns(Matrix X, const int32_t[::1] features, real[:, ::1] out):
    """Columns of dense rows, in the type of the weights."""
    cdef Rows *x = &X.rows
    cdef Py_ssize_t first = 0, count, k
    cdef Team alone
    cdef uint64_t mode = ieee_mode()
    memset(&alone, 0, sizeof(Team))
    with nogil:
        while first < x.n and not check_signals(&alone, 0, TAKEN_ROWS * features.shape[0]):
            count = min(<Py_ssize_t>TAKEN_ROWS, x.n - first)
            for k in range(features.shape[0]):
                convert(&out[k, first],
                        x.base + first * x.row_stride + features[k] * x.column_stride,
                        count, x.row_stride, x.kind)
            first += TAKEN_ROWS
    restore_mode(mode)
    raise_if_interrupted(&alone)


cdef void count_entries_of(
    index_t *indices, const Rows *x, const int32_t *places, int64_t *last, int64_t *counts
) noexcept nogil:
    cdef index_t *indptr = <index_t *>x.indptr
    cdef Py_ssize_t i, t, stop
    cdef int32_t place
    for i in range(x.n):
        t = indptr[i]
        stop = indptr[i + 1]
        for t in range(t, stop):
            place = places[indices[t]]
            if place >= 0 and last[place] != i + 1:
                last[place] = i + 1
                counts[place] += 1


def count_entries(Matrix X, const int32_t[::1] places, int64_t[::1] counts):
    """Entries of sparse rows by the place of their column, which is -1 where it is not taken.

    Several of one row and column count as one.
    """
    cdef Rows *x = &X.rows
    cdef int64_t *last = <int64_t *>reserve(counts.shape[0], sizeof(int64_t), "columns", True)
    with nogil:
        if x.index_size == 4:
            count_entries_of(<int32_t *>x.indices, x, &places[0], last, &counts[0])
        else:
            count_entries_of(<int64_t *>x.indices, x, &places[0], last, &counts[0])
    free(last)


cdef void copy_entries_of(
    index_t *indices, const Rows *x, const int32_t *places, int64_t *next_, real *values,
    int32_t *rows
) noexcept nogil:
    """`next_` holds where columns begin, and at the end where they have ended."""
    cdef index_t *indptr = <index_t *>x.indptr
    cdef Py_ssize_t i, t, stop
    cdef int32_t place
    cdef int64_t at
    for i in range(x.n):
        t = indptr[i]
        stop = indptr[i + 1]
        for t in range(t, stop):
            place = places[indices[t]]
            if place < 0:
                continue
            at = next_[2 * place + 1]
            if at > next_[2 * place] and rows[at - 1] == i:
                values[at - 1] += x.values[t]
                continue
            rows[at], values[at] = <int32_t>i, x.values[t]
            next_[2 * place + 1] = at + 1


def copy_entries(
    Matrix X, const int32_t[::1] places, const int64_t[::1] starts, real[::1] values,
    int32_t[::1] rows,
):
    """The entries that `count_entries` counted, column by column."""
    cdef Rows *x = &X.rows
    cdef Py_ssize_t k, m = starts.shape[0] - 1
    cdef int64_t *next_
    if values.shape[0] == 0:
        return
    # Where a column begins, and where its next entry goes.
    next_ = <int64_t *>reserve(2 * m, sizeof(int64_t), "columns")
    for k in range(m):
        next_[2 * k] = next_[2 * k + 1] = starts[k]
    with nogil:
        if x.index_size == 4:
            copy_entries_of(<int32_t *>x.indices, x, &places[0], next_, &values[0], &rows[0])
        else:
            copy_entries_of(<int64_t *>x.indices, x, &places[0], next_, &values[0], &rows[0])
    free(next_)


cdef struct Column:
    const real *values
    const int32_t *rows     # NULL: dense
    Py_ssize_t count


cdef inline double column_dot(const Column *c, const real *vector) noexcept nogil:
    cdef const real *x = c.values
    cdef Py_ssize_t i = 0
    cdef vreal a = v_set(0), b = v_set(0), e = v_set(0), f = v_set(0)
    cdef real s
    if c.rows == NULL:
        while i + 4 * LANES <= c.count:
            a = a + v_load(x + i) * v_load(vector + i)
            b = b + v_load(x + i + LANES) * v_load(vector + i + LANES)
            e = e + v_load(x + i + 2 * LANES) * v_load(vector + i + 2 * LANES)
            f = f + v_load(x + i + 3 * LANES) * v_load(vector + i + 3 * LANES)
            i += 4 * LANES
        while i + LANES <= c.count:
            a = a + v_load(x + i) * v_load(vector + i)
            i += LANES
        s = v_sum((a + b) + (e + f))
        for i in range(i, c.count):
            s += x[i] * vector[i]
        return s
    return entries_dot(<int32_t *>c.rows, x, 0, <int32_t>c.count, vector)


cdef inline double weighted_squares(const Column *c, const real *weight) noexcept nogil:
    cdef const real *x = c.values
    cdef Py_ssize_t i = 0
    cdef vreal v, a = v_set(0), b = v_set(0)
    cdef real s = 0
    if c.rows == NULL:
        while i + 2 * LANES <= c.count:
            v = v_load(x + i)
            a = a + v * v * v_load(weight + i)
            v = v_load(x + i + LANES)
            b = b + v * v * v_load(weight + i + LANES)
            i += 2 * LANES
        s = v_sum(a + b)
        for i in range(i, c.count):
            s += x[i] * x[i] * weight[i]
        return s
    for i in range(c.count):
        s += x[i] * x[i] * weight[c.rows[i]]
    return s


cdef inline void add_weighted(
    const Column *c, real factor, const real *weight, real *out
) noexcept nogil:
    """out += factor * weight * column"""
    cdef const real *x = c.values
    cdef Py_ssize_t i = 0
    cdef vreal v = v_set(factor)
    if c.rows == NULL:
        while i + LANES <= c.count:
            v_store(out + i, v_load(out + i) + v * v_load(x + i) * v_load(weight + i))
            i += LANES
        for i in range(i, c.count):
            out[i] += factor * x[i] * weight[i]
        return
    for i in range(c.count):
        out[c.rows[i]] += factor * x[i] * weight[c.rows[i]]


cdef inline void add_column(const Column *c, real factor, real *out) noexcept nogil:
    """out += factor * column"""
    cdef Py_ssize_t i
    if c.rows == NULL:
        for i in range(c.count):
            out[i] += factor * c.values[i]
        return
    for i in range(c.count):
        out[c.rows[i]] += factor * c.values[i]


cdef struct Model:
    # The quadratic model, and where it is.
    const real *values
    const int32_t *rows
    const int64_t *starts
    const int32_t *places
    Py_ssize_t n            # rows, of dense columns
    Py_ssize_t w
    real *residual
    const real *curvature
    const double *l2
    const double *l1
    double *theta
    double *curvatures      # of the weights


cdef inline Column column_of(const Model *m, Py_ssize_t k) noexcept nogil:
    cdef Column c
    cdef Py_ssize_t begin = m.places[k] * m.n
    c.rows, c.count = NULL, m.n
    if m.rows != NULL:
        begin = m.starts[m.places[k]]
        c.rows, c.count = m.rows + begin, m.starts[m.places[k] + 1] - begin
    c.values = m.values + begin
    return c


cdef double sweep_weights(Model *m, bint first, bint everywhere, Team *team) noexcept nogil:
    """One sweep; the largest entry of the smallest subgradient that it met, or NaN."""
    cdef double largest = 0, derivative, excess, h, old, new, wanted
    cdef Py_ssize_t k
    cdef Column c
    for k in range(m.w):
        if not everywhere and m.theta[k] == 0:
            continue
        c = column_of(m, k)
        if first:
            m.curvatures[k] = weighted_squares(&c, m.curvature) + m.l2[k]
        h, old = m.curvatures[k], m.theta[k]
        if not h > 0:
            continue
        derivative = column_dot(&c, m.residual) + m.l2[k] * old
        if old != 0:
            excess = fabs(derivative + (m.l1[k] if old > 0 else -m.l1[k]))
        else:
            excess = fabs(derivative) - m.l1[k]
        # NaN is the largest.
        if not excess <= largest:
            largest = excess
            if largest != largest:
                return largest
        wanted = h * old - derivative
        new = max(fabs(wanted) - m.l1[k], 0.0) / h
        new = <real>(new if wanted > 0 else -new)
        if new != old:
            m.theta[k] = new
            add_weighted(&c, <real>(new - old), m.curvature, m.residual)
        if check_signals(team, 0, 2 * c.count):
            break
    return largest


def coordinate_descent(
    values, rows, starts, const int32_t[::1] places, real[::1] residual,
    const real[::1] curvature, const double[::1] l2, const double[::1] l1, double[::1] theta,
    real[::1] change, double tol, double rate, Py_ssize_t sweeps,
):
    """See `contract.coordinate_descent`."""
    cdef const real[:, ::1] dense
    cdef const real[::1] entries
    cdef const int32_t[::1] rows_
    cdef const int64_t[::1] starts_
    cdef Py_ssize_t done = 0, k
    cdef double first = INFINITY, last = INFINITY, start
    cdef bint everywhere = True
    cdef double *doubles
    cdef Column c
    cdef Model m
    cdef Team alone
    cdef uint64_t mode
    memset(&alone, 0, sizeof(Team))
    m.rows, m.starts, m.n, m.w = NULL, NULL, residual.shape[0], places.shape[0]
    if m.w == 0:
        change[:] = 0
        return 1, 0.0, 0.0
    if rows is None:
        dense = values
        m.values = &dense[0, 0]
    else:
        entries, rows_, starts_ = values, rows, starts
        # Without entries any address will do.
        m.values = &entries[0] if entries.shape[0] else &residual[0]
        m.rows = &rows_[0] if rows_.shape[0] else &places[0]
        m.starts = &starts_[0]
    m.places, m.residual, m.curvature = &places[0], &residual[0], &curvature[0]
    m.l2, m.l1, m.theta = &l2[0], &l1[0], &theta[0]
    doubles = <double *>reserve(2 * m.w, sizeof(double), "a model of some weights")
    m.curvatures = doubles
    memcpy(doubles + m.w, m.theta, m.w * sizeof(double))
    mode = ieee_mode()
    with nogil:
        while done < sweeps and not alone.interrupted:
            last = sweep_weights(&m, done == 0, everywhere, &alone)
            done += 1
            if done == 1:
                first = last
                tol = max(tol, rate * last)
            if (everywhere and last <= tol) or not isfinite(last):
                break
            everywhere = last <= tol
        memset(&change[0], 0, m.n * REAL_SIZE)
        for k in range(m.w):
            start = doubles[m.w + k]
            if m.theta[k] != start:
                c = column_of(&m, k)
                add_column(&c, <real>(m.theta[k] - start), &change[0])
    restore_mode(mode)
    free(doubles)
    raise_if_interrupted(&alone)
    return done, first, last
