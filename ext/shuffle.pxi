# The contract's `shuffle`.

cdef extern from "Python.h":
    void *PyCapsule_GetPointer(object capsule, const char *name) except NULL

# numpy/random/bitgen.h
ctypedef struct Generator:
    void *state
    uint64_t (*next_uint64)(void *) noexcept nogil
    uint32_t (*next_uint32)(void *) noexcept nogil

cdef enum:
    ELEMENTS_PER_DRAW = 50  # which take as long


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
