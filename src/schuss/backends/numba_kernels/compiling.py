"""How the functions of this package are compiled."""

import contextlib
import functools
import hashlib
import pkgutil
import re
from importlib.util import find_spec
from pathlib import Path

import numba

from schuss.backends import numba_kernels as package


def _can_cache():
    try:
        numba.njit(cache=True)(lambda: None)
    except RuntimeError:  # no folder can be written: neither here nor in the user's home
        return False
    return True


_OPTIONS = {"nogil": True, "error_model": "numpy"}
_CAN_CACHE = _can_cache()
# Every operation as it is written, where a path must be that of other code.
strict = numba.njit(**_OPTIONS)
# A product and a sum may be fused.
fused = numba.njit(fastmath={"contract"}, **_OPTIONS)
# Sums may be reordered as well, and so vectorised; NaN and infinities are still seen.
reordered = numba.njit(fastmath={"contract", "nsz", "reassoc"}, **_OPTIONS)

_MODULES = sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def _digest():
    """Of all that compiled code is made of; Numba looks at a function's own file only."""
    modules = [f"{__package__}.{name}" for name in _MODULES]
    others = "backends.contract", "backends.numpy_", "constants", "losses", "methods"
    content = hashlib.sha256()
    for name in (*modules, *(f"schuss.{other}" for other in others)):
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
    cached = re.compile(rf"{name}(?:\.nbi|\.\d+\.nbc)")
    with contextlib.suppress(OSError):  # another process was here first, or may write and we not
        for path in Path(folder).iterdir():
            if cached.fullmatch(path.name):
                path.unlink()


def compiled(function):
    """Decorator of what Python calls: compiled for the types that come, and kept on disk."""
    if numba.config.DISABLE_JIT:
        return function
    # A part of the name of the file that the code is cached in.
    function.__qualname__ += f"_{_DIGEST}"
    dispatcher = numba.njit(**_OPTIONS, cache=_CAN_CACHE)(function)

    @functools.wraps(function)
    def call(*arguments):
        known = len(dispatcher.stats.cache_misses)
        result = dispatcher(*arguments)
        if len(dispatcher.stats.cache_misses) > known:
            _remove_superseded(dispatcher.stats.cache_path)
        return result

    return call


def read_only(values):
    """A view that cannot be written to: of one type, whether the array itself can be or not."""
    view = values.view()
    view.flags.writeable = False
    return view


def as_annotated(numbers):
    """A named tuple with each number in the type that it is annotated with."""
    kind = type(numbers)
    return kind(
        *(to(value) for to, value in zip(kind.__annotations__.values(), numbers, strict=True))
    )
