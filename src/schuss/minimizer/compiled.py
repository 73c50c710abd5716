"""Functions in C: SciPy's LowLevelCallable and Numba's cfunc, as the kernels call them."""

import ctypes

import numpy as np
from scipy import LowLevelCallable

from schuss.backends.contract import Function


def low_level(function):
    """A Numba cfunc as SciPy's LowLevelCallable; anything else as it is."""
    if hasattr(function, "native_name") and hasattr(function, "ctypes"):
        return LowLevelCallable(function.ctypes)
    return function


_SIGNATURES = {
    "value": {"double(double)": 0, "double(int,double*)": 1},
    "gradient": {"double(double)": 0, "void(int,double*,double*)": 1},
}


def compiled_function(fun, jac, n):
    """What the kernels need of functions in C."""
    fields = {}
    for part, given in (("value", fun), ("gradient", jac)):
        if given is None:
            continue
        signature = given.signature.replace(" ", "").replace("int32_t", "int")
        plain = signature.replace(",void*)", ")")
        if plain not in _SIGNATURES[part]:
            expected = " or ".join(
                text.replace("(", " (").replace(",", ", ").replace("double*", "double *")
                for text in _SIGNATURES[part]
            )
            name = "fun" if part == "value" else "jac"
            raise ValueError(
                f"{name} has the signature {given.signature!r}, expected {expected}, with or "
                "without a last void *."
            )
        takes_array = bool(_SIGNATURES[part][plain])
        if not takes_array and n != 1:
            raise ValueError(
                f"x0 has {n} entries, but the function in C takes one double. Give one of "
                "signature 'double (int, double *)'."
            )
        if fields.setdefault("takes_array", takes_array) != takes_array:
            raise ValueError(
                f"fun is {fun.signature!r} and jac {jac.signature!r}: one takes a number, the "
                "other an array. Give two of a kind."
            )
        # SciPy keeps a pointer of either kind in a capsule, which is the tuple's first entry.
        capsule = tuple.__getitem__(given, 0)
        fields[part] = _capsule("GetPointer", capsule, _capsule("GetName", capsule))
        fields[f"{part}_takes_data"] = plain != signature
        fields[f"{part}_data"] = _capsule("GetContext", capsule) or 0
    none = np.empty(0)
    return Function(none, none, **fields)


def _capsule(what, *arguments):
    call = getattr(ctypes.pythonapi, f"PyCapsule_{what}")
    call.restype = ctypes.c_char_p if what == "GetName" else ctypes.c_void_p
    call.argtypes = (ctypes.py_object, ctypes.c_char_p)[: len(arguments)]
    return call(*arguments)
