# `newton_many` of the contract: Newton's method for many small models, one by each thread.
#
# The rows of a model become columns, registers of rows, and the intercept a column of ones. Where
# they fit into L2 they are converted once for all steps and penalties of the model, and those of
# a scan, which all have the same rows, once for all models of a thread.

cdef extern from "gram.h" nogil:
    void add_columns_gram(Py_ssize_t r, const real *columns, Py_ssize_t step, Py_ssize_t length,
                          const real *s, double *out, Py_ssize_t out_step)

cdef enum:
    MODEL_BYTES = 393216        # of converted rows, in L2
    # Of a column whose products with others are summed before they are added in float64.
    GRAM_BYTES = 4096
    ROWS_AHEAD = 16             # that are prefetched
    # Rows whose scores, gradients and products are computed together, in L1, and whose sums are
    # added in float64.
    STRIP_BYTES = 24576
    MIN_STRIP = 64
    MAX_STRIP = 1024
    # Models that a thread takes at a time: of neighbours in a scan rows are read once.
    MODELS_OF_CHUNK = 16
    LARGEST_MARGIN = 1 << 20    # of rows without a weight


cdef struct Models:
    # A call.
    Team *team
    Rows x
    const int32_t *order
    const real *y
    Py_ssize_t y_step
    const real *weights     # (S, weights_step), or NULL
    Py_ssize_t weights_step
    const char *extra       # or NULL
    Py_ssize_t extra_row_stride
    Py_ssize_t extra_column_stride
    char extra_kind
    const real *offset      # of the scores, or NULL
    ManyConfig config
    const double *l2
    Py_ssize_t P
    Py_ssize_t M
    const int64_t *models
    Py_ssize_t chunk
    Py_ssize_t r            # parameters
    Py_ssize_t block        # rows that are converted together
    Py_ssize_t step         # from column to column
    Py_ssize_t strip
    double *theta
    double *variance        # or NULL
    double *report
    Modeller *modellers     # one for each thread


cdef struct ScanStart:
    # Where the models of a scan begin, with the additional feature's weight at 0: what is the same
    # for all of them.
    const int64_t *model    # of which it is, or NULL
    double l2
    double value
    double margin
    double *theta
    double *gradient
    double *hessian
    real *scores            # of all rows
    real *derivatives
    real *curvature


cdef struct Modeller:
    # A thread's working memory, and the model at work.
    int64_t thread
    const int64_t *model
    Py_ssize_t count        # its rows
    double total            # of its weights
    bint binary             # targets are 0 and 1
    real *columns           # (r, step)
    real *row               # (LANES, width)
    # Additional features of neighbouring models: of so many columns from one on.
    real *extras            # (MODELS_OF_CHUNK, step)
    real *extra_rows        # (LANES, MODELS_OF_CHUNK)
    Py_ssize_t extras_first
    Py_ssize_t extras_count
    real *y                 # (step), of the block
    real *weight
    real *scores            # of all rows of the model
    real *curvature
    real *derivatives
    real *trial_scores      # (strip)
    real *operand           # (r)
    real *sums
    double *hessian         # (r, r)
    double *gradient
    double *trial
    double *trial_gradient
    double *direction
    double *unit
    double *begin
    # Which block the columns hold; that of X, and of this model.
    Py_ssize_t rows_first
    Py_ssize_t rows_count
    Py_ssize_t model_first
    ScanStart start
    # Of the last evaluation: least score on the side of the label, largest change of a score.
    double margin
    double moved


# --------------------------------------------------------------------- rows as columns

cdef inline Py_ssize_t place_of(const Modeller *s, Py_ssize_t first) noexcept nogil:
    return s.model[MODELPART_FIRST] + first


cdef void take_sparse_row(const Rows *x, Py_ssize_t row, real *out) noexcept nogil:
    cdef Py_ssize_t i
    memset(out, 0, x.d * REAL_SIZE)
    for i in range(entries_between(x, 0, row), entries_between(x, 0, row + 1)):
        if x.index_size == 4:
            out[(<int32_t *>x.indices)[i]] += x.values[i]
        else:
            out[(<int64_t *>x.indices)[i]] += x.values[i]


