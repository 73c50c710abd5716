"""C functions: SciPy's LowLevelCallable and Numba's cfunc, as the kernels call them."""

import ctypes
from typing import Any

import numpy as np
from scipy import LowLevelCallable

from schuss.backends.contract import Function


def low_level(function: Any) -> Any:
    """A Numba cfunc as SciPy's LowLevelCallable; anything else unchanged."""
    if hasattr(function, "native_name") and hasattr(function, "ctypes"):
        return LowLevelCallable(function.ctypes)
    return function


_SIGNATURES = {
    "value": {"double(double)": 0, "double(int,double*)": 1},
    "gradient": {"double(double)": 0, "void(int,double*,double*)": 1},
}


def compiled_function(fun: Any, jac: Any, n: int) -> Function:
    """The function and its gradient, as the kernels take them."""
    fields: dict[str, Any] = {}
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
                f"x0 has {n} entries, but the C function takes one double; expected the "
                "signature 'double (int, double *)'."
            )
        if fields.setdefault("takes_array", takes_array) != takes_array:
            raise ValueError(
                f"fun is {fun.signature!r} and jac {jac.signature!r}: expected both to take a "
                "number, or both an array."
            )
        # LowLevelCallable is a tuple whose first entry is a capsule with the pointer.
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
