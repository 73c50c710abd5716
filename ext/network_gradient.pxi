# Networks: the gradient of a batch, and the contract's `network_gradient`.

cdef enum:
    CHUNKS_PER_THREAD = 4   # of a task on a part, where there is more than one thread
    MAX_SUMS = 32           # chunks of the parts of a batch
    MIN_SUMS = 8            # that are worth it
    SUMS_BYTES = 1 << 25    # of all of them, at the most
    INTERRUPTED = -1        # beside the statuses
    SHARED_TILES = 1 << 17  # reals of sums, which alone take some 10 us


cdef struct Tiles:
    # Those of a layer's gradient that a chunk is to take, and what they are made of.
    Py_ssize_t chunk
    int64_t thread
    Py_ssize_t place        # of the first row in the scratch
    Py_ssize_t n_rows
    bint begins             # the sums, which have no value yet
    Py_ssize_t next_low     # rows of the order that are to be prefetched
    Py_ssize_t next_high
    bint intercepts
    vreal squares           # sums of those of the weights


cdef inline void prefetch_vectors(const real *place, Py_ssize_t length) noexcept nogil:
    """Prefetch what a step will change while its gradient is summed: with two large layers the
    parameters of one core fill more than its L2 cache."""
    cdef Py_ssize_t i = 0
    while i < length:
        prefetch(place + i)
        i += CACHE_LINE // REAL_SIZE


cdef inline const char *next_row(Net *net, Tiles *t) noexcept nogil:
    """A row to be prefetched, or NULL: in random order waiting for rows took a ninth of an epoch
    of 784-100-10."""
    if t.next_low >= t.next_high or net.x.layout != ROWS:
        return NULL
    t.next_low += 1
    return net.x.base + row_at(net.order, t.next_low - 1) * net.x.row_stride


cdef void tile_of_sums(Net *net, double *sums, Py_ssize_t length, real *tile) noexcept nogil:
    """The sum over all chunks, in their order."""
    cdef double[MAX_TILE] total
    cdef Py_ssize_t chunk, i
    memcpy(total, sums, length * sizeof(double))
    for chunk in range(1, net.batch.n_sums):
        for i in range(length):
            total[i] += sums[chunk * net.size + i]
    if net.batch.take_step:
        for i in range(length):
            tile[i] = <real>total[i]
    else:
        memcpy(sums, total, length * sizeof(double))


cdef inline void add_tile(
    const real *tile, Py_ssize_t length, bint begins, double *sums
) noexcept nogil:
    cdef Py_ssize_t i
    if begins:
        for i in range(length):
            sums[i] = tile[i]
    else:
        for i in range(length):
            sums[i] += tile[i]