cdef inline void prefetch_dense_row(const Rows *x, Py_ssize_t row) noexcept nogil:
    cdef const char *begin = x.base + row * x.row_stride
    cdef Py_ssize_t j = 0, line = CACHE_LINE // max(x.column_stride, 1)
    # Entries of columns that lie elsewhere would be a line each.
    while line > 1 and j < x.d:
        prefetch(begin + j * x.column_stride)
        j += line


cdef void take_columns(
    Models *job, Modeller *s, Py_ssize_t place, Py_ssize_t count
) noexcept nogil:
    """Some rows, as columns."""
    cdef Rows *x = &job.x
    cdef Py_ssize_t i, j, u, m, row, d = x.d, step = job.step
    cdef bint by_columns = x.layout == COLUMNS or x.layout == CONVERTED_COLUMNS
    if by_columns and job.order == NULL:
        for j in range(d):
            convert(s.columns + j * step, x.base + place * x.row_stride + j * x.column_stride,
                    count, x.row_stride, x.kind)
        return
    i = 0
    while i < count:
        m = min(<Py_ssize_t>LANES, count - i)
        for u in range(m):
            row = row_at(job.order, place + i + u)
            if x.layout == SPARSE:
                take_sparse_row(x, row, s.row + u * x.width)
                continue
            convert(s.row + u * x.width, x.base + row * x.row_stride, d, x.column_stride, x.kind)
            if i + u + ROWS_AHEAD < count:
                prefetch_dense_row(x, row_at(job.order, place + i + u + ROWS_AHEAD))
        j = 0
        while j < d:
            transpose(s.row + j, x.width, m, s.columns + j * step + i, step,
                      min(<Py_ssize_t>LANES, d - j))
            j += LANES
        i += LANES


cdef void take_extras(Models *job, Modeller *s, Py_ssize_t m, Py_ssize_t n_models) noexcept nogil:
    """Additional features of models of the same rows, where those of a row lie together."""
    cdef const int64_t *models = job.models + m * len_model
    cdef Py_ssize_t first = models[MODELPART_FIRST], stop = models[MODELPART_STOP], i, j, u, rows
    s.extras_first, s.extras_count = models[MODELPART_COLUMN], 0
    if not 0 < job.extra_column_stride < job.extra_row_stride or stop - first > job.block:
        return
    for i in range(1, n_models):
        models += len_model
        if models[MODELPART_FIRST] != first or models[MODELPART_STOP] != stop:
            return
        if models[MODELPART_COLUMN] != s.extras_first + i:
            return
    i = 0
    while i < stop - first:
        rows = min(<Py_ssize_t>LANES, stop - first - i)
        for u in range(rows):
            convert(
                s.extra_rows + u * MODELS_OF_CHUNK,
                job.extra + row_at(job.order, first + i + u) * job.extra_row_stride
                + s.extras_first * job.extra_column_stride,
                n_models, job.extra_column_stride, job.extra_kind
            )
        j = 0
        while j < n_models:
            transpose(s.extra_rows + j, MODELS_OF_CHUNK, rows, s.extras + j * job.step + i,
                      job.step, min(<Py_ssize_t>LANES, n_models - j))
            j += LANES
        i += LANES
    s.extras_count = n_models


