# The contract's `network_predict`.

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


cdef void predict_chunk(void *job, int64_t thread, Py_ssize_t chunk) noexcept nogil:
    """Rows of a part, in the thread's own place of the scratch."""
    cdef Net *net = <Net *>job
    cdef Layer *last = &net.layers[net.n_layers - 1]
    cdef Py_ssize_t first = chunk * net.part, i, place = thread * net.part
    cdef Py_ssize_t m = min(net.part, net.batch.n - first)
    cdef real *z
    read_rows(net, NULL, first - place, place, place + m)
    forward(net, place, place + m, thread)
    if atomic_read(&net.team.interrupted):
        return
    for i in range(m):
        z = last.output + (place + i) * last.stride
        answer_row(net, last, z)
        memcpy(net.predicted + (first + i) * last.d_out, z, last.d_out * REAL_SIZE)


cdef class NetworkPrediction(NetworkJob):
    """A call of `network_predict`."""

    cdef real[:, ::1] out

    def __init__(self, Matrix X, network, const real[::1] theta, real[:, ::1] out, n_threads):
        self.out, self.keep = out, X
        self.net.batch.n, self.net.predicted = X.rows.n, &out[0, 0]
        self.build(X, network, theta, n_threads, X.rows.n, SCORES)

    def lead(self):
        with nogil:
            run_chunks(&self.team, predict_chunk, &self.net,
                       (self.net.batch.n + self.net.part - 1) // self.net.part)
        raise_if_interrupted(&self.team)