cdef void take_tile(
    Net *net, Layer *layer, Tiles *t, Py_ssize_t i, Py_ssize_t m, Py_ssize_t column,
) noexcept nogil:
    """The gradient of the weights of inputs i to i + m in a panel, or of its intercepts."""
    cdef Product p
    cdef Py_ssize_t width = min(<Py_ssize_t>TILE_WIDTH, layer.width - column)
    cdef Py_ssize_t place = column * (layer.d_in + 1) + i * width, length = m * width
    cdef real *tile = net.tiles + t.thread * ROW_BLOCK * TILE_WIDTH
    cdef double *sums = NULL if layer.sums == NULL else layer.sums + t.chunk * net.size + place
    if net.batch.take_step and net.batch.gradients != OF_ROWS:
        prefetch_vectors(layer.weights + place, length)
        prefetch_vectors(layer.first + place, length)
        if net.solver == SOLVER_ADAM:
            prefetch_vectors(layer.second + place, length)
    if net.batch.gradients == OF_SUMS:
        tile_of_sums(net, layer.sums + place, length, tile)
    elif t.intercepts:
        column_sums(<int>(width // LANES), t.n_rows, layer.delta + t.place * layer.stride + column,
                    layer.stride, tile)
    else:
        # With the first panel the next row block's inputs are prefetched, which are far apart.
        p.prefetch_step = max(1, (net.x.d * REAL_SIZE + t.n_rows - 1) // t.n_rows)
        p.prefetch = NULL
        if column:
            p.prefetch = next_row(net, t)
        p.A, p.a_stride = layer.input + t.place * layer.input_stride + i, layer.input_stride
        if p.prefetch == NULL:
            p.prefetch = <const char *>(p.A + ROW_BLOCK)
            p.prefetch_step = layer.input_stride * REAL_SIZE
        p.m, p.K = m, t.n_rows
        p.B, p.b_stride = layer.delta + t.place * layer.stride + column, layer.stride
        p.C, p.c_stride = tile, width
        columns_product(<int>(width // LANES), &p)
    if net.batch.gradients == OF_ROWS:
        add_tile(tile, length, t.begins, sums)
    elif net.batch.take_step:
        step_tile(net, layer, t, place, length, tile)
        if layer.transposed != NULL and not t.intercepts:
            transpose_weights(layer, i, i + m, column, width)


cdef void take_panels(
    Net *net, Layer *layer, Tiles *t, Py_ssize_t i, Py_ssize_t m
) noexcept nogil:
    cdef Py_ssize_t column = 0
    t.intercepts, t.squares = i == layer.d_in, v_set(0)
    while column < layer.width:
        take_tile(net, layer, t, i, m, column)
        column += TILE_WIDTH
    if net.batch.take_step and net.batch.gradients != OF_ROWS and not t.intercepts:
        layer.squares[i // ROW_BLOCK] = v_sum(t.squares)


cdef void take_layer(
    Net *net, Layer *layer, Tiles *t, Py_ssize_t low, Py_ssize_t high
) noexcept nogil:
    """The gradient of the weights of inputs low to high; with the last, of the intercepts."""
    cdef Py_ssize_t i = low
    while i < high:
        take_panels(net, layer, t, i, min(<Py_ssize_t>ROW_BLOCK, high - i))
        i += ROW_BLOCK
    if high == layer.d_in:
        take_panels(net, layer, t, high, 1)


cdef void learn_rows(
    Net *net, Py_ssize_t first, Py_ssize_t low, Py_ssize_t high, int64_t thread
) noexcept nogil:
    """Losses and errors of rows of the scratch, which are those of the order `first` behind."""
    cdef Py_ssize_t i = low
    read_rows(net, net.order, first, low, high)
    forward(net, low, high, thread)
    while i < high:
        net.losses[i // ROW_BLOCK] = block_loss(
            net, first, i, min(<Py_ssize_t>ROW_BLOCK, high - i), thread
        )
        i += ROW_BLOCK
    if net.batch.with_errors:
        backward(net, low, high, thread)


# --------------------------------------------------------------------- tasks

cdef void rows_chunk(void *job, int64_t thread, Py_ssize_t chunk) noexcept nogil:
    """Of a part that threads share, some rows."""
    cdef Net *net = <Net *>job
    cdef Batch *b = &net.batch
    learn_rows(net, b.first, chunk_start(b.n_rows, chunk, b.n_chunks),
               chunk_start(b.n_rows, chunk + 1, b.n_chunks), thread)


cdef void tiles_chunk(void *job, int64_t thread, Py_ssize_t chunk) noexcept nogil:
    """Of the gradient of such a part, or of all sums, some of each layer."""
    cdef Net *net = <Net *>job
    cdef Batch *b = &net.batch
    cdef Py_ssize_t depth, d_in, n_next = min(b.n_rows, b.n - (b.first + b.n_rows))
    cdef Tiles t
    t.chunk, t.thread, t.place, t.n_rows, t.begins = 0, thread, 0, b.n_rows, b.first == b.start
    t.next_low = b.first + b.n_rows + chunk_start(n_next, chunk, b.n_chunks)
    t.next_high = b.first + b.n_rows + chunk_start(n_next, chunk + 1, b.n_chunks)
    for depth in range(net.n_layers):
        d_in = net.layers[depth].d_in
        take_layer(net, &net.layers[depth], &t, chunk_start(d_in, chunk, b.n_chunks),
                   chunk_start(d_in, chunk + 1, b.n_chunks))


cdef void parts_chunk(void *job, int64_t thread, Py_ssize_t chunk) noexcept nogil:
    """Some whole parts, in the thread's own scratch, into the chunk's own sums."""
    cdef Net *net = <Net *>job
    cdef Batch *b = &net.batch
    cdef Py_ssize_t part = chunk * b.n_parts // b.n_sums, stop = (chunk + 1) * b.n_parts // b.n_sums
    cdef Py_ssize_t first, i, l
    cdef double loss = 0
    cdef Tiles t
    t.chunk, t.thread, t.place, t.begins = chunk, thread, thread * net.part, True
    t.next_low = t.next_high = 0
    for part in range(part, stop):
        first = b.start + part * b.rows
        t.n_rows = min(b.rows, b.stop - first)
        learn_rows(net, first - t.place, t.place, t.place + t.n_rows, thread)
        if atomic_read(&net.team.interrupted):
            return
        for i in range(row_blocks(t.n_rows)):
            loss += net.losses[t.place // ROW_BLOCK + i]
        for depth in range(net.n_layers if b.with_errors else 0):
            take_layer(net, &net.layers[depth], &t, 0, net.layers[depth].d_in)
        t.begins = False
    net.part_losses[chunk] = loss


cdef inline double sum_in_order(const double *x, Py_ssize_t n) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(n):
        total += x[i]
    return total


cdef double share_parts(Net *net) noexcept nogil:
    """The loss of the parts of a batch one after another, each shared by all threads."""
    cdef Batch *b = &net.batch
    cdef double loss = 0
    b.n_sums = 1
    b.first = b.start
    b.gradients = OF_ROWS_AND_STEP if b.take_step and b.n_parts == 1 else OF_ROWS
    while b.first < b.stop:
        b.n_rows = min(b.rows, b.stop - b.first)
        run_chunks(net.team, rows_chunk, net, b.n_chunks)
        if check_signals(net.team, 0, b.n_rows * net.products // PRODUCTS_PER_ELEMENT):
            return loss
        loss += sum_in_order(net.losses, row_blocks(b.n_rows))
        if b.with_errors:
            run_chunks(net.team, tiles_chunk, net, b.n_chunks)
        b.first += b.n_rows
    return loss


cdef int run_batch(Net *net, bint take_step, double *loss) noexcept nogil:
    """The batch from `start` to `stop`, and its mean loss without penalty; returns a status.

    Without a step the gradient is left in the layers' sums, and where they have none, only the
    loss is computed.
    """
    cdef Batch *b = &net.batch
    cdef Py_ssize_t i, rows = b.stop - b.start
    cdef double weight = rows
    b.take_step = take_step
    b.with_errors = take_step or net.layers[0].sums != NULL
    b.n_parts = (rows + net.part - 1) // net.part
    b.rows = round_up((rows + b.n_parts - 1) // b.n_parts, ROW_BLOCK)
    b.n_chunks = CHUNKS_PER_THREAD * net.team.n_threads if net.team.n_threads > 1 else 1
    if net.targets.weights != NULL:
        weight = 0
        for i in range(b.start, b.stop):
            weight += net.targets.weights[row_at(net.order, i)]
    # A batch that weighs nothing teaches nothing.
    net.step.scale = 1 / weight if weight > 0 else 0
    if b.n_parts > 1 and net.own_parts:
        i = (b.n_parts + net.most_sums - 1) // net.most_sums
        b.n_sums, b.gradients = (b.n_parts + i - 1) // i, OF_ROWS
        run_chunks(net.team, parts_chunk, net, b.n_sums)
        loss[0] = sum_in_order(net.part_losses, b.n_sums)
    else:
        loss[0] = share_parts(net)
    if net.team.interrupted:
        return INTERRUPTED
    if b.with_errors and b.n_parts > 1:
        b.gradients = OF_SUMS
        if b.n_sums * net.size < SHARED_TILES:
            b.n_chunks = 1
        run_chunks(net.team, tiles_chunk, net, b.n_chunks)
    loss[0] *= net.step.scale
    return STATUS_RAN if isfinite(loss[0]) else STATUS_NONFINITE


# --------------------------------------------------------------------- calls

cdef enum Wanted:
    SCORES
    LOSSES
    GRADIENT
    STEPS


cdef class NetworkJob(Job):
    """One call's network, in panels, with its scratch."""

    cdef Net net
    cdef real *reals
    cdef double *doubles

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
        Wanted wanted, int n_slots=0,
    ) except -1:
        """Lay out the memory and bring the parameters into panels.

        Parameters
        ----------
        most : rows of the largest batch
        n_slots : the optimiser's arrays
        """
        cdef Net *net = &self.net
        cdef Layer *layer
        cdef Py_ssize_t l
        units = network.units
        net.x = X.rows
        net.hidden, net.output = network.hidden, network.output
        net.n_layers = len(units) - 1
        net.layers = <Layer *>reserve(net.n_layers, sizeof(Layer), "layers", True)
        self.form_team(n_threads)
        net.team = &self.team
        # Very wide rows are taken by fewer, a row block at least.
        net.part = clamp(ROW_BLOCK, PART_BYTES // (max(units) * REAL_SIZE), PART_ROWS)
        net.part = round_up(min(most, net.part), ROW_BLOCK)
        for depth in range(net.n_layers):
            layer = &net.layers[depth]
            layer.d_in, layer.d_out = units[depth], units[depth + 1]
            layer.width = round_up(layer.d_out, LANES)
            layer.size = (layer.d_in + 1) * layer.width
            layer.stride = spread_stride(layer.width)
            layer.input_stride = (
                net.layers[depth - 1].stride if depth else spread_stride(layer.d_in)
            )
            net.size += layer.size
            net.products += layer.d_in * layer.d_out
        # By the problem alone, as the order of the sums depends on it.
        net.most_sums = clamp(1, SUMS_BYTES // (net.size * <Py_ssize_t>sizeof(double)), MAX_SUMS)
        net.own_parts = wanted == SCORES or most > net.part and net.most_sums >= MIN_SUMS
        self.cut(wanted, n_slots, most > net.part)
        what = f"a network of {net.part} rows through layers of {units}"
        self.reals = <real *>reserve(net.n_reals + 64, REAL_SIZE, what, True)
        self.doubles = <double *>reserve(net.n_doubles, sizeof(double), what, True)
        self.cut(wanted, n_slots, most > net.part)
        for depth in range(net.n_layers):
            net.layers[depth].input = net.layers[depth - 1].output if depth else net.rows
        for depth in range(units[net.n_layers]):
            net.is_output[depth] = 1
        self.copy_weights(theta)
        # Of a large network that alone takes a while.
        if PyErr_CheckSignals() != 0:
            raise_pending()
        return 0

    cdef void cut(self, Wanted wanted, int n_slots, bint several_parts) noexcept:
        """Give the arrays their places, once there is memory; before, count what they need."""
        cdef Net *net = &self.net
        cdef Layer *layer
        cdef Py_ssize_t n_threads = self.team.n_threads, l
        cdef Py_ssize_t n_rows = net.part * (n_threads if net.own_parts else 1)
        cdef Py_ssize_t n_sums = 0
        if wanted == GRADIENT or wanted == STEPS and several_parts:
            n_sums = net.most_sums if net.own_parts else 1
        net.n_reals = net.n_doubles = 0
        net.rows = self.reals_of(n_rows * net.layers[0].input_stride)
        for depth in range(net.n_layers):
            layer = &net.layers[depth]
            layer.weights = self.reals_of(layer.size)
            layer.output = self.reals_of(n_rows * layer.stride)
            layer.squares = self.doubles_of(row_blocks(layer.d_in))
            if wanted != SCORES:
                layer.delta = self.reals_of(n_rows * layer.stride)
                if depth > 0:
                    layer.transposed = self.reals_of(layer.d_out * round_up(layer.d_in, LANES))
            # The solvers touch only the arrays that they have.
            if n_slots > 0:
                layer.first = self.reals_of(layer.size)
            if n_slots > 1:
                layer.second = self.reals_of(layer.size)
        layer = &net.layers[net.n_layers - 1]
        net.is_output = self.reals_of(layer.width)
        net.outputs = self.reals_of(n_rows * layer.stride)
        net.classes = self.reals_of(n_threads * ROW_BLOCK * layer.d_out)
        net.tiles = self.reals_of(n_threads * MAX_TILE)
        net.losses = self.doubles_of(row_blocks(n_rows))
        net.part_losses = self.doubles_of(MAX_SUMS)
        net.norms, net.nonfinite = self.doubles_of(n_threads), self.doubles_of(n_threads)
        for depth in range(net.n_layers if n_sums else 0):
            net.layers[depth].sums = self.doubles_of(net.layers[depth].size)
        # Those of the other chunks.
        self.doubles_of((n_sums - 1) * net.size)

    cdef real *reals_of(self, Py_ssize_t count) noexcept:
        """The next so many, on a cache line of their own."""
        cdef Py_ssize_t place = self.net.n_reals
        self.net.n_reals += round_up(count, CACHE_LINE // REAL_SIZE)
        return NULL if self.reals == NULL else from_cache_line(self.reals) + place

    cdef double *doubles_of(self, Py_ssize_t count) noexcept:
        cdef Py_ssize_t place = self.net.n_doubles
        self.net.n_doubles += max(0, count)
        return NULL if self.doubles == NULL else self.doubles + place

    cdef void between_flat(self, real *flat, int which, bint into, double scale=1) noexcept:
        """Copy parameters or what is laid out like them: 0 weights, 1 and 2 the optimiser's
        arrays; into the panels or out of them. 3: `scale` times the gradient, out of them."""
        cdef Layer *layer
        cdef Py_ssize_t depth, i, j, count, place, width, column
        cdef real *array
        cdef bint intercepts
        for intercepts in range(2):
            for depth in range(self.net.n_layers):
                layer = &self.net.layers[depth]
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
                                flat[j] = <real>(layer.sums[place + j] * scale)
                        elif into:
                            memcpy(array + place, flat, count * REAL_SIZE)
                        else:
                            memcpy(flat, array + place, count * REAL_SIZE)
                        flat += count
                        column += width

    cdef void copy_weights(self, const real[::1] theta) noexcept:
        """Into the panels, with what depends on the weights."""
        cdef Layer *layer
        cdef Py_ssize_t depth, i, m, column, width, r
        cdef const real *rows
        cdef vreal squares, other, t
        self.between_flat(<real *>&theta[0], 0, True)
        for depth in range(self.net.n_layers):
            layer = &self.net.layers[depth]
            i = 0
            while i < layer.d_in:
                m = min(<Py_ssize_t>ROW_BLOCK, layer.d_in - i)
                # The order of the sums is `step_loop`'s.
                squares = other = v_set(0)
                column = 0
                while column < layer.width:
                    width = min(<Py_ssize_t>TILE_WIDTH, layer.width - column)
                    rows = layer.weights + column * (layer.d_in + 1) + i * width
                    r = 0
                    while r < m * width:
                        t = squares + v_load(rows + r) * v_load(rows + r)
                        squares = other
                        other = t
                        r += LANES
                    squares = squares + other
                    other = v_set(0)
                    if layer.transposed != NULL:
                        transpose_weights(layer, i, i + m, column, width)
                    column += width
                layer.squares[i // ROW_BLOCK] = v_sum(squares)
                i += m

    cdef int bind(self, data) except -1:
        self.keep = data
        bind_targets(&self.net.targets, self.net.layers[self.net.n_layers - 1].d_out, data.y,
                     data.sample_weight)
        return 0


cdef class NetworkGradient(NetworkJob):
    """A call of `network_gradient`."""

    cdef real[::1] grad
    cdef double scale

    def __init__(self, data, network, const real[::1] theta, grad, n_threads):
        cdef Py_ssize_t n = (<Matrix>data.X).rows.n
        self.scale = data.scale
        self.net.batch.n = self.net.batch.stop = n
        self.build(data.X, network, theta, n_threads, n, LOSSES if grad is None else GRADIENT)
        if grad is not None:
            self.grad = grad
        self.bind(data)

    def lead(self):
        cdef double value = 0
        with nogil:
            run_batch(&self.net, False, &value)
        raise_if_interrupted(&self.team)
        if self.net.layers[0].sums != NULL:
            self.between_flat(&self.grad[0], 3, False, self.scale)
        return value
