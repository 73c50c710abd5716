"""The one place where a backend is chosen."""

import os
import platform
import sys
import warnings
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from schuss import threads
from schuss.errors import BackendUnavailableError
from schuss.validation import check_choice, environment_choice

VARIABLE = "SCHUSS_BACKEND"
BACKENDS = ("cython", "numba", "numpy")
CHOICES = ("auto", *BACKENDS)

_MENDS = {
    "cython": (
        "install a C compiler and run `pip install --force-reinstall --no-deps --no-cache-dir "
        "--no-binary schuss schuss`"
    ),
    "numba": 'run `pip install "schuss[numba]"`',
}

_forced: ContextVar[str | None] = ContextVar("schuss_backend", default=None)
_automatic: str | None = None


class Config(dict):
    """A dictionary that prints one entry a line."""

    def __repr__(self):
        width = max(map(len, self))
        return "\n".join(f"{key:<{width}}  {value}" for key, value in self.items())


def get_backend() -> str:
    """Name of the backend in force.

    Returns
    -------
    str
        ``"cython"``, ``"numba"`` or ``"numpy"``.

    Examples
    --------
    >>> import schuss
    >>> with schuss.use_backend("numpy"):
    ...     schuss.get_backend()
    'numpy'
    """
    choice = _forced.get() or environment_choice(VARIABLE, CHOICES)
    return _choose() if choice == "auto" else choice


def use_backend(name: str) -> AbstractContextManager[None]:
    """Context manager that forces a backend in this thread.

    Parameters
    ----------
    name : {"auto", "cython", "numba", "numpy"}

    Raises
    ------
    ValueError
        Where the name is unknown.
    ImportError
        Where that backend is not installed: a forced choice never falls back.

    Examples
    --------
    >>> import schuss
    >>> with schuss.use_backend("numpy"):
    ...     result = schuss.train([[0.0], [1.0]], [0, 1], epochs=10)
    >>> result.n_iter
    10
    """
    check_choice(name, "backend", CHOICES)
    if name != "auto":
        _load(name)
    return _forcing(name)


def current():
    """The module of the backend in force."""
    return _load(get_backend())


def show_config() -> dict[str, Any]:
    """Version, backend, instruction set, threads and build flags.

    Returns
    -------
    dict
        Prints one entry a line.

    Examples
    --------
    >>> import schuss
    >>> sorted(schuss.show_config())[:3]
    ['backend', 'backends', 'build']
    """
    import numpy
    import sklearn

    import schuss

    backend = current()
    return Config(
        version=schuss.__version__,
        python=platform.python_version(),
        numpy=numpy.__version__,
        scikit_learn=sklearn.__version__,
        platform=f"{sys.platform} {platform.machine()}",
        backend=backend.NAME,
        backends=[name for name in BACKENDS if _available(name)],
        isa=getattr(backend, "ISA", None),
        threads=threads.available(),
        build=dict(getattr(backend, "BUILD", None) or {}),
    )


@contextmanager
def _forcing(name):
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


@cache
def _load(name):
    try:
        return import_module(f"{__name__}.{name}_")
    except BackendUnavailableError:  # says itself how to mend it
        raise
    except ImportError as error:
        raise BackendUnavailableError(
            f"The {name} backend was asked for, but cannot be loaded ({error}). "
            f"To have it, {_MENDS[name]}; or choose another by {VARIABLE} or "
            "schuss.use_backend."
        ) from error


def _available(name):
    if name == "numba":
        return find_spec("numba") is not None
    try:
        _load(name)
    except (BackendUnavailableError, ValueError):  # the latter: an unknown SCHUSS_ISA
        return False
    return True


def _choose():
    """The best backend there is; one warning where it is not the compiled one."""
    global _automatic
    if _automatic is None:
        try:
            _load("cython")
            _automatic = "cython"
        except BackendUnavailableError as error:
            # An instruction set asked for by name is a forced choice as well.
            if os.environ.get("SCHUSS_ISA", "").strip() not in ("", "auto"):
                raise
            _automatic = "numba" if _available("numba") else "numpy"
            numba = "" if _automatic == "numba" else f", or {_MENDS['numba']}"
            warnings.warn(
                f"schuss runs on its slower {_automatic} backend, because its compiled kernels "
                f"cannot be loaded ({error.__cause__}). To have them, {_MENDS['cython']}{numba}. "
                f"Set {VARIABLE}={_automatic} to choose this backend without a warning.",
                RuntimeWarning,
                stacklevel=3,
            )
    return _automatic
