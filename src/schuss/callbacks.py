"""Callbacks for ``fit`` and `train`.

A callback is any callable ``f(info)``; ``info`` is a `schuss.driver.Info`. It is called
after each chunk of iterations, about every 50 ms, and at the end; a callable with an
integer attribute ``every`` is called every so many iterations. If it returns True, the
run stops, and ``stop_reason_`` is ``"callback"``.

Examples
--------
>>> import schuss
>>> from schuss.callbacks import TargetLoss
>>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
>>> result = schuss.train(X, y, solver="nesterov", callbacks=[TargetLoss(0.05, every=10)])
>>> result.stop_reason
'callback'
>>> result.loss < 0.05
True
"""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING

from schuss.validation import check_every

if TYPE_CHECKING:
    from schuss.driver import Info


class Callback:
    """Base class of the callbacks.

    Parameters
    ----------
    every : int or None
        Number of iterations between two calls; None: called after each chunk.
    """

    def __init__(self, every: int | None = None):
        self.every = check_every(every)

    def __call__(self, info: Info) -> bool | None:
        raise NotImplementedError


class TargetLoss(Callback):
    """Stop when the loss reaches a value.

    Parameters
    ----------
    loss : float
    every : int or None
        As in `Callback`.
    """

    def __init__(self, loss: float, every: int | None = None):
        super().__init__(every)
        self.loss = loss

    def __call__(self, info: Info) -> bool:
        return info.loss <= self.loss


class TimeLimit(Callback):
    """Stop after a number of seconds.

    Parameters
    ----------
    seconds : float
    """

    def __init__(self, seconds: float):
        super().__init__()
        self.seconds = seconds

    def __call__(self, info: Info) -> bool:
        return info.seconds >= self.seconds


class Print(Callback):
    """Print progress lines, as ``verbose`` does.

    Parameters
    ----------
    seconds : float
        Minimum time between two lines.
    every : int or None
        As in `Callback`.
    """

    def __init__(self, seconds: float = 1.0, every: int | None = None):
        super().__init__(every)
        self.seconds = seconds
        self._next = 0.0

    def __call__(self, info: Info) -> None:
        if info.seconds < self._next and info.n_iter < info.max_iter:
            return
        self._next = info.seconds + self.seconds
        validation = info.validation_loss
        print(
            f"iteration {info.n_iter}/{info.max_iter}  loss {info.loss:.6g}  "
            + ("" if isnan(info.gradient_norm) else f"gradient {info.gradient_norm:.3g}  ")
            + f"step {info.step:.3g}"
            + ("" if validation is None else f"  validation {validation:.6g}")
            + f"  {info.seconds:.1f} s"
        )
