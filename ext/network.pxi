# Networks: layers forward, errors backward, and whole epochs of mini-batches.
#
# The weights of a layer lie in panels as wide as a tile of product.h: a panel has a line for
# each input and last one for the intercepts, so that every product reads memory from end to
# end, and the optimiser's arrays are laid out alike. Rows of a batch are cut into strips, and
# so are the lines of a panel. A member of the job takes strips of rows through all layers and
# back; then, after all have met, strips of lines of each layer: the gradient of a tile is in
# the cache when its step is taken, and never leaves it. Each number is summed by one member in
# one order, so the number of members does not change a bit. (Members that own panels, so that
# weights stay in their caches, and meet after each layer were not quicker.)

cdef extern from "product.h" nogil:
    const int TILE_REGISTERS
    const int TILE_WIDTH
    void rows_product(Py_ssize_t m, int nv, Py_ssize_t K, const real *A, Py_ssize_t a_line,
                      const real *B, Py_ssize_t b_line, const real *start, real *C,
                      Py_ssize_t c_line)
    void columns_product(Py_ssize_t m, int nv, Py_ssize_t K, const real *A, Py_ssize_t a_line,
                         const real *B, Py_ssize_t b_line, real *C, Py_ssize_t c_line,
                         const char *prefetch_along, Py_ssize_t prefetch_step)
    void line_sums(int nv, Py_ssize_t rows, const real *B, Py_ssize_t b_line, real *out)
    void transpose(const real *source, Py_ssize_t line, Py_ssize_t rows, real *target,
                   Py_ssize_t target_line, Py_ssize_t columns)
    const int CHAINS
    real multiply_add_chains(Py_ssize_t repeats, real factor)

cdef extern from "Python.h":
    void *PyCapsule_GetPointer(object capsule, const char *name) except NULL

# numpy/random/bitgen.h
ctypedef struct Generator:
    void *state
    uint64_t (*next_uint64)(void *) noexcept nogil
    uint32_t (*next_uint32)(void *) noexcept nogil

cdef enum:
    # Rows that go through the layers together: with their activations and errors they stay in
    # the L2 cache for layers of some hundreds of neurons. Larger batches are taken in parts.
    NETWORK_ROWS = 256
    # Rows or lines of a strip: whole registers of both types.
    STRIP = MAX_LANES
    PRODUCTS_PER_ELEMENT = 20   # as long as an element of a neuron's pass
    INTERRUPTED = -1        # beside the statuses
    CHUNKS_PER_THREAD = 4   # of a task, where there is more than one thread
    ELEMENTS_PER_DRAW = 50  # which take as long


cdef struct Layer:
    Py_ssize_t d_in
    Py_ssize_t d_out
    Py_ssize_t width         # d_out in whole registers
    Py_ssize_t size          # reals in all panels
    Py_ssize_t line          # reals from row to row of output and delta
    Py_ssize_t input_line
    const real *input        # the output of the layer below, or the rows read
    real *output             # (rows, line): scores, then activations
    real *delta              # (rows, line): derivative of the cost by the scores
    real *weights
    real *first              # the optimiser's arrays
    real *second
    double *gradient         # sums over parts of a batch, where there are several
    real *transposed             # panels of the transposed weights, for the layers above the first
    double *squares          # of the weights, for each strip of lines


cdef struct Step:
    double rate              # adam: with its corrections
    double share             # 1 / sum of the batch's weights
    bint measure             # whether the norm of the gradient is wanted


cdef struct Net:
    Team *team
    Rows x
    Layer *layers
    Py_ssize_t n_layers
    int hidden
    int output
    Targets targets
    Py_ssize_t part          # rows in a part of a batch
    Py_ssize_t products      # multiplications for a row, of each of the three passes
    real *rows
    real *outputs            # (rows, line of the last layer): targets
    real *is_output          # 1 for each output, 0 for what fills the last register
    double *losses           # for each strip of rows
    real *transposed             # softmax: the scores of each member's strip, a line for each class
    real *tiles              # one for each member
    double *norms            # one for each member
    double *nonfinite             # NaN where a member met a weight that is not finite
    # How a gradient becomes a step.
    int solver
    double momentum
    double beta_1
    double beta_2
    double epsilon
    double l2
    Py_ssize_t batch_size
    double *counters
    # The part of a batch under way.
    const int32_t *order
    Py_ssize_t first
    Py_ssize_t n_rows
    Py_ssize_t n_next        # rows of the next part, which are prefetched
    Py_ssize_t n_chunks
    real *predicted
    bint with_errors
    bint begins
    bint ends
    Step step


cdef inline Py_ssize_t spread_line(Py_ssize_t width) noexcept nogil:
    """Reals from row to row: an odd number of cache lines, so that the same place in many rows
    is spread over all sets of the cache."""
    cdef Py_ssize_t lines = (width * REAL_SIZE + CACHE_LINE - 1) // CACHE_LINE
    return (lines | 1) * CACHE_LINE // REAL_SIZE


cdef inline Py_ssize_t strips_of(Py_ssize_t count) noexcept nogil:
    return (count + STRIP - 1) // STRIP


