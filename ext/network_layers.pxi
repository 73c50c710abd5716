# Networks: layers in packed panels, and rows through them, forward and backward.
# The section "Networks" of docs/internals/kernels.md has the picture.

cdef enum:
    # Rows of a part of a batch: with their activations and errors they stay in the L2 cache for
    # layers of some hundreds of neurons.
    PART_ROWS = 256
    PART_BYTES = 1 << 25    # of the widest layer's rows, at the most
    ROW_BLOCK = MAX_LANES   # whole registers of both types
    PRODUCTS_PER_ELEMENT = 20   # that take as long as an element of a neuron's pass


cdef struct Layer:
    Py_ssize_t d_in
    Py_ssize_t d_out
    Py_ssize_t width         # d_out in whole registers
    Py_ssize_t size          # reals in all panels
    Py_ssize_t stride        # reals from row to row of output and delta
    Py_ssize_t input_stride
    const real *input        # the output of the layer below, or the rows read
    real *output             # (rows, stride): scores, then activations
    real *delta              # (rows, stride): derivative of the loss by the scores
    real *weights            # packed panels
    real *transposed         # panels of the transposed weights, for the layers above the first
    real *first              # the optimiser's arrays
    real *second
    double *sums             # the gradient, once for each chunk of parts
    double *squares          # of the weights, for each row block of the panels


cdef struct Step:
    double rate              # adam: with its corrections
    double scale             # 1 / sum of the batch's weights
    bint measure             # whether the norm of the gradient is wanted


cdef enum Gradients:
    OF_ROWS                 # of a part: added to the sums
    OF_ROWS_AND_STEP        # of the only part: the step is taken while a tile is in the cache
    OF_SUMS                 # of all chunks: the step is taken, or the sum is left in the first


cdef struct Batch:
    Py_ssize_t n             # rows of the epoch
    Py_ssize_t start
    Py_ssize_t stop
    Py_ssize_t n_parts
    Py_ssize_t rows          # of a part
    Py_ssize_t first         # of the part that threads share
    Py_ssize_t n_rows
    Py_ssize_t n_chunks      # of the task under way
    Py_ssize_t n_sums        # chunks that have sums of their own
    bint with_errors
    bint take_step
    Gradients gradients


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
    Py_ssize_t size          # reals in the panels of all layers
    Py_ssize_t n_reals       # of the memory
    Py_ssize_t n_doubles
    real *rows
    real *outputs            # (rows, stride of the last layer): targets
    real *is_output          # 1 for each output, 0 for what fills the last register
    double *losses           # for each row block of the scratch
    double *part_losses      # for each chunk of parts
    bint own_parts           # a thread takes a part alone: its scratch is for each thread
    Py_ssize_t most_sums     # chunks of parts
    real *classes            # softmax: for each thread the scores of a row block, by classes
    real *tiles              # for each thread one
    double *norms            # for each thread one
    double *nonfinite        # NaN where a thread met a weight that is not finite
    # The batch under way (network_gradient.pxi).
    const int32_t *order
    Batch batch
    Step step
    # How a gradient becomes a step (network_epochs.pxi).
    int solver
    double momentum
    double beta_1
    double beta_2
    double epsilon
    double l2
    Py_ssize_t batch_size
    double *counters
    real *predicted


cdef inline Py_ssize_t row_blocks(Py_ssize_t count) noexcept nogil:
    return (count + ROW_BLOCK - 1) // ROW_BLOCK