cdef void take_targets(
    Models *job, Modeller *s, Py_ssize_t place, Py_ssize_t count
) noexcept nogil:
    """Targets and weights, and the additional feature if there is one."""
    cdef Py_ssize_t i, row, padded = round_up(count, LANES)
    cdef const real *y = job.y + s.model[MODELPART_TARGET] * job.y_step
    cdef const real *weight
    cdef const char *extra
    cdef real *column = s.columns + job.x.d * job.step
    cdef bint weighted = s.model[MODELPART_WEIGHT] >= 0
    for i in range(count, padded):
        s.y[i] = s.weight[i] = 0
    if job.order == NULL:
        memcpy(s.y, y + place, count * REAL_SIZE)
    else:
        for i in range(count):
            s.y[i] = y[job.order[place + i]]
    if not weighted:
        for i in range(count):
            s.weight[i] = 1
    else:
        weight = job.weights + s.model[MODELPART_WEIGHT] * job.weights_step
        for i in range(count):
            s.weight[i] = weight[row_at(job.order, place + i)]
    if job.extra == NULL:
        return
    extra = job.extra + s.model[MODELPART_COLUMN] * job.extra_column_stride
    i = s.model[MODELPART_COLUMN] - s.extras_first
    if 0 <= i < s.extras_count:
        memcpy(column, s.extras + i * job.step, count * REAL_SIZE)
    elif job.order == NULL:
        convert(column, extra + place * job.extra_row_stride, count, job.extra_row_stride,
                job.extra_kind)
    else:
        for i in range(count):
            row = job.order[place + i]
            convert(column + i, extra + row * job.extra_row_stride, 1, job.extra_row_stride,
                    job.extra_kind)
    for i in range(count, padded):
        column[i] = 0


cdef Py_ssize_t enter_block(Models *job, Modeller *s, Py_ssize_t first) noexcept nogil:
    """Have a block of the model's rows at hand; returns how many they are."""
    cdef Py_ssize_t place = place_of(s, first), count = min(job.block, s.count - first), i, j
    cdef real *column
    if s.rows_first != place or s.rows_count != count:
        s.rows_first, s.rows_count = place, count
        # What pads the columns, before them.
        for j in range(job.x.d):
            v_store(s.columns + j * job.step + round_up(count, LANES) - LANES, v_set(0))
        take_columns(job, s, place, count)
        if job.config.fit_intercept:
            column = s.columns + (job.r - 1) * job.step
            for i in range(round_up(count, LANES)):
                column[i] = i < count
    if s.model_first != first:
        s.model_first = first
        take_targets(job, s, place, count)
    return count


# --------------------------------------------------------------------- sums over the rows

cdef inline inlined_void pass_strip(
    int loss, Py_ssize_t count, Py_ssize_t first, Py_ssize_t at, Modeller *s, double *sum
) noexcept nogil:
    """Add the losses; scores, weighted first and second derivatives of each row."""
    cdef Py_ssize_t i = 0
    cdef const real *y = s.y + first
    cdef const real *weight = s.weight + first
    cdef const real *new_scores = s.trial_scores
    cdef real *scores = s.scores + at
    cdef real *curvature = s.curvature + at
    cdef real *derivatives = s.derivatives + at
    cdef vreal total = v_set(0), least = v_set(LARGEST_MARGIN), most = v_set(0)
    cdef vreal z, w, target, value, derivative, second
    cdef ScoreParts parts
    while i < count:
        z, w, target = v_load(new_scores + i), v_load(weight + i), v_load(y + i)
        exp_parts(z, &parts.power, &parts.r)
        parts.small = logistic_of_parts(parts.power, parts.r)
        loss_of_parts(loss, z, target, w, &parts, &value, &derivative)
        second = logistic_derivative(parts.small)
        if loss == LOSS_SQUARED_ERROR:
            second = second * second
        total = total + value
        least = v_min(least, v_where_zero(w, v_set(LARGEST_MARGIN),
                                          z * (target + target - v_set(1))))
        most = v_max(most, v_where_zero(w, v_set(0), v_abs(z - v_load(scores + i))))
        v_store(derivatives + i, derivative)
        v_store(curvature + i, second * w)
        v_store(scores + i, z)
        i += LANES
    s.margin = min(s.margin, <double>(-v_max_lane(v_set(0) - least)))
    s.moved = max(s.moved, <double>v_max_lane(most))
    sum[0] += v_sum(total)


