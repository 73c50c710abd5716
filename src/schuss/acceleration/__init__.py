"""Acceleration of scikit-learn's own classes: switching it on and off.

Methods of the classes are wrapped, now or when scikit-learn's module is imported, so the order of
imports does not matter. This module imports neither scikit-learn nor NumPy. Child processes read
``SCHUSS_ACCELERATE`` when they start, through ``schuss_accelerate.pth``.
"""

import atexit
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import schuss
from schuss.acceleration.report import Report

VARIABLE = "SCHUSS_ACCELERATE"

# The module of each class in scikit-learn.
MODULES = {
    "LogisticRegression": "sklearn.linear_model",
    "LogisticRegressionCV": "sklearn.linear_model",
    "SGDClassifier": "sklearn.linear_model",
    "SGDRegressor": "sklearn.linear_model",
    "Perceptron": "sklearn.linear_model",
    "MLPClassifier": "sklearn.neural_network",
    "MLPRegressor": "sklearn.neural_network",
}
TESTED = ("1.9",)
OPTIONS = ("verbose", "strict", "verify")


class FallbackError(RuntimeError):
    """With ``strict=True``: schuss cannot serve a call to one of scikit-learn's classes."""


class Settings(NamedTuple):
    """The classes that are accelerated, and the options."""

    classes: tuple[str, ...]
    verbose: bool = False
    strict: bool = False
    verify: bool = False

    def __str__(self):
        """The value of `VARIABLE`."""
        names = () if self.classes == available() else self.classes
        words = [*names, *(option for option in OPTIONS if getattr(self, option))]
        return ",".join(words) or "1"


def available():
    """Names of the classes that can be accelerated."""
    return tuple(name for name in MODULES if name in schuss.__all__)


def accelerate(
    classes: Iterable[str | type] | None = None, *, verbose: bool = False, strict: bool = False,
    verify: bool = False,
) -> Report:  # fmt: skip
    """Fit scikit-learn's own classes with schuss.

    `fit` and the slower predictions of these classes use schuss. They set the attributes that
    scikit-learn sets, so `isinstance`, `clone`, subclasses and pickles work as before, and pickles
    load without schuss. What schuss does not serve falls back to scikit-learn's method, and the
    report gives the reason. ``docs/drop_in.md`` lists what is the same, better and different.

    The environment variable ``SCHUSS_ACCELERATE`` is set, which accelerates child processes such as
    joblib's workers, too, if schuss is installed by pip.

    Parameters
    ----------
    classes : list of str or of classes, optional
        Of `LogisticRegression`, `LogisticRegressionCV`, `SGDClassifier`, `SGDRegressor`,
        `Perceptron`, `MLPClassifier` and `MLPRegressor`. None: all of them.
    verbose : bool, default=False
        Write a line to stderr for each call.
    strict : bool, default=False
        Raise `FallbackError` instead of a fallback. Input that scikit-learn refuses raises its
        own error.
    verify : bool, default=False
        Fit with scikit-learn, too, and report the difference of the objectives.

    Returns
    -------
    Report
        The calls from now on: ``print(report)``.

    Examples
    --------
    >>> import schuss
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> report = schuss.accelerate()
    >>> model = LogisticRegression().fit(*load_iris(return_X_y=True))
    >>> type(model).__module__
    'sklearn.linear_model._logistic'
    >>> report.rows()[0][:4]
    ('LogisticRegression', 'fit', 'served', 1)
    >>> schuss.restore()
    """
    settings = Settings(_check_classes(classes), bool(verbose), bool(strict), bool(verify))
    return _activate(settings, Report())


def restore() -> None:
    """Undo `accelerate`: scikit-learn's classes have their own methods again."""
    _deactivate()


def current_report() -> Report | None:
    """The report that `accelerate` returned last; None if nothing is accelerated.

    After ``%load_ext schuss`` or with ``SCHUSS_ACCELERATE`` this is the way to the report.

    Returns
    -------
    Report or None
    """
    return None if _active is None else _active[1]


@contextmanager
def accelerated(
    classes: Iterable[str | type] | None = None, *, verbose: bool = False, strict: bool = False,
    verify: bool = False,
) -> Iterator[Report]:  # fmt: skip
    """`accelerate` as a context manager, for the whole process.

    Parameters
    ----------
    classes, verbose, strict, verify
        As in `accelerate`.

    Yields
    ------
    Report

    Examples
    --------
    >>> import schuss
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> with schuss.accelerated(["LogisticRegression"], strict=True):
    ...     model = LogisticRegression().fit(*load_iris(return_X_y=True))
    """
    before = _active
    try:
        yield accelerate(classes, verbose=verbose, strict=strict, verify=verify)
    finally:
        if before is None:
            _deactivate()
        else:
            _activate(*before)


