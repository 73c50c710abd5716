# The kernels for one type `real`, which the including module defines with its register type
# `vreal`. Written once, compiled for float and for double (single.pyx, double.pyx).
#
# contract            file          on
# prepare             rows          dot_axpy.h, convert.h, narrow.h
# gradient, evaluator gradient      pass (rows, targets, parameters, partial_sums), packed,
#                                   outputs (several neurons: product.h)
# descend             descend       gradient, steps
# newton              newton        gradient, product.h
# newton_many         newton_many   rows, newton (factors), dot_axpy.h, gram.h
# information,        information   newton_many
# weighted_gram
# gradient_many       gradient_many newton_many (rows), product.h
# predict             predict       pass
# pointwise           pointwise     formulas
# sweep               sweep         pass, exponential.h
# network_*           network_*     rows, targets, product.h (layers, outputs under all)
# shuffle             shuffle
# add_product         products      product.h
# take_columns,       coordinate    rows
# coordinate_descent
# walk                walk          steps (float64 only)
#
# Under all of them: formulas and softmax (each loss once), threads (the team), memory, vec.h
# (registers). docs/internals/kernels.md explains with pictures how a pass works.

from _thread import start_new_thread

from cpython.buffer cimport PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer
from libc.float cimport DBL_EPSILON
from libc.math cimport exp, fabs, isfinite, log, pow, sqrt, INFINITY, NAN
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, INT64_MAX
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

include "codes.pxi"

cdef extern from "Python.h":
    # Declared here without Cython's check: the exception is raised later, by `raise_pending`.
    int PyErr_CheckSignals()
    ctypedef struct PyObject:
        pass
    void PyErr_Fetch(PyObject **kind, PyObject **value, PyObject **traceback)
    void PyErr_Restore(PyObject *kind, PyObject *value, PyObject *traceback)

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
    void convert(real *target, const char *source, Py_ssize_t length, Py_ssize_t stride, char kind)

cdef extern from "switches.h" nogil:
    const bint SCHUSS_ALIGNMENT_PHASES
    const bint SCHUSS_NARROW_ROWS
    const bint SCHUSS_FEW_COLUMNS
    const bint SCHUSS_PACKED
    const bint SCHUSS_NARROW_PANELS
    const bint SCHUSS_NARROW_DESCENT
    const bint SCHUSS_REPEATED_ROWS
    const bint SCHUSS_PREFETCH_COLUMNS
    const bint SCHUSS_PREFETCH_ENTRIES
    const bint SCHUSS_CODES_LOOP

cdef extern from "dot_axpy.h" nogil:
    const int CACHE_LINE
    const int MAX_PHASES
    const int MAX_PHASED_ROWS
    const int SHORT_REGISTERS
    ctypedef struct Prefetch:
        const char *next
    ctypedef struct AlignmentPhases:
        Py_ssize_t count
        Py_ssize_t step
        Py_ssize_t *heads
    ctypedef struct Block:
        const char *data
        Py_ssize_t step
        Py_ssize_t count
        Py_ssize_t length
        bint by_columns
        Py_ssize_t first
        const AlignmentPhases *phases
        Prefetch prefetch
    Py_ssize_t operand_start(Py_ssize_t head)
    void row_dots(const Block *b, const real *operand, real *out, Prefetch *ahead)
    void row_axpys(const Block *b, const real *factors, real *sums, Prefetch *ahead)
    void column_axpys(Block b, const real *factors, real *out)
    void column_dots(const Block *b, const real *vector, real *out, const char *next)

cdef extern from "cpu.h" nogil:
    int x86_64_level()

cdef extern from "threads.h" nogil:
    int64_t atomic_read(int64_t *place)
    void atomic_write(int64_t *place, int64_t value)
    int64_t atomic_add(int64_t *place, int64_t n)
    const int SPINS
    int spin_wait(int spins)
    void long_sleep()
    int64_t clock_ns()
    int64_t process_id()
    ctypedef struct CpuSet:
        pass
    void set_affinity(unsigned long thread, CpuSet *allowed)
    void clear_affinity(CpuSet *allowed)

cdef extern from "float_mode.h" nogil:
    uint64_t ieee_mode()
    void restore_mode(uint64_t before)

cdef enum:
    MAX_LANES = 16  # of any type and instruction set

include "memory.pxi"
include "threads.pxi"
include "formulas.pxi"
include "parameters.pxi"
include "rows.pxi"
include "targets.pxi"
include "partial_sums.pxi"
include "softmax.pxi"
include "pass.pxi"
include "outputs.pxi"
include "packed.pxi"
include "gradient.pxi"
include "steps.pxi"
include "descend.pxi"
include "pointwise.pxi"
include "predict.pxi"
include "network_layers.pxi"
include "network_outputs.pxi"
include "network_gradient.pxi"
include "network_epochs.pxi"
include "network_predict.pxi"
include "shuffle.pxi"
include "sweep.pxi"
include "newton.pxi"
include "newton_many.pxi"
include "information.pxi"
include "gradient_many.pxi"
include "products.pxi"
include "coordinate.pxi"
include "yardsticks.pxi"


def processor_level():
    """The x86-64 level (1, 3 or 4) that this machine supports; 0 on other architectures."""
    return x86_64_level()
