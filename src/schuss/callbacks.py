"""Callbacks for ``fit`` and `train`.

A callback is any callable ``f(info)``; ``info`` is a `schuss.driver.Info`. It is called
after each chunk of iterations, which takes about 50 ms, and at the end; a callable with
an integer attribute ``every`` is called whenever that many iterations are done. It stops
the run by returning True: ``stop_reason_`` is then ``"callback"``.

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

from math import isnan

from schuss.validation import check_every


class Callback:
    """Base of the callbacks here.

    Parameters
    ----------
    every : int or None
        Call it whenever this many iterations are done; None: after each chunk.
    """

    def __init__(self, every=None):
        self.every = check_every(every)

    def __call__(self, info):
        raise NotImplementedError


class TargetLoss(Callback):
    """Stop when the cost has come down to a value.

    Parameters
    ----------
    loss : float
    every : int or None
    """

    def __init__(self, loss, every=None):
        super().__init__(every)
        self.loss = loss

    def __call__(self, info):
        return info.loss <= self.loss


class TimeLimit(Callback):
    """Stop after some seconds.

    Parameters
    ----------
    seconds : float
    """

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def __call__(self, info):
        return info.seconds >= self.seconds


class Print(Callback):
    """Print a line of progress from time to time; what ``verbose`` does.

    Parameters
    ----------
    seconds : float
        Least time between two lines.
    every : int or None
    """

    def __init__(self, seconds=1.0, every=None):
        super().__init__(every)
        self.seconds = seconds
        self._next = 0.0

    def __call__(self, info):
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