def start_from_environment():
    """Accelerate as `VARIABLE` says; called when Python starts."""
    words = {word.strip() for word in os.environ[VARIABLE].split(",")} - {"", "0"}
    # Virtual environments process .pth files twice.
    if words and _active is None:
        try:
            start(words - {"1"}, os.environ.get(Report.VARIABLE))
        except ValueError as error:
            warnings.warn(f"{VARIABLE}={os.environ[VARIABLE]}: {error}", stacklevel=2)


def start(words, path=None):
    """Accelerate until the end of this process.

    Parameters
    ----------
    words : set of str
        Names of classes (none: all), and options: "verbose", "strict", "verify", and "report",
        which writes the report to stderr at the end.
    path : str, optional
        Report file of the parent process.
    """
    known = available()
    if unknown := words - {*known, *OPTIONS, "report"}:
        raise ValueError(
            f"got {', '.join(sorted(unknown))}, expected some of "
            f"{', '.join((*known, *OPTIONS, 'report'))}."
        )
    names = tuple(name for name in known if name in words) or known
    report = _activate(Settings(names, *(option in words for option in OPTIONS)), Report(path))
    if "report" in words and path is None:
        atexit.register(lambda: print(report, file=sys.stderr))


# Current settings and report.
_active: tuple[Settings, Report] | None = None
# Environment variables before the first call; `restore` resets them.
_environment: dict[str, str | None] = {}
_warned = False


def _check_classes(classes):
    known = available()
    if classes is None:
        return known
    if isinstance(classes, (str, type)):
        classes = [classes]
    names = [getattr(given, "__name__", given) for given in classes]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        came = ", ".join(map(repr, unknown)) if unknown else "none"
        raise ValueError(f"classes: got {came}, expected some of {', '.join(known)}.")
    return tuple(name for name in known if name in names)


def _activate(settings, report):
    global _active
    _unwrap()
    _active = settings, report
    _set_environment({VARIABLE: str(settings), Report.VARIABLE: report.path})
    modules = {MODULES[name] for name in settings.classes}
    for name in modules & sys.modules.keys():
        _wrap(sys.modules[name])
    _finder.waiting = modules - sys.modules.keys()
    if _finder.waiting and _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    return report


def _deactivate():
    global _active
    _unwrap()
    _active = None
    _finder.waiting = set()
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
    _set_environment(_environment)
    _environment.clear()


def _set_environment(values):
    changed = False
    for name, value in dict(values).items():
        before = os.environ.get(name)
        if before == value:
            continue
        changed = True
        if values is not _environment:
            _environment.setdefault(name, before)
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if changed:
        _renew_workers()


def _renew_workers():
    """End joblib's idle workers, which started with another environment."""
    loky = sys.modules.get("joblib.externals.loky.reusable_executor")
    executor = getattr(loky, "_executor", None)
    if executor is not None and not executor._pending_work_items:
        executor.shutdown(wait=False)


def _wrap(module):
    from schuss.acceleration import wrappers

    _warn_of_version()
    assert _active is not None
    settings, report = _active
    for name in settings.classes:
        if MODULES[name] == module.__name__:
            wrappers.wrap(getattr(module, name), settings, report)


def _unwrap():
    if wrappers := sys.modules.get("schuss.acceleration.wrappers"):
        wrappers.unwrap_all()


def _warn_of_version():
    global _warned
    version = sys.modules["sklearn"].__version__
    if not _warned and not version.startswith(tuple(f"{tested}." for tested in TESTED)):
        _warned = True
        warnings.warn(
            f"schuss.accelerate is tested with scikit-learn {', '.join(TESTED)}; this is "
            f"{version}. schuss.accelerate(verify=True) compares the fits of both.",
            stacklevel=2,
        )


class _Finder:
    """Import hook that wraps the classes of modules that are imported later."""

    def __init__(self):
        self.waiting = set()

    def find_spec(self, name, path=None, target=None):
        if name not in self.waiting:
            return None
        self.waiting.discard(name)
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)):
                break
        else:
            return None
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module):
            execute(module)
            if _active is not None:
                _wrap(module)

        loader.exec_module = exec_module
        return spec


_finder = _Finder()