cdef double evaluate_model(
    Models *job, Modeller *s, const double *theta, double l2, double *gradient
) noexcept nogil:
    """Mean objective and its gradient; the curvature of each row."""
    cdef Py_ssize_t first = 0, count, i, j, r = job.r
    cdef Py_ssize_t weights = r - job.config.fit_intercept
    cdef double value = 0
    cdef Block columns
    columns.count, columns.step, columns.by_columns = r, job.step * REAL_SIZE, True
    s.margin, s.moved = LARGEST_MARGIN, 0
    for j in range(r):
        s.operand[j] = <real>theta[j]
        gradient[j] = 0
    while first < s.count:
        count, i = enter_block(job, s, first), 0
        while i < count:
            columns.data = <const char *>(s.columns + i)
            columns.length = round_up(min(job.strip, count - i), LANES)
            column_axpys(columns, s.operand, s.trial_scores)
            if job.offset != NULL:
                for j in range(min(job.strip, count - i)):
                    s.trial_scores[j] += job.offset[row_at(job.order, place_of(s, first + i) + j)]
            if job.config.loss == LOSS_LOG_LOSS:
                pass_strip(LOSS_LOG_LOSS, columns.length, i, first + i, s, &value)
            else:
                pass_strip(LOSS_SQUARED_ERROR, columns.length, i, first + i, s, &value)
            memset(s.sums, 0, r * REAL_SIZE)
            column_dots(&columns, s.derivatives + first + i, s.sums, NULL)
            for j in range(r):
                gradient[j] += s.sums[j]
            i += job.strip
        first += job.block
    value /= s.total
    for j in range(r):
        gradient[j] /= s.total
    for j in range(weights):
        value += 0.5 * l2 / s.total * theta[j] * theta[j]
        gradient[j] += l2 / s.total * theta[j]
    check_signals(job.team, s.thread, s.count * (r + 8))
    return value