cdef inline Py_ssize_t chunk_start(
    Py_ssize_t count, Py_ssize_t chunk, Py_ssize_t n_chunks
) noexcept nogil:
    """Where a chunk of whole row blocks begins."""
    return min(row_blocks(count) * chunk // n_chunks * ROW_BLOCK, count)


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


cdef inline inlined_void hidden_loop(
    int hidden, bint derivatives, Layer *layer, Py_ssize_t low, Py_ssize_t high
) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef real *a
    cdef real *g
    for i in range(low, high):
        a, g = layer.output + i * layer.stride, layer.delta + i * layer.stride
        j = 0
        while j < layer.width:
            if derivatives:
                v_store(g + j, hidden_derivative(hidden, v_load(a + j), v_load(g + j)))
            else:
                v_store(a + j, hidden_value(hidden, v_load(a + j)))
            j += LANES


cdef inline void hidden_rows(
    bint derivatives, int hidden, Layer *layer, Py_ssize_t low, Py_ssize_t high
) noexcept nogil:
    """Scores become activations, or errors of activations those of scores."""
    # The activation is a constant in each call, so the loops hold no branch on it.
    if hidden == HIDDEN_LOGISTIC:
        hidden_loop(HIDDEN_LOGISTIC, derivatives, layer, low, high)
    elif hidden == HIDDEN_TANH:
        hidden_loop(HIDDEN_TANH, derivatives, layer, low, high)
    elif hidden == HIDDEN_RELU:
        hidden_loop(HIDDEN_RELU, derivatives, layer, low, high)


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
    if row < x.narrow:
        # What the register has of the next row is never read.
        v_store(target, v_load(<const real *>(x.base + row * x.row_stride)))
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


cdef void read_rows(
    Net *net, const int32_t *order, Py_ssize_t first, Py_ssize_t low, Py_ssize_t high
) noexcept nogil:
    """Rows low to high of the scratch, which are those of the order `first` behind."""
    cdef Py_ssize_t i
    for i in range(low, high):
        read_row(net, row_at(order, first + i), net.rows + i * net.layers[0].input_stride)


cdef inline Py_ssize_t rows_at_once(Py_ssize_t width, Py_ssize_t rows) noexcept nogil:
    """A panel alone is taken through all rows; several are taken a row block at a time."""
    return rows if width <= TILE_WIDTH else min(<Py_ssize_t>ROW_BLOCK, rows)


cdef void forward(Net *net, Py_ssize_t low, Py_ssize_t high, int64_t thread) noexcept nogil:
    """Rows of the scratch through all layers; what an interrupt leaves undone is to be dropped."""
    cdef Py_ssize_t depth, column, i
    cdef Layer *layer
    cdef Product p
    for depth in range(net.n_layers):
        layer = &net.layers[depth]
        p.K, p.a_stride, p.c_stride = layer.d_in, layer.input_stride, layer.stride
        i = low
        while i < high:
            p.m = rows_at_once(layer.width, high - i)
            p.A = layer.input + i * layer.input_stride
            column = 0
            while column < layer.width:
                p.b_stride = min(<Py_ssize_t>TILE_WIDTH, layer.width - column)
                p.B = layer.weights + column * (layer.d_in + 1)
                p.start = p.B + layer.d_in * p.b_stride
                p.C = layer.output + i * layer.stride + column
                rows_product(<int>(p.b_stride // LANES), &p)
                column += p.b_stride
            if depth + 1 < net.n_layers:
                hidden_rows(False, net.hidden, layer, i, i + p.m)
            i += p.m
            if check_signals(net.team, thread,
                             p.m * layer.d_in * layer.d_out // PRODUCTS_PER_ELEMENT):
                return


cdef void backward(Net *net, Py_ssize_t low, Py_ssize_t high, int64_t thread) noexcept nogil:
    """Errors of the last layer's scores, back to those of the first; interrupted as `forward`."""
    cdef Py_ssize_t depth, column, i
    cdef Layer *layer
    cdef Layer *below
    cdef Product p
    p.start = NULL
    for depth in range(net.n_layers - 1, 0, -1):
        layer, below = &net.layers[depth], &net.layers[depth - 1]
        p.K, p.a_stride, p.c_stride = layer.d_out, layer.stride, below.stride
        i = low
        while i < high:
            p.m = rows_at_once(below.width, high - i)
            p.A = layer.delta + i * layer.stride
            column = 0
            while column < below.width:
                p.b_stride = min(<Py_ssize_t>TILE_WIDTH, below.width - column)
                p.B = layer.transposed + column * layer.d_out
                p.C = below.delta + i * below.stride + column
                rows_product(<int>(p.b_stride // LANES), &p)
                column += p.b_stride
            hidden_rows(True, net.hidden, below, i, i + p.m)
            i += p.m
            if check_signals(net.team, thread,
                             p.m * layer.d_in * layer.d_out // PRODUCTS_PER_ELEMENT):
                return
