"""How the functions of this package are compiled, and for which types."""

import contextlib
import functools
import hashlib
import pkgutil
import re
from importlib.util import find_spec
from pathlib import Path

import numba
from numba import types

from schuss.backends import numba_kernels as package
from schuss.errors import BackendUnavailableError

if numba.config.DISABLE_JIT:
    # What is generated as LLVM's code has no Python to run in its place.
    raise BackendUnavailableError(
        "The Numba backend cannot run with NUMBA_DISABLE_JIT=1. Unset it, or choose another "
        "backend by SCHUSS_BACKEND or schuss.use_backend."
    )


def _can_cache():
    try:
        numba.njit(cache=True)(lambda: None)
    except RuntimeError:  # no folder can be written: neither here nor in the user's home
        return False
    return True


_OPTIONS = {"nogil": True, "error_model": "numpy"}
_KEPT = {**_OPTIONS, "cache": _can_cache()}
# Sums may be reordered; NaN and infinities must still be seen.
_SUMS = {"fastmath": {"reassoc", "contract", "nsz", "arcp"}, "error_model": "numpy"}
INLINED = {**_SUMS, "forceinline": True}
sums = numba.njit(**{**_OPTIONS, **_SUMS})
# Compensated steps may not be.
EXACT = {"fastmath": {"contract"}, "error_model": "numpy"}
exact = numba.njit(**{**_OPTIONS, **EXACT})
# For each tile: functions that are called count the references to their arrays, in atomic steps.
exact_inlined = numba.njit(**{**_OPTIONS, **EXACT}, forceinline=True)
# Nor products be fused with sums, where a path must be that of other code.
strict = numba.njit(**_OPTIONS)


_MODULES = sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def _digest():
    """Of all that compiled code is made of; Numba looks at a function's own file only."""
    modules = [f"{__package__}.{name}" for name in _MODULES]
    content = hashlib.sha256()
    for name in (*modules, "schuss.backends.contract", "schuss.constants"):
        spec = find_spec(name)
        # The source, or the byte code where it was installed without.
        content.update(spec.loader.get_data(spec.origin))
    return content.hexdigest()[:16]


_DIGEST = _digest()


def _remove_superseded(folder):
    """Remove what earlier sources of this package, at this place, left in its cache.

    Who still runs them compiles again. A folder of Numba's is that of one folder of sources.
    """
    name = rf"(?:{'|'.join(_MODULES)})\.\w+_(?!{_DIGEST})[0-9a-f]{{{len(_DIGEST)}}}-\d+\.py\w+"
    kept = re.compile(rf"{name}(?:\.nbi|\.\d+\.nbc)")
    with contextlib.suppress(OSError):  # another process was here first, or may write and we not
        for path in Path(folder).iterdir():
            if kept.fullmatch(path.name):
                path.unlink()


_NUMBERS = {int: types.int64, float: types.float64, bool: types.boolean}


def compiled_for(signature):
    """Decorator of what Python calls: ``function(*kind)`` is compiled for ``signature(*kind)``.

    The types are written out so that their number is bounded; arrays of other layouts are not
    recompiled for but refused.
    """

    def decorate(function):
        # A part of the name of the file that it is kept in.
        function.__qualname__ += f"_{_DIGEST}"

        @functools.cache
        def for_kind(*kind):
            compiled = numba.njit(signature(*kind), **_KEPT)(function)
            if _KEPT["cache"] and compiled.stats.cache_misses:
                _remove_superseded(compiled.stats.cache_path)
            return compiled

        return for_kind

    return decorate


def array(dtype, ndim, layout="C", **flags):
    return types.Array(numba.from_dtype(dtype), ndim, layout, **flags)


def given(dtype, ndim, layout="C", **flags):
    """An array that is only read."""
    return array(dtype, ndim, layout, readonly=True, **flags)


def tuple_type(kind):
    """Of a named tuple of numbers."""
    return types.NamedTuple([_NUMBERS[number] for number in kind.__annotations__.values()], kind)


def of_its_types(numbers):
    """A named tuple with each number in the type that it is declared with."""
    kind = type(numbers)
    return kind(
        *(to(value) for to, value in zip(kind.__annotations__.values(), numbers, strict=True))
    )