cdef inline Py_ssize_t chunk_start(
    Py_ssize_t count, Py_ssize_t chunk, Py_ssize_t n_chunks
) noexcept nogil:
    """Where a chunk of whole strips begins."""
    return min(strips_of(count) * chunk // n_chunks * STRIP, count)


# --------------------------------------------------------------------- activations

cdef inline vreal hidden_value(int hidden, vreal z) noexcept nogil:
    if hidden == HIDDEN_LOGISTIC:
        return logistic_of(z)
    if hidden == HIDDEN_TANH:
        return tanh_of(z)
    if hidden == HIDDEN_RELU:
        return v_where_negative(z, v_set(0), z)
    return z


cdef inline vreal hidden_derivative(int hidden, vreal a, vreal g) noexcept nogil:
    """g times the derivative of the activation, from the activation itself."""
    if hidden == HIDDEN_LOGISTIC:
        return g * (a * (v_set(1) - a))
    if hidden == HIDDEN_TANH:
        return g * (v_set(1) - a * a)
    if hidden == HIDDEN_RELU:
        return v_where_zero(a, v_set(0), g)
    return g


cdef inline void hidden_loop(
    int hidden, Layer *layer, Py_ssize_t low, Py_ssize_t high
) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real *z
    for i in range(low, high):
        z = layer.output + i * layer.line
        j = 0
        while j < layer.width:
            v_store(z + j, hidden_value(hidden, v_load(z + j)))
            j += LANES


cdef inline void derivative_loop(
    int hidden, Layer *layer, Py_ssize_t low, Py_ssize_t high
) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real *a
    cdef real *g
    for i in range(low, high):
        a, g = layer.output + i * layer.line, layer.delta + i * layer.line
        j = 0
        while j < layer.width:
            v_store(g + j, hidden_derivative(hidden, v_load(a + j), v_load(g + j)))
            j += LANES


cdef inline void hidden_rows(
    int hidden, bint slopes, Layer *layer, Py_ssize_t low, Py_ssize_t high
) noexcept nogil:
    # The activation is a constant in each call, so the loops hold no branch on it.
    if hidden == HIDDEN_LOGISTIC:
        if slopes:
            derivative_loop(HIDDEN_LOGISTIC, layer, low, high)
        else:
            hidden_loop(HIDDEN_LOGISTIC, layer, low, high)
    elif hidden == HIDDEN_TANH:
        if slopes:
            derivative_loop(HIDDEN_TANH, layer, low, high)
        else:
            hidden_loop(HIDDEN_TANH, layer, low, high)
    elif hidden == HIDDEN_RELU:
        if slopes:
            derivative_loop(HIDDEN_RELU, layer, low, high)
        else:
            hidden_loop(HIDDEN_RELU, layer, low, high)


# --------------------------------------------------------------------- the last layer

cdef inline double bounded(double loss) noexcept nogil:
    """The cross-entropy of a probability held within [eps, 1 - eps], as scikit-learn does."""
    cdef double low = 1.1920928955078125e-07 if REAL_SIZE == 4 else 2.220446049250313e-16
    cdef double high = 15.942385152878742 if REAL_SIZE == 4 else 36.04365338911715
    return low if loss < low else (high if loss > high else loss)


cdef void read_rows(
    Net *net, const int32_t *order, Py_ssize_t first, Py_ssize_t low, Py_ssize_t high
) noexcept nogil:
    """Rows low to high of a part that begins at `first`."""
    cdef Py_ssize_t i
    for i in range(low, high):
        read_row(net, row_at(order, first + i), net.rows + i * net.layers[0].input_line)


cdef inline void read_target(Net *net, Layer *layer, Py_ssize_t row, real *y) noexcept nogil:
    cdef Py_ssize_t k, code
    if net.targets.soft != NULL:
        for k in range(layer.d_out):
            y[k] = net.targets.soft[k * net.x.n + row]
        return
    code = net.targets.codes_8[row] if net.targets.codes_8 != NULL else net.targets.codes_32[row]
    if layer.d_out == 1:
        y[0] = code == 1
        return
    for k in range(layer.d_out):
        y[k] = k == code


cdef inline double single_strip(
    int loss, Net *net, Layer *layer, const int32_t *order, Py_ssize_t first, Py_ssize_t low,
    Py_ssize_t m,
) noexcept nogil:
    """A strip of rows of one sigmoid output: rows, not outputs, fill the registers."""
    cdef real[STRIP] z, y, s
    cdef Py_ssize_t i, row
    cdef vreal total = v_set(0), c, d, floor, ceiling
    floor, ceiling = v_set(<real>bounded(0)), v_set(<real>bounded(100))
    for i in range(m):
        row = row_at(order, first + low + i)
        z[i] = layer.output[(low + i) * layer.line]
        read_target(net, layer, row, &y[i])
        s[i] = 1 if net.targets.weights == NULL else net.targets.weights[row]
    for i in range(m, round_up(m, LANES)):
        z[i] = y[i] = s[i] = 0
    i = 0
    while i < m:
        cost(loss, v_load(z + i), v_load(y + i), v_set(1), &c, &d)
        if loss == LOSS_LOG_LOSS:
            c = v_max(floor, v_min(ceiling, c))
        total = total + c * v_load(s + i)
        v_store(z + i, d * v_load(s + i))
        i += LANES
    for i in range(m):
        layer.delta[(low + i) * layer.line] = z[i]
    return v_sum(total)


cdef double softmax_strip(
    Net *net, Layer *layer, real *transposed, const int32_t *order, Py_ssize_t first,
    Py_ssize_t low, Py_ssize_t m,
) noexcept nogil:
    """A strip of rows of classes: rows, not classes, fill the registers.

    `turned` has a line of STRIP rows for each class. Sums are multiplied before they take one
    logarithm, but for rows whose weight or cost forbids that.
    """
    cdef real[STRIP] tops, sums, weights, right
    cdef Py_ssize_t[STRIP] codes
    cdef Py_ssize_t i, k, row
    cdef real *t
    cdef vreal top, total, share, e
    cdef double loss = 0, product = 1, off
    for i in range(m):
        row = row_at(order, first + low + i)
        codes[i] = net.targets.codes_8[row] if net.targets.codes_8 != NULL else net.targets.codes_32[row]
        weights[i] = 1 if net.targets.weights == NULL else net.targets.weights[row]
        right[i] = layer.output[(low + i) * layer.line + codes[i]]
    for i in range(m, STRIP):
        weights[i] = 0
    i = 0
    while i < m:
        k = 0
        while k < layer.d_out:
            transpose(layer.output + (low + i) * layer.line + k, layer.line,
                      min(<Py_ssize_t>LANES, m - i), transposed + k * STRIP + i, STRIP,
                      min(<Py_ssize_t>LANES, layer.d_out - k))
            k += LANES
        top = v_load(transposed + i)
        for k in range(1, layer.d_out):
            top = v_max(top, v_load(transposed + k * STRIP + i))
        total = v_set(0)
        for k in range(layer.d_out):
            e = exp_minus_abs(v_load(transposed + k * STRIP + i) - top)
            v_store(transposed + k * STRIP + i, e)
            total = total + e
        v_store(tops + i, top)
        v_store(sums + i, total)
        share = v_load(weights + i) / total
        for k in range(layer.d_out):
            t = transposed + k * STRIP + i
            v_store(t, v_load(t) * share)
        k = 0
        while k < layer.d_out:
            transpose(transposed + k * STRIP + i, STRIP, min(<Py_ssize_t>LANES, layer.d_out - k),
                      layer.delta + (low + i) * layer.line + k, layer.line,
                      min(<Py_ssize_t>LANES, m - i))
            k += LANES
        i += LANES
    for i in range(m):
        layer.delta[(low + i) * layer.line + codes[i]] -= weights[i]
        off = <double>tops[i] - right[i]
        # Within the bounds; and a product of so few sums does not overflow.
        if weights[i] == 1 and 0 <= off < 8 and 1 < sums[i] < 1000:
            product *= sums[i]
            loss += off
        else:
            loss += weights[i] * bounded(log(<double>sums[i]) + off)
    return loss + log(product)


cdef inline double logistic_row(
    int loss, Net *net, Layer *layer, const real *z, const real *y, real *g, real weight,
) noexcept nogil:
    cdef Py_ssize_t j = 0
    cdef vreal total = v_set(0), s, c, d, low, high
    low, high = v_set(<real>bounded(0)), v_set(<real>bounded(100))
    while j < layer.width:
        s = v_load(net.is_output + j) * v_set(weight)
        cost(loss, v_load(z + j), v_load(y + j), v_set(1), &c, &d)
        if loss == LOSS_LOG_LOSS:
            c = v_max(low, v_min(high, c))
        v_store(g + j, d * s)
        total = total + c * s
        j += LANES
    return v_sum(total)


cdef double identity_row(
    Layer *layer, const real *z, const real *y, real *g, real weight
) noexcept nogil:
    """The mean of the outputs' squared errors, halved; the gradient is that of their sum."""
    cdef Py_ssize_t j
    cdef double total = 0
    cdef real residual
    for j in range(layer.d_out):
        residual = z[j] - y[j]
        g[j] = residual * weight
        total += <double>residual * residual
    return weight * total / (2 * layer.d_out)


cdef double exponential_row(
    Layer *layer, const real *z, const real *y, real *g, real weight
) noexcept nogil:
    """Half the Poisson deviance."""
    cdef Py_ssize_t j
    cdef double total = 0, mean
    for j in range(layer.d_out):
        mean = exp(<double>z[j])
        g[j] = <real>(mean - y[j]) * weight
        total += mean - y[j] - y[j] * <double>z[j]
        if y[j] != 0:
            total += y[j] * log(<double>y[j])
    return weight * total


cdef double output_row(
    Net *net, Layer *layer, real *z, const real *y, real *g, real weight
) noexcept nogil:
    if net.output == OUTPUT_LOGISTIC:
        return logistic_row(LOSS_LOG_LOSS, net, layer, z, y, g, weight)
    if net.output == OUTPUT_LOGISTIC_SQUARED:
        return logistic_row(LOSS_SQUARED_ERROR, net, layer, z, y, g, weight)
    if net.output == OUTPUT_IDENTITY:
        return identity_row(layer, z, y, g, weight)
    return exponential_row(layer, z, y, g, weight)


cdef void answer_row(Net *net, Layer *layer, real *z) noexcept nogil:
    """Scores of the last layer become its answers, in place."""
    cdef Py_ssize_t j
    cdef real top = z[0]
    cdef double total = 0
    cdef vreal t, e, large
    if net.output == OUTPUT_SOFTMAX:
        for j in range(layer.d_out):
            top = max(top, z[j])
        for j in range(layer.d_out):
            total += exp(<double>(z[j] - top))
        for j in range(layer.d_out):
            z[j] = <real>(exp(<double>(z[j] - top)) / total)
    elif net.output == OUTPUT_LOGISTIC or net.output == OUTPUT_LOGISTIC_SQUARED:
        j = 0
        while j < layer.width:
            t = v_load(z + j)
            e = exp_minus_abs(t)
            large = v_set(1) / (v_set(1) + e)
            v_store(z + j, v_where_negative(t, e * large, large))
            j += LANES
    elif net.output == OUTPUT_EXPONENTIAL:
        for j in range(layer.d_out):
            z[j] = <real>exp(<double>z[j])


# --------------------------------------------------------------------- rows through the layers

cdef void read_row(Net *net, Py_ssize_t row, real *target) noexcept nogil:
    cdef Rows *x = &net.x
    cdef const real *source
    cdef int64_t i, start, stop
    if x.layout == ROWS:
        # At least a register, and the last one overlaps: short rows are most of the work of
        # small networks.
        source, i = <const real *>(x.base + row * x.row_stride), 0
        while i + LANES <= x.d:
            v_store(target + i, v_load(source + i))
            i += LANES
        if i < x.d:
            v_store(target + x.d - LANES, v_load(source + x.d - LANES))
        return
    if x.layout != SPARSE:
        convert(target, x.base + row * x.row_stride, x.d, x.column_stride, x.kind)
        return
    memset(target, 0, x.d * REAL_SIZE)
    if x.index_size == 4:
        start, stop = (<int32_t *>x.indptr)[row], (<int32_t *>x.indptr)[row + 1]
        for i in range(start, stop):
            target[(<int32_t *>x.indices)[i]] += x.values[i]
    else:
        start, stop = (<int64_t *>x.indptr)[row], (<int64_t *>x.indptr)[row + 1]
        for i in range(start, stop):
            target[(<int64_t *>x.indices)[i]] += x.values[i]


cdef inline Py_ssize_t rows_at_once(Py_ssize_t width, Py_ssize_t rows) noexcept nogil:
    """A panel alone is taken through all rows; several are taken strip by strip."""
    return rows if width <= TILE_WIDTH else min(<Py_ssize_t>STRIP, rows)


cdef void forward(
    Net *net, Py_ssize_t low, Py_ssize_t high, int64_t thread
) noexcept nogil:
    """Rows that were read, through all layers, to the scores of the last one.

    What an interrupt leaves undone is for the caller to drop.
    """
    cdef Py_ssize_t layer_, column, width, i, m
    cdef Layer *layer
    cdef const real *panel
    for layer_ in range(net.n_layers):
        layer = &net.layers[layer_]
        i = low
        while i < high:
            m = rows_at_once(layer.width, high - i)
            column = 0
            while column < layer.width:
                width = min(<Py_ssize_t>TILE_WIDTH, layer.width - column)
                panel = layer.weights + column * (layer.d_in + 1)
                rows_product(m, <int>(width // LANES), layer.d_in,
                             layer.input + i * layer.input_line, layer.input_line, panel, width,
                             panel + layer.d_in * width, layer.output + i * layer.line + column,
                             layer.line)
                column += width
            if layer_ + 1 < net.n_layers:
                hidden_rows(net.hidden, False, layer, i, i + m)
            i += m
            if check_signals(net.team, thread, m * layer.d_in * layer.d_out // PRODUCTS_PER_ELEMENT):
                return


cdef void backward(
    Net *net, Py_ssize_t low, Py_ssize_t high, int64_t thread
) noexcept nogil:
    """Errors of the last layer's scores, back to those of the first; interrupted as `forward`."""
    cdef Py_ssize_t layer_, column, width, i, m
    cdef Layer *layer
    cdef Layer *below
    for layer_ in range(net.n_layers - 1, 0, -1):
        layer, below = &net.layers[layer_], &net.layers[layer_ - 1]
        i = low
        while i < high:
            m = rows_at_once(below.width, high - i)
            column = 0
            while column < below.width:
                width = min(<Py_ssize_t>TILE_WIDTH, below.width - column)
                rows_product(m, <int>(width // LANES), layer.d_out,
                             layer.delta + i * layer.line, layer.line,
                             layer.transposed + column * layer.d_out, width, NULL,
                             below.delta + i * below.line + column, below.line)
                column += width
            hidden_rows(net.hidden, True, below, i, i + m)
            i += m
            if check_signals(net.team, thread, m * layer.d_in * layer.d_out // PRODUCTS_PER_ELEMENT):
                return


cdef void rows_chunk(void *job, int64_t thread, Py_ssize_t chunk) noexcept nogil:
    """A chunk of a part's rows: their losses and errors."""
    cdef Net *net = <Net *>job
    cdef const int32_t *order = net.order
    cdef Py_ssize_t first = net.first, low = chunk_start(net.n_rows, chunk, net.n_chunks)
    cdef Py_ssize_t high = chunk_start(net.n_rows, chunk + 1, net.n_chunks)
    cdef Py_ssize_t i, m, row, strip = low
    cdef Layer *last = &net.layers[net.n_layers - 1]
    cdef real weight = 1
    cdef real *y
    cdef double loss
    read_rows(net, order, first, low, high)
    forward(net, low, high, thread)
    while strip < high:
        m = min(<Py_ssize_t>STRIP, high - strip)
        loss = 0
        if net.output == OUTPUT_SOFTMAX:
            loss = softmax_strip(net, last, net.transposed + thread * STRIP * last.d_out, order,
                                 first, strip, m)
        elif last.d_out == 1 and net.output == OUTPUT_LOGISTIC:
            loss = single_strip(LOSS_LOG_LOSS, net, last, order, first, strip, m)
        elif last.d_out == 1 and net.output == OUTPUT_LOGISTIC_SQUARED:
            loss = single_strip(LOSS_SQUARED_ERROR, net, last, order, first, strip, m)
        else:
            for i in range(strip, strip + m):
                row = row_at(order, first + i)
                y = net.outputs + i * last.line
                read_target(net, last, row, y)
                if net.targets.weights != NULL:
                    weight = net.targets.weights[row]
                loss += output_row(net, last, last.output + i * last.line, y,
                                   last.delta + i * last.line, weight)
        net.losses[strip // STRIP] = loss
        strip += m
    if net.with_errors:
        backward(net, low, high, thread)


# --------------------------------------------------------------------- gradient and step

cdef inline void step_loop(
    int solver, Net *net, Layer *layer, Step *step, bint intercepts, Py_ssize_t place,
    Py_ssize_t length, const real *tile, vreal *squares, int64_t thread,
) noexcept nogil:
    """Move registers of parameters against their gradient, summed in `tile`."""
    cdef Py_ssize_t i = 0
    cdef real *w = layer.weights + place
    cdef real *a = layer.first + place
    cdef real *b = layer.second + place
    cdef vreal share = v_set(<real>step.share), rate = v_set(<real>step.rate)
    cdef vreal l2 = v_set(0 if intercepts else <real>net.l2)
    cdef vreal momentum = v_set(<real>net.momentum), epsilon = v_set(<real>net.epsilon)
    cdef vreal beta_1 = v_set(<real>net.beta_1), rest_1 = v_set(<real>(1 - net.beta_1))
    cdef vreal beta_2 = v_set(<real>net.beta_2), rest_2 = v_set(<real>(1 - net.beta_2))
    cdef vreal zero = v_set(0), largest = zero, nonfinite = zero, g, v, t, x
    # In turns, for one chain of sums takes longer than all the rest.
    cdef vreal sum_ = squares[0], other = zero
    cdef bint squared = net.l2 != 0 and not intercepts
    while i < length:
        x = v_load(w + i)
        g = (v_load(tile + i) + l2 * x) * share
        if solver == SOLVER_ADAM:
            v = beta_1 * v_load(a + i) + rest_1 * g
            t = beta_2 * v_load(b + i) + rest_2 * g * g
            v_store(a + i, v)
            v_store(b + i, t)
            x = x - rate * v / (v_sqrt(t) + epsilon)
        else:
            v = momentum * v_load(a + i) - rate * g
            v_store(a + i, v)
            if solver == SOLVER_NESTEROV:
                v = momentum * v - rate * g
            x = x + v
        v_store(w + i, x)
        if squared:
            t = sum_ + x * x
            sum_ = other
            other = t
        if step.measure:
            largest = v_max(largest, v_abs(g))
            nonfinite = nonfinite + (x + g) * zero
        i += LANES
    squares[0] = sum_ + other
    if step.measure:
        net.norms[thread] = max(net.norms[thread], <double>v_max_lane(largest))
        net.nonfinite[thread] += v_sum(nonfinite)


cdef void take_tile(
    Net *net, Layer *layer, Step *step, bint intercepts, Py_ssize_t place, Py_ssize_t length,
    real *tile, bint begins, bint ends, vreal *squares, int64_t thread,
) noexcept nogil:
    """Add a tile of gradient to those of the batch's earlier parts, or take the step."""
    cdef Py_ssize_t i
    cdef double *sums
    if layer.gradient != NULL:
        sums = layer.gradient + place
        if begins:
            for i in range(length):
                sums[i] = tile[i]
        else:
            for i in range(length):
                sums[i] += tile[i]
    if not ends:
        return
    if layer.gradient != NULL:
        for i in range(length):
            tile[i] = <real>sums[i]
    if net.solver == SOLVER_ADAM:
        step_loop(SOLVER_ADAM, net, layer, step, intercepts, place, length, tile, squares, thread)
    elif net.solver == SOLVER_NESTEROV:
        step_loop(SOLVER_NESTEROV, net, layer, step, intercepts, place, length, tile, squares,
                  thread)
    else:
        step_loop(SOLVER_MOMENTUM, net, layer, step, intercepts, place, length, tile, squares,
                  thread)


cdef void transpose_weights(
    Layer *layer, Py_ssize_t low, Py_ssize_t high, Py_ssize_t column, Py_ssize_t width
) noexcept nogil:
    """Copy lines low to high of a panel into the panels of the transposed weights."""
    cdef Py_ssize_t i = low, k, start, transposed_width
    cdef const real *lines = layer.weights + column * (layer.d_in + 1)
    while i < high:
        start = i // TILE_WIDTH * TILE_WIDTH
        transposed_width = min(<Py_ssize_t>TILE_WIDTH, round_up(layer.d_in, LANES) - start)
        k = 0
        while k < width:
            transpose(lines + i * width + k, width, min(<Py_ssize_t>LANES, high - i),
                      layer.transposed + start * layer.d_out + (column + k) * transposed_width
                      + i - start, transposed_width,
                      min(<Py_ssize_t>LANES, layer.d_out - column - k))
            k += LANES
        i += LANES


cdef inline void prefetch_vectors(const real *place, Py_ssize_t length) noexcept nogil:
    """Prefetch what a step will change while its gradient is summed: with two large layers the
    parameters of one core fill more than its L2 cache."""
    cdef Py_ssize_t i = 0
    while i < length:
        prefetch(place + i)
        i += CACHE_LINE // REAL_SIZE


cdef struct Ahead:
    # The member's rows of the next part, to be fetched while this one's gradient is summed: in
    # random order waiting for them took a ninth of an epoch of 784-100-10.
    const int32_t *order
    Py_ssize_t low
    Py_ssize_t high


cdef inline char *next_row(Net *net, Ahead *ahead) noexcept nogil:
    """A row to be fetched, or NULL."""
    if ahead.low >= ahead.high or net.x.layout != ROWS:
        return NULL
    ahead.low += 1
    return <char *>net.x.base + row_at(ahead.order, ahead.low - 1) * net.x.row_stride


cdef void lines_chunk(void *job, int64_t thread, Py_ssize_t chunk) noexcept nogil:
    """The gradient of a part's rows for a chunk of each layer's lines, and the step."""
    cdef Net *net = <Net *>job
    cdef Step *step = &net.step
    cdef Py_ssize_t rows = net.n_rows
    cdef bint begins = net.begins, ends = net.ends
    cdef Ahead ahead
    cdef Py_ssize_t layer_, i, m, high, column, width, place, prefetch_step
    cdef Layer *layer
    cdef real *tile = net.tiles + thread * STRIP * TILE_WIDTH
    cdef const char *prefetch_along
    cdef vreal squares
    ahead.order = net.order
    ahead.low = net.first + rows + chunk_start(net.n_next, chunk, net.n_chunks)
    ahead.high = net.first + rows + chunk_start(net.n_next, chunk + 1, net.n_chunks)
    for layer_ in range(net.n_layers):
        layer = &net.layers[layer_]
        i = chunk_start(layer.d_in, chunk, net.n_chunks)
        high = chunk_start(layer.d_in, chunk + 1, net.n_chunks)
        while i < high:
            m = min(<Py_ssize_t>STRIP, layer.d_in - i)
            squares = v_set(0)
            column = 0
            while column < layer.width:
                width = min(<Py_ssize_t>TILE_WIDTH, layer.width - column)
                place = column * (layer.d_in + 1) + i * width
                if ends:
                    prefetch_vectors(layer.weights + place, m * width)
                    prefetch_vectors(layer.first + place, m * width)
                    if net.solver == SOLVER_ADAM:
                        prefetch_vectors(layer.second + place, m * width)
                # With the first panel the next strip's inputs are fetched, which are far apart.
                prefetch_along = NULL if column == 0 else next_row(net, &ahead)
                prefetch_step = max(1, (net.x.d * REAL_SIZE + rows - 1) // rows)
                if prefetch_along == NULL:
                    prefetch_along = <const char *>(layer.input + i + STRIP)
                    prefetch_step = layer.input_line * REAL_SIZE
                columns_product(m, <int>(width // LANES), rows, layer.input + i,
                                layer.input_line, layer.delta + column, layer.line, tile, width,
                                prefetch_along, prefetch_step)
                take_tile(net, layer, step, False, place, m * width, tile, begins, ends,
                          &squares, thread)
                if ends and layer.transposed != NULL:
                    transpose_weights(layer, i, i + m, column, width)
                column += width
            if ends:
                layer.squares[i // STRIP] = v_sum(squares)
            i += m
        if chunk + 1 < net.n_chunks:
            continue
        column = 0
        while column < layer.width:
            width = min(<Py_ssize_t>TILE_WIDTH, layer.width - column)
            line_sums(<int>(width // LANES), rows, layer.delta + column, layer.line, tile)
            place = column * (layer.d_in + 1) + layer.d_in * width
            take_tile(net, layer, step, True, place, width, tile, begins, ends, &squares, thread)
            column += width


cdef double squares_of(Net *net) noexcept nogil:
    cdef Py_ssize_t layer_, s
    cdef double total = 0
    for layer_ in range(net.n_layers):
        for s in range(strips_of(net.layers[layer_].d_in)):
            total += net.layers[layer_].squares[s]
    return total


cdef int batch(
    Net *net, Py_ssize_t n, Py_ssize_t start, Py_ssize_t stop, bint take_step, double *loss
) noexcept nogil:
    """One batch of the n rows of `net.order`, and its mean loss without penalty.

    Returns a status. Without a step the gradient is left in the layers' sums, and where they have
    none, only the loss is computed.
    """
    cdef Py_ssize_t parts = (stop - start + net.part - 1) // net.part
    cdef Py_ssize_t size = round_up((stop - start + parts - 1) // parts, STRIP)
    cdef Py_ssize_t first = start, i
    cdef double weight = stop - start, value = 0
    net.with_errors = take_step or net.layers[0].gradient != NULL
    net.n_chunks = CHUNKS_PER_THREAD * net.team.n_threads if net.team.n_threads > 1 else 1
    if net.targets.weights != NULL:
        weight = 0
        for i in range(start, stop):
            weight += net.targets.weights[row_at(net.order, i)]
    # A batch that weighs nothing teaches nothing.
    net.step.share = 1 / weight if weight > 0 else 0
    while first < stop:
        net.first, net.n_rows = first, min(size, stop - first)
        run_chunks(net.team, rows_chunk, net, net.n_chunks)
        check_signals(net.team, 0, net.n_rows * net.products // PRODUCTS_PER_ELEMENT)
        if net.team.interrupted:
            return INTERRUPTED
        for i in range(strips_of(net.n_rows)):
            value += net.losses[i]
        if net.with_errors:
            net.n_next = min(net.n_rows, n - (first + net.n_rows))
            net.begins = first == start
            net.ends = take_step and first + net.n_rows == stop
            run_chunks(net.team, lines_chunk, net, net.n_chunks)
        first += net.n_rows
    loss[0] = value * net.step.share
    return STATUS_RAN if isfinite(value) else STATUS_NONFINITE


cdef int train(
    Net *net, Py_ssize_t n, const double *rates, double *history, Py_ssize_t epochs
) noexcept nogil:
    """Up to `epochs` epochs; returns a status."""
    cdef Py_ssize_t epoch, start, stop
    cdef int64_t thread
    cdef int status
    cdef double steps = net.counters[COUNTER_STEPS], total, penalty, loss = 0, norm, nonfinite
    for epoch in range(epochs):
        total = penalty = 0
        start = 0
        while start < n:
            stop = min(start + net.batch_size, n)
            steps += 1
            net.step.rate = rates[epoch]
            if net.solver == SOLVER_ADAM:
                net.step.rate *= sqrt(1 - net.beta_2 ** steps) / (1 - net.beta_1 ** steps)
            net.step.measure = stop == n
            if net.l2 != 0:
                penalty = net.l2 / 2 * squares_of(net)
            for thread in range(net.team.n_threads):
                net.norms[thread] = net.nonfinite[thread] = 0
            status = batch(net, n, start, stop, True, &loss)
            if status != STATUS_RAN:
                return status
            total += (loss + penalty * net.step.share) * (stop - start) / n
            start = stop
        norm = nonfinite = 0
        for thread in range(net.team.n_threads):
            norm = max(norm, net.norms[thread])
            nonfinite += net.nonfinite[thread]
        history[3 * epoch] = total
        history[3 * epoch + 1] = norm
        history[3 * epoch + 2] = rates[epoch]
        if not isfinite(nonfinite):
            return STATUS_NONFINITE
        net.counters[COUNTER_EPOCHS] = epoch + 1
        net.counters[COUNTER_STEPS] = steps
        if net.order != NULL:
            net.order += n
    return STATUS_RAN


# --------------------------------------------------------------------- prediction

cdef void predict_chunk(void *job, int64_t thread, Py_ssize_t chunk) noexcept nogil:
    """Rows of a part, in the thread's own place of the scratch."""
    cdef Net *net = <Net *>job
    cdef Layer *last = &net.layers[net.n_layers - 1]
    cdef Py_ssize_t first = chunk * net.part, i, place = thread * net.part
    cdef Py_ssize_t m = min(net.part, net.n_rows - first)
    cdef real *z
    read_rows(net, NULL, first - place, place, place + m)
    forward(net, place, place + m, thread)
    if atomic_read(&net.team.interrupted):
        return
    for i in range(m):
        z = last.output + (place + i) * last.line
        answer_row(net, last, z)
        memcpy(net.predicted + (first + i) * last.d_out, z, last.d_out * REAL_SIZE)


# --------------------------------------------------------------------- calls

cdef class NetworkJob(Job):
    """One call's network, in panels, with its scratch."""

    cdef Net net
    cdef real *reals
    cdef double *doubles
    cdef object order_
    cdef Py_ssize_t n

    def __cinit__(self):
        memset(&self.net, 0, sizeof(Net))
        self.reals = NULL
        self.doubles = NULL

    def __dealloc__(self):
        free(self.reals)
        free(self.doubles)
        free(self.net.layers)

    cdef int build(
        self, Matrix X, network, const real[::1] theta, Py_ssize_t n_threads, Py_ssize_t most,
        int slots, bint sums, bint errors,
    ) except -1:
        """Lay out the memory and bring the parameters into panels.

        Parameters
        ----------
        most : rows of the largest batch
        slots : the optimiser's arrays; 0 where no steps are taken
        sums : whether gradients are wanted
        errors : whether anything but the scores is
        """
        cdef Net *net = &self.net
        cdef Layer *layer
        cdef Py_ssize_t i, n_reals, n_doubles, transposed, widest, scratch_rows
        cdef real *free_
        cdef double *free_doubles
        units = network.units
        net.x = X.rows
        net.hidden, net.output = network.hidden, network.output
        net.n_layers = len(units) - 1
        net.layers = <Layer *>reserve(net.n_layers, sizeof(Layer), "layers", True)
        self.form_team(n_threads)
        net.team = &self.team
        widest = max(units)
        # Very wide rows are taken by fewer: 32 MiB of them at the most, and a strip at least.
        net.part = clamp(STRIP, (1 << 25) // (widest * REAL_SIZE), NETWORK_ROWS)
        net.part = round_up(min(most, net.part), STRIP)
        sums = sums or (slots > 0 and most > net.part)
        # Errors are of a part that threads share; of others each thread has its own.
        scratch_rows = net.part if errors else n_threads * net.part
        # Twice: the first time to count.
        free_ = NULL
        free_doubles = NULL
        for i in range(2):
            n_reals = n_doubles = 0
            net.layers[0].input_line = spread_line(net.x.d)
            self.cut(&net.rows, free_, scratch_rows * net.layers[0].input_line, &n_reals)
            for layer_ in range(net.n_layers):
                layer = &net.layers[layer_]
                layer.d_in, layer.d_out = units[layer_], units[layer_ + 1]
                layer.width = round_up(layer.d_out, LANES)
                layer.size = (layer.d_in + 1) * layer.width
                layer.line = spread_line(layer.width)
                if layer_ > 0:
                    layer.input_line = net.layers[layer_ - 1].line
                self.cut(&layer.weights, free_, layer.size, &n_reals)
                self.cut(&layer.output, free_, scratch_rows * layer.line, &n_reals)
                if errors:
                    self.cut(&layer.delta, free_, net.part * layer.line, &n_reals)
                    if layer_ > 0:
                        transposed = layer.d_out * round_up(layer.d_in, LANES)
                        self.cut(&layer.transposed, free_, transposed, &n_reals)
                # The configs touch only the arrays that they have.
                if slots > 0:
                    self.cut(&layer.first, free_, layer.size, &n_reals)
                if slots > 1:
                    self.cut(&layer.second, free_, layer.size, &n_reals)
                if free_doubles != NULL:
                    layer.squares = free_doubles + n_doubles
                    if sums:
                        layer.gradient = layer.squares + strips_of(layer.d_in)
                n_doubles += strips_of(layer.d_in) + (layer.size if sums else 0)
            layer = &net.layers[net.n_layers - 1]
            self.cut(&net.is_output, free_, layer.width, &n_reals)
            if errors:
                self.cut(&net.outputs, free_, net.part * layer.line, &n_reals)
                self.cut(&net.transposed, free_, n_threads * STRIP * layer.d_out, &n_reals)
                self.cut(&net.tiles, free_, n_threads * STRIP * TILE_WIDTH, &n_reals)
            if free_doubles != NULL:
                net.losses = free_doubles + n_doubles
                net.norms = net.losses + net.part // STRIP
                net.nonfinite = net.norms + n_threads
            n_doubles += net.part // STRIP + 2 * n_threads
            if i == 0:
                what = f"a network of {net.part} rows through layers of {units}"
                self.reals = <real *>reserve(n_reals + 64, REAL_SIZE, what, True)
                self.doubles = <double *>reserve(n_doubles, sizeof(double), what, True)
                free_ = from_cache_line(self.reals)
                free_doubles = self.doubles
        for layer_ in range(net.n_layers):
            layer = &net.layers[layer_]
            layer.input = net.rows if layer_ == 0 else net.layers[layer_ - 1].output
            net.products += layer.d_in * layer.d_out
        for i in range(layer.d_out):
            net.is_output[i] = 1
        self.copy_weights(theta)
        # Of a large network that alone takes a while.
        if PyErr_CheckSignals() != 0:
            raise_pending()
        return 0

    cdef int cut(
        self, real **place, real *free_, Py_ssize_t count, Py_ssize_t *taken
    ) except -1:
        """Give an array its place, on a cache line of its own."""
        if free_ != NULL:
            place[0] = free_ + taken[0]
        taken[0] += round_up(count, 64 // REAL_SIZE)
        return 0

    cdef void between_flat(self, real *flat, int which, bint into, double scale=1) noexcept:
        """Copy parameters or what is laid out like them: 0 weights, 1 and 2 the optimiser's
        arrays; into the panels or out of them. 3: `scale` times the gradient, out of them."""
        cdef Layer *layer
        cdef Py_ssize_t layer_, i, j, count, place, width, column
        cdef real *array
        cdef bint intercepts
        for intercepts in range(2):
            for layer_ in range(self.net.n_layers):
                layer = &self.net.layers[layer_]
                array = (layer.weights if which == 0 else layer.first if which == 1
                         else layer.second)
                for i in range(layer.d_in if intercepts else 0,
                               layer.d_in + 1 if intercepts else layer.d_in):
                    column = 0
                    while column < layer.d_out:
                        width = min(<Py_ssize_t>TILE_WIDTH, layer.width - column)
                        place = column * (layer.d_in + 1) + i * width
                        count = min(width, layer.d_out - column)
                        if which == 3:
                            for j in range(count):
                                flat[j] = <real>(layer.gradient[place + j] * scale)
                        elif into:
                            memcpy(array + place, flat, count * REAL_SIZE)
                        else:
                            memcpy(flat, array + place, count * REAL_SIZE)
                        flat += count
                        column += width

    cdef void copy_weights(self, const real[::1] theta) noexcept:
        """Into the panels, with what depends on the weights."""
        cdef Layer *layer
        cdef Py_ssize_t layer_, i, m, column, width, r
        cdef const real *lines
        cdef vreal squares, other, t
        self.between_flat(<real *>&theta[0], 0, True)
        for layer_ in range(self.net.n_layers):
            layer = &self.net.layers[layer_]
            i = 0
            while i < layer.d_in:
                m = min(<Py_ssize_t>STRIP, layer.d_in - i)
                # The sums are `step_loop`'s.
                squares = other = v_set(0)
                column = 0
                while column < layer.width:
                    width = min(<Py_ssize_t>TILE_WIDTH, layer.width - column)
                    lines = layer.weights + column * (layer.d_in + 1) + i * width
                    r = 0
                    while r < m * width:
                        t = squares + v_load(lines + r) * v_load(lines + r)
                        squares = other
                        other = t
                        r += LANES
                    squares = squares + other
                    other = v_set(0)
                    if layer.transposed != NULL:
                        transpose_weights(layer, i, i + m, column, width)
                    column += width
                layer.squares[i // STRIP] = v_sum(squares)
                i += m


cdef class NetworkDescent(NetworkJob):
    """A call of `network_epochs`."""

    cdef double[:, ::1] history
    cdef const double[::1] rates
    cdef double[::1] counters
    cdef real[::1] theta
    cdef real[:, ::1] slots

    def __init__(self, data, network, state, config, const double[::1] rates, order,
                 double[:, ::1] history, n_threads):
        cdef Net *net = &self.net
        cdef const int32_t[:, ::1] rows
        cdef int s
        self.theta, self.slots, self.counters = state.theta, state.slots, state.counters
        self.history, self.rates = history, rates
        self.n = (<Matrix>data.X).rows.n
        if order is not None and order.size:
            rows = order
            self.order_ = order
            net.order = &rows[0, 0]
            self.n = rows.shape[1]
        self.build(data.X, network, self.theta, n_threads, min(config.batch_size, self.n),
                   self.slots.shape[0], False, True)
        self.keep = data
        bind_targets(&self.net.targets, self.net.layers[self.net.n_layers - 1].d_out, data.y,
                     data.sample_weight)
        for s in range(self.slots.shape[0]):
            self.between_flat(&self.slots[s, 0], s + 1, True)
        net.solver, net.batch_size = config.solver, config.batch_size
        net.momentum, net.l2 = config.momentum, config.l2
        net.beta_1, net.beta_2, net.epsilon = config.beta_1, config.beta_2, config.epsilon
        net.counters = &self.counters[0]
        self.counters[COUNTER_EPOCHS] = 0

    def lead(self):
        cdef int s, status = STATUS_RAN
        if self.history.shape[0]:
            with nogil:
                status = train(&self.net, self.n, &self.rates[0], &self.history[0, 0],
                               self.history.shape[0])
        self.between_flat(&self.theta[0], 0, False)
        for s in range(self.slots.shape[0]):
            self.between_flat(&self.slots[s, 0], s + 1, False)
        raise_if_interrupted(&self.team)
        return int(self.counters[COUNTER_EPOCHS]), status


cdef class NetworkGradient(NetworkJob):
    """A call of `network_gradient`."""

    cdef real[::1] grad
    cdef const real[::1] theta
    cdef double scale

    def __init__(self, data, network, const real[::1] theta, grad, n_threads):
        self.theta, self.scale = theta, data.scale
        self.n = (<Matrix>data.X).rows.n
        self.build(data.X, network, theta, n_threads, self.n, 0, grad is not None, True)
        if grad is not None:
            self.grad = grad
        self.keep = data
        bind_targets(&self.net.targets, self.net.layers[self.net.n_layers - 1].d_out, data.y,
                     data.sample_weight)

    def lead(self):
        cdef double value = 0
        with nogil:
            batch(&self.net, self.n, 0, self.n, False, &value)
        raise_if_interrupted(&self.team)
        if self.net.layers[0].gradient != NULL:
            self.between_flat(&self.grad[0], 3, False, self.scale)
        return value


cdef class NetworkPrediction(NetworkJob):
    """A call of `network_predict`."""

    cdef real[:, ::1] out

    def __init__(self, Matrix X, network, const real[::1] theta, real[:, ::1] out, n_threads):
        self.n, self.out, self.keep = X.rows.n, out, X
        self.build(X, network, theta, n_threads, self.n, 0, False, False)
        self.net.n_rows, self.net.predicted = self.n, &out[0, 0]

    def lead(self):
        with nogil:
            run_chunks(&self.team, predict_chunk, &self.net,
                       (self.n + self.net.part - 1) // self.net.part)
        raise_if_interrupted(&self.team)


def shuffle(capsule, const int32_t[::1] order, int32_t[:, ::1] out):
    """See the contract; the bits of NumPy's `RandomState.shuffle` are used up alike."""
    cdef Generator *generator = <Generator *>PyCapsule_GetPointer(capsule, b"BitGenerator")
    cdef Py_ssize_t epoch, i, j, fits, n = out.shape[1]
    cdef uint32_t mask
    cdef const int32_t *before = &order[0]
    cdef int32_t *row
    cdef int32_t kept
    cdef Team alone
    memset(&alone, 0, sizeof(Team))
    with nogil:
        for epoch in range(out.shape[0]):
            row = &out[epoch, 0]
            memcpy(row, before, n * sizeof(int32_t))
            mask = 1
            while mask < n - 1:
                mask = 2 * mask + 1
            i = n - 1
            while i > 0:
                # Numbers of as few bits as hold i, drawn until one is not larger. A branch on
                # that would be guessed wrongly every third time: an entry is swapped with
                # itself instead.
                while mask >> 1 >= i:
                    mask >>= 1
                j = generator.next_uint32(generator.state) & mask
                fits = j <= i
                j = i - ((i - j) & -fits)
                kept = row[j]
                row[j] = row[i]
                row[i] = kept
                i -= fits
                if check_signals(&alone, 0, ELEMENTS_PER_DRAW):
                    break
            if alone.interrupted:
                break
            before = row
    raise_if_interrupted(&alone)


def multiply_add(Py_ssize_t repeats, real factor=<real>0.5):
    """Run independent chains of multiplications and additions; returns how many of both."""
    cdef real total
    with nogil:
        total = multiply_add_chains(repeats, factor)
    # Looking at the sum keeps the compiler from leaving it out.
    return repeats * CHAINS * LANES * 2 if isfinite(total) else 0