cdef inline void add_block_gram(
    Models *job, Modeller *s, Py_ssize_t count, const real *factors, double *out
) noexcept nogil:
    """Upper triangle of out += the products of the block's columns, whose rows have factors."""
    cdef Py_ssize_t i = 0, strip = max(job.strip, <Py_ssize_t>(GRAM_BYTES // REAL_SIZE))
    while i < count:
        add_columns_gram(
            job.r, s.columns + i, job.step, round_up(min(strip, count - i), LANES), factors,
            out, job.r
        )
        i += strip
        if factors != NULL:
            factors += strip


cdef void hessian_of_model(Models *job, Modeller *s, double l2) noexcept nogil:
    """Upper triangle of the Hessian of the mean objective, where it was evaluated last."""
    cdef Py_ssize_t first = 0, count, i, j, r = job.r
    cdef Py_ssize_t weights = r - job.config.fit_intercept
    memset(s.hessian, 0, r * r * sizeof(double))
    while first < s.count:
        count = enter_block(job, s, first)
        add_block_gram(job, s, count, s.curvature + first, s.hessian)
        first += job.block
        check_signals(job.team, s.thread, count * r * r // 16)
    for i in range(r):
        for j in range(i, r):
            s.hessian[i * r + j] /= s.total
    for i in range(weights):
        s.hessian[i * r + i] += l2 / s.total


# --------------------------------------------------------------------- a scan

cdef bint begins_there(
    const Models *job, const Modeller *s, const double *theta, double l2
) noexcept nogil:
    """Whether the start that is kept is that of this model."""
    cdef const int64_t *other = s.start.model
    cdef Py_ssize_t part
    if other == NULL or s.start.l2 != l2:
        return False
    for part in range(MODELPART_COLUMN):
        if other[part] != s.model[part]:
            return False
    return memcmp(s.start.theta, theta, job.r * sizeof(double)) == 0


cdef double begin_scan(
    Models *job, Modeller *s, const double *theta, double l2
) noexcept nogil:
    """Value and gradient where a model of a scan begins, for a model of one block."""
    cdef Py_ssize_t r = job.r, d = job.x.d, i = 0
    cdef Py_ssize_t size = round_up(s.count, LANES) * REAL_SIZE
    cdef double total = 0
    cdef real sum
    cdef Block column
    if not begins_there(job, s, theta, l2):
        # Without the column, of which an entry may be no number.
        enter_block(job, s, 0)
        memset(s.columns + d * job.step, 0, size)
        s.start.value = evaluate_model(job, s, theta, l2, s.start.gradient)
        hessian_of_model(job, s, l2)
        s.start.model, s.start.l2, s.start.margin = s.model, l2, s.margin
        memcpy(s.start.theta, theta, r * sizeof(double))
        memcpy(s.start.hessian, s.hessian, r * r * sizeof(double))
        memcpy(s.start.scores, s.scores, size)
        memcpy(s.start.derivatives, s.derivatives, size)
        memcpy(s.start.curvature, s.curvature, size)
        s.model_first = -1
    memcpy(s.gradient, s.start.gradient, r * sizeof(double))
    memcpy(s.scores, s.start.scores, size)
    memcpy(s.curvature, s.start.curvature, size)
    s.margin = s.start.margin
    enter_block(job, s, 0)
    column.count, column.step, column.by_columns = 1, 0, True
    while i < s.count:
        column.data = <const char *>(s.columns + d * job.step + i)
        column.length = round_up(min(job.strip, s.count - i), LANES)
        sum = 0
        column_dots(&column, s.start.derivatives + i, &sum, NULL)
        total += sum
        i += job.strip
    s.gradient[d] = total / s.total
    return s.start.value


cdef void hessian_of_scan(Models *job, Modeller *s, double l2) noexcept nogil:
    """The Hessian there: of the additional feature, beside what is the same for all."""
    cdef Py_ssize_t r = job.r, d = job.x.d, i = 0, j, k, length
    cdef const real *extra = s.columns + d * job.step
    cdef Block columns
    columns.count, columns.step, columns.by_columns = r, job.step * REAL_SIZE, True
    memcpy(s.hessian, s.start.hessian, r * r * sizeof(double))
    memset(s.unit, 0, r * sizeof(double))
    while i < s.count:
        length = round_up(min(job.strip, s.count - i), LANES)
        k = 0
        while k < length:
            v_store(s.trial_scores + k, v_load(s.curvature + i + k) * v_load(extra + i + k))
            k += LANES
        columns.data, columns.length = <const char *>(s.columns + i), length
        memset(s.sums, 0, r * REAL_SIZE)
        column_dots(&columns, s.trial_scores, s.sums, NULL)
        for j in range(r):
            s.unit[j] += s.sums[j]
        i += job.strip
    for j in range(d):
        s.hessian[j * r + d] = s.unit[j] / s.total
    for j in range(d, r):
        s.hessian[d * r + j] = s.unit[j] / s.total
    s.hessian[d * r + d] += l2 / s.total


# --------------------------------------------------------------------- one model

cdef int survey_model(Models *job, Modeller *s) noexcept nogil:
    """Sum of the weights; whether there is something to learn."""
    cdef Py_ssize_t first = 0, count, i
    cdef double total = 0, ones = 0, soft = 0, y, w
    while first < s.count:
        count = enter_block(job, s, first)
        for i in range(count):
            y, w = s.y[i], s.weight[i]
            total += w
            ones += w * y
            soft += w * fabs(y * (1 - y))
        first += job.block
    s.total, s.binary = total, soft == 0
    if not total > 0:
        return MODELSTATUS_NO_WEIGHT if total == 0 else MODELSTATUS_NONFINITE
    if job.config.fit_intercept and soft == 0 and (ones == 0 or ones == total):
        return MODELSTATUS_ONE_CLASS
    return MODELSTATUS_UNFINISHED


cdef double halve_step(
    Models *job, Modeller *s, double *theta, double l2, double *value, double norm
) noexcept nogil:
    """Take the direction, or the first of its halves that serves; its share, 0 where none does."""
    cdef Py_ssize_t r = job.r, j, halving
    cdef double t = 1, new, trial_norm, bound, derivative = dot(s.gradient, s.direction, r)
    cdef double noise = job.config.noise * fabs(value[0])
    cdef bint moved, hidden
    for halving in range(job.config.halvings + 1):
        moved = False
        for j in range(r):
            s.trial[j] = <real>(theta[j] + t * s.direction[j])
            moved = moved or s.trial[j] != theta[j]
        if not (derivative < 0 and moved):
            return 0
        new = evaluate_model(job, s, s.trial, l2, s.trial_gradient)
        trial_norm = largest_entry(s.trial_gradient, r)
        hidden = -t * derivative / 2 <= noise
        bound = value[0] + noise + (0 if hidden else job.config.armijo * t * derivative)
        if isfinite(new) and new <= bound and (trial_norm < norm or not hidden):
            memcpy(theta, s.trial, r * sizeof(double))
            memcpy(s.gradient, s.trial_gradient, r * sizeof(double))
            value[0] = new
            # Scores were compared with those of a step of twice the share: by as much.
            return t
        if job.team.interrupted:
            return 0
        t /= 2
    return 0


cdef int solve_model(
    Models *job, Modeller *s, double *theta, double l2, double *report
) noexcept nogil:
    """Minimise one objective of a model from theta on; returns its status."""
    cdef Py_ssize_t r = job.r, j
    cdef int64_t steps = 0
    cdef bint free = l2 == 0 and job.config.loss == LOSS_LOG_LOSS, small, drifts
    cdef bint scans = job.extra != NULL and theta[job.x.d] == 0 and s.count <= job.block
    cdef double value, norm, share, moved = INFINITY
    for j in range(r):
        theta[j] = <real>theta[j]
    if scans:
        value = begin_scan(job, s, theta, l2)
    else:
        value = evaluate_model(job, s, theta, l2, s.gradient)
    while True:
        norm = largest_entry(s.gradient, r)
        report[MODELREPORT_STEPS] = steps
        report[MODELREPORT_LOSS], report[MODELREPORT_NORM] = value, norm
        if job.team.interrupted:
            return MODELSTATUS_UNFINISHED
        if not isfinite(value + norm):
            return MODELSTATUS_NONFINITE
        if free and s.binary and s.margin > 0:
            return MODELSTATUS_SEPARABLE
        small, drifts = norm <= job.config.tol, free and moved > job.config.settled
        if small and not drifts:
            return MODELSTATUS_CONVERGED
        if steps == job.config.max_iter:
            return MODELSTATUS_SEPARABLE if small and steps else MODELSTATUS_MAX_ITER
        if scans and steps == 0:
            hessian_of_scan(job, s, l2)
        else:
            hessian_of_model(job, s, l2)
        if not factorise(job.team, s.thread, s.hessian, r, job.config.singular):
            return MODELSTATUS_SEPARABLE if free and steps else MODELSTATUS_COLLINEAR
        for j in range(r):
            s.direction[j] = -s.gradient[j]
        solve_factor(s.hessian, r, s.direction)
        share = halve_step(job, s, theta, l2, &value, norm)
        if share == 0:
            if job.team.interrupted:
                return MODELSTATUS_UNFINISHED
            # Scores and curvatures are those of the last trial.
            evaluate_model(job, s, theta, l2, s.gradient)
            if small and drifts and steps:
                return MODELSTATUS_SEPARABLE
            return MODELSTATUS_CONVERGED if small else MODELSTATUS_PRECISION
        # By the whole step.
        moved = s.moved / share
        steps += 1


cdef void invert_hessian(Models *job, Modeller *s, double l2, double *variance) noexcept nogil:
    """Diagonal of the inverse of the Hessian of the sums; NaN where that is singular."""
    cdef Py_ssize_t r = job.r, j
    hessian_of_model(job, s, l2)
    if not factorise(job.team, s.thread, s.hessian, r, job.config.singular):
        for j in range(r):
            variance[j] = NAN
        return
    for j in range(r):
        memset(s.unit, 0, r * sizeof(double))
        s.unit[j] = 1
        solve_factor(s.hessian, r, s.unit)
        variance[j] = s.unit[j] / s.total


cdef void fit_model(Models *job, Modeller *s, Py_ssize_t m) noexcept nogil:
    """All objectives of a model."""
    cdef Py_ssize_t r = job.r, p, j
    cdef double *theta = job.theta + m * job.P * r
    cdef double *variance = NULL
    cdef double *report = job.report + m * job.P * len_report
    cdef int status
    s.model = job.models + m * len_model
    s.count = s.model[MODELPART_STOP] - s.model[MODELPART_FIRST]
    s.model_first = -1
    status = survey_model(job, s)
    memcpy(s.begin, theta, r * sizeof(double))
    for p in range(job.P):
        if job.variance != NULL:
            variance = job.variance + (m * job.P + p) * r
            for j in range(r):
                variance[j] = NAN
        if status == MODELSTATUS_UNFINISHED:
            memcpy(theta, s.begin, r * sizeof(double))
            report[MODELREPORT_STATUS] = solve_model(job, s, theta, job.l2[p], report)
            if report[MODELREPORT_STATUS] == MODELSTATUS_CONVERGED:
                memcpy(s.begin, theta, r * sizeof(double))
            if variance != NULL and report[MODELREPORT_STATUS] in (
                MODELSTATUS_CONVERGED, MODELSTATUS_MAX_ITER, MODELSTATUS_PRECISION
            ):
                invert_hessian(job, s, job.l2[p], variance)
            if job.team.interrupted:
                report[MODELREPORT_STATUS] = MODELSTATUS_UNFINISHED
                return
        else:
            report[MODELREPORT_STEPS] = 0
            report[MODELREPORT_LOSS] = report[MODELREPORT_NORM] = NAN
            report[MODELREPORT_STATUS] = status
        theta += r
        report += len_report


cdef void models_chunk(void *job_, int64_t thread, Py_ssize_t chunk) noexcept nogil:
    cdef Models *job = <Models *>job_
    cdef Modeller *s = &job.modellers[thread]
    cdef Py_ssize_t m, first = chunk * job.chunk, stop = min(first + job.chunk, job.M)
    if job.extra != NULL:
        take_extras(job, s, first, stop - first)
    for m in range(first, stop):
        if job.team.interrupted:
            return
        fit_model(job, s, m)


cdef enum:
    len_model = MODELPART_COLUMN + 1
    len_report = MODELREPORT_NORM + 1


cdef class ModelJob(Job):
    """What the models of a call read, and the memory of its threads."""

    cdef Models job
    cdef real *reals
    cdef double *doubles

    def __cinit__(self):
        memset(&self.job, 0, sizeof(Models))
        self.reals = NULL
        self.doubles = NULL

    def __dealloc__(self):
        free(self.reals)
        free(self.doubles)
        free(self.job.modellers)

    cdef void cut(self, Py_ssize_t rows):
        """Cut models of up to so many rows into blocks and strips."""
        cdef Models *job = &self.job
        cdef Py_ssize_t size = job.r * REAL_SIZE, line = CACHE_LINE // REAL_SIZE
        job.strip = clamp(MIN_STRIP, STRIP_BYTES // size, MAX_STRIP) // LANES * LANES
        job.block = min(
            round_up(max(rows, 1), LANES), max(1, MODEL_BYTES // size // job.strip) * job.strip
        )
        # Columns lie an odd number of cache lines apart, so that they do not meet in L1.
        job.step = (round_up(job.block, line) // line | 1) * line

    cdef int set_up(self, Py_ssize_t rows, n_threads) except -1:
        """Form the team, and reserve memory for models of up to so many rows."""
        cdef Models *job = &self.job
        cdef Py_ssize_t t, r = job.r, own, matrices
        cdef Modeller *s
        cdef real *free_
        cdef double *doubles
        self.form_team(n_threads)
        # Some models take longer than others.
        self.team.uneven = True
        job.team = &self.team
        rows = round_up(max(rows, 1), LANES)
        own = (
            taken(r * job.step) + 2 * taken(job.step) + taken(LANES * job.x.width)
            + 3 * taken(rows) + taken(job.strip) + 2 * taken(r)
            + (3 * taken(rows) + taken(MODELS_OF_CHUNK * job.step)
               + taken(LANES * MODELS_OF_CHUNK) if job.extra != NULL else 0)
        )
        matrices = 2 * r * r + 8 * r
        what = f"the rows of a model of {r} parameters, for each of {n_threads} threads"
        self.reals = <real *>reserve(
            n_threads * own + CACHE_LINE // REAL_SIZE, REAL_SIZE, what, True
        )
        self.doubles = <double *>reserve(n_threads * matrices, sizeof(double), what)
        job.modellers = <Modeller *>reserve(n_threads, sizeof(Modeller), what, True)
        free_ = from_cache_line(self.reals)
        for t in range(n_threads):
            s = &job.modellers[t]
            s.thread, s.rows_first, s.model_first = t, -1, -1
            s.columns = take(&free_, r * job.step)
            s.y = take(&free_, job.step)
            s.weight = take(&free_, job.step)
            s.row = take(&free_, LANES * job.x.width)
            s.scores = take(&free_, rows)
            s.curvature = take(&free_, rows)
            s.derivatives = take(&free_, rows)
            if job.extra != NULL:
                s.extras = take(&free_, MODELS_OF_CHUNK * job.step)
                s.extra_rows = take(&free_, LANES * MODELS_OF_CHUNK)
                s.start.scores = take(&free_, rows)
                s.start.derivatives = take(&free_, rows)
                s.start.curvature = take(&free_, rows)
            s.trial_scores = take(&free_, job.strip)
            s.operand = take(&free_, r)
            s.sums = take(&free_, r)
            doubles = self.doubles + t * matrices
            s.hessian = doubles
            s.gradient = doubles + r * r
            s.trial = s.gradient + r
            s.trial_gradient = s.trial + r
            s.direction = s.trial_gradient + r
            s.unit = s.direction + r
            s.begin = s.unit + r
            s.start.theta = s.begin + r
            s.start.gradient = s.start.theta + r
            s.start.hessian = s.start.gradient + r
        return 0


cdef class NewtonMany(ModelJob):
    """A call of `newton_many`."""

    def __init__(
        self, data, const int32_t[::1] order, extra, const int64_t[:, ::1] models, config,
        double[:, :, ::1] theta, double[:, :, ::1] variance, double[:, :, ::1] report, n_threads
    ):
        cdef Models *job = &self.job
        cdef Matrix X = data.X
        cdef const real[:, ::1] y = data.y
        cdef const real[:, ::1] weights
        cdef const double[::1] l2 = config.l2
        cdef Py_ssize_t m, rows = 0
        job.config = read_ManyConfig(config)
        job.x, job.M, job.P, job.r = X.rows, models.shape[0], theta.shape[1], theta.shape[2]
        job.y, job.y_step = &y[0, 0], y.shape[1]
        if data.sample_weight is not None:
            weights = data.sample_weight
            job.weights, job.weights_step = &weights[0, 0], weights.shape[1]
        if order is not None:
            job.order = &order[0]
        if extra is not None:
            job.extra = <const char *><size_t>extra.__array_interface__["data"][0]
            job.extra_row_stride, job.extra_column_stride = extra.strides
            job.extra_kind = <char>ord(extra.dtype.char)
        self.keep = (X, data, order, extra, models, config, theta, variance, report)
        job.l2, job.models = &l2[0], &models[0, 0]
        job.theta, job.report = &theta[0, 0, 0], &report[0, 0, 0]
        job.variance = NULL if variance is None else &variance[0, 0, 0]
        for m in range(job.M):
            rows = max(rows, models[m, <int>MODELPART_STOP] - models[m, <int>MODELPART_FIRST])
        job.chunk = clamp(1, job.M // 64, MODELS_OF_CHUNK)
        self.cut(rows)
        self.set_up(rows, n_threads)

    def lead(self):
        cdef Models *job = &self.job
        with nogil:
            run_chunks(job.team, models_chunk, job, (job.M + job.chunk - 1) // job.chunk)
        raise_if_interrupted(job.team)
