/* Calls through addresses of functions in C, each by its own signature. */

static double call_value(const void *function, int takes_array, int takes_data, int n, double *x,
                         void *data) {
    if (takes_array)
        return takes_data ? ((double (*)(int, double *, void *))function)(n, x, data)
                          : ((double (*)(int, double *))function)(n, x);
    return takes_data ? ((double (*)(double, void *))function)(*x, data)
                      : ((double (*)(double))function)(*x);
}

static void call_gradient(const void *function, int takes_array, int takes_data, int n, double *x,
                          double *out, void *data) {
    if (!takes_array)
        *out = call_value(function, 0, takes_data, n, x, data);
    else if (takes_data)
        ((void (*)(int, double *, double *, void *))function)(n, x, out, data);
    else
        ((void (*)(int, double *, double *))function)(n, x, out);
}
