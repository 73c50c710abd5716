# The kernels for one type `real`, which the including module defines with its register
# type `vreal`. Written once, compiled for float and for double (single.pyx, double.pyx).

from _thread import start_new_thread

from cpython.buffer cimport PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer
from libc.float cimport DBL_EPSILON
from libc.math cimport exp, fabs, isfinite, log, log1p, pow, sqrt, INFINITY
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, INT64_MAX
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

include "codes.pxi"

cdef extern from "Python.h":
    # Declared here without Cython's check: the exception is raised later, by `raise_pending`.
    int PyErr_CheckSignals()

cdef extern from "vec.h" nogil:
    # What a loop returns that is inlined at each call, for its constant arguments.
    ctypedef void inlined_void "INLINED_VOID"
    const int LANES
    const int REAL_SIZE
    const bint FUSED
    vreal v_load(const real *p)
    void v_store(real *p, vreal v)
    vreal v_set(real x)
    vreal v_where_negative(vreal z, vreal a, vreal b)
    vreal v_where_zero(vreal v, vreal a, vreal b)
    vreal v_max(vreal a, vreal b)
    vreal v_min(vreal a, vreal b)
    vreal v_abs(vreal v)
    vreal v_sqrt(vreal v)
    real v_max_lane(vreal v)
    vreal v_minus_abs(vreal v)
    vreal v_rounded(vreal v)
    double rounded(double x)
    vreal v_max_scalar(vreal v, real bound)
    vreal v_remainder(vreal a, vreal b, vreal c)
    vreal v_round(vreal v)
    vreal v_exp2_int(vreal n)
    vreal v_exp2(vreal n)
    real v_sum(vreal v)
    vreal v_sum_all(vreal v)
    vreal v_sum_fours(vreal v)
    vreal v_repeat4(vreal v)
    real v_first(vreal v)
    void v_sum4(vreal a, vreal b, vreal c, vreal d, real *out)
    vreal v_fold4(vreal a, vreal b, vreal c, vreal d)
    vreal v_join(const vreal *folded)
    const int REGISTERS
    void prefetch(const void *address)
    void prefetch_far(const void *address)

cdef extern from "convert.h" nogil:
    void convert_line(real *target, const char *source, Py_ssize_t length, Py_ssize_t stride,
                      char kind)

cdef extern from "cpu.h" nogil:
    int x86_64_level()

cdef extern from "threads.h" nogil:
    int64_t atomic_read(int64_t *place)
    void atomic_write(int64_t *place, int64_t value)
    int64_t atomic_add(int64_t *place, int64_t n)
    const int SPINS
    int spin_wait(int spins)
    int64_t clock_ns()
    int64_t process_id()
    ctypedef struct CpuSet:
        pass
    void set_affinity(unsigned long thread, CpuSet *allowed)
    void clear_affinity(CpuSet *allowed)

cdef enum:
    MAX_LANES = 16  # of any type and instruction set

include "formulas.pxi"
include "softmax.pxi"
include "lines.pxi"
include "matrix.pxi"
include "threads.pxi"
include "neuron.pxi"
include "gradient.pxi"
include "packed.pxi"
include "descent.pxi"
include "network.pxi"
include "sweep.pxi"
include "newton.pxi"
include "products.pxi"


def processor_level():
    """The x86-64 level (1, 3 or 4) that this machine supports; 0 on other architectures."""
    return x86_64_level()
