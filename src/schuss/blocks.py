"""Rows in blocks: the seam between an objective and rows that are not all in memory.

A `Source` gives the blocks, in the same order as often as they are wanted: from files (`stream`),
or from the workers of a cluster (`dask`), where the functions of blocks then run. It is all that
another engine has to bring. `survey` reads it once and makes `RowBlocks`, which take the place of
X in a fit; their objective is that of all rows, as sums over the blocks, and `BlockBackend` the
kernel contract over them. So the solvers run unchanged.

Sums over blocks are added in pairs, pairs of pairs and so on, in the order of the blocks: they
depend on the blocks alone, not on who computed them.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.utils import assert_all_finite

from schuss import backends, data, threads, validation
from schuss.backends.contract import Data
from schuss.backends.numpy_ import descend_by, has_ended
from schuss.constants import Counter, SGDScalar, Status
from schuss.data import ORDER_TYPE, Blocked, Rows
from schuss.losses import BY_CODE, QUADRATIC, Loss, LossFunction
from schuss.methods import SOLVERS
from schuss.objective import (
    SAMPLE_SEED,
    Objective,
    class_stretches,
    least_of_class,
    stretches,
)

# Bytes of the rows that a sample of them may take.
_SAMPLE_BYTES = 1 << 26


class Source:
    """Blocks of rows, each a `data.Rows`, that can be read again.

    Attributes
    ----------
    local : bool
        Whether the functions run in this process, one block after the other.
    """

    local = True

    def map(self, function: Callable[[Rows], Rows]) -> "Source":
        """The same blocks, each as a function makes it."""
        raise NotImplementedError

    def collect(self, function: Callable[..., Any], *places: Iterable) -> Iterator:
        """What ``function(rows, *place)`` returns of each block, in their order.

        `places` are iterables of what the function gets of each block besides.
        """
        raise NotImplementedError

    def total(self, function: Callable[[Rows], tuple]) -> tuple:
        """Sum of the tuples of arrays and numbers that a function returns of each block."""
        return tree_sum(self.collect(function))

    def describe(self, block: int) -> str:
        """Where a block comes from, for errors."""
        return f"block {block}"

    def let_go(self) -> None:
        """Give up blocks that are kept for nobody else: another source was made of them."""


def add(left: tuple, right: tuple) -> tuple:
    """The sums of two tuples, entry by entry."""
    return tuple(a + b for a, b in zip(left, right, strict=True))


def tree_sum(parts: Iterable[tuple]) -> tuple:
    """Sum of tuples in a balanced tree over their order, of which few are kept at a time.

    Examples
    --------
    >>> tree_sum([(1, 2.0), (3, 4.0), (5, 6.0)])
    (9, 12.0)
    """
    waiting: list[tuple[int, tuple]] = []
    for part in parts:
        level = 0
        while waiting and waiting[-1][0] == level:
            part = add(waiting.pop()[1], part)
            level += 1
        waiting.append((level, part))
    (_, total) = waiting.pop()
    while waiting:
        total = add(waiting.pop()[1], total)
    return total


# --------------------------------------------------------------------- the first pass


class Found(NamedTuple):
    """What `survey` wants to know of a block."""

    shape: tuple[int, int]
    size: int
    dtype: np.dtype
    is_sparse: bool
    weighted: bool
    largest_weight: float
    classes: Any  # ndarray, or None
    counts: np.ndarray  # rows of each class; of reals, all rows
    weights: np.ndarray  # sums of their weights
    ends: Any  # None, or (2,) or (2, K) smallest and largest target
    sums: np.ndarray  # of the weighted targets


def _look(labels: bool, several: bool, rows: Rows) -> Found:
    """`Found` of a block; its labels and numbers are checked."""
    X, n = rows.X, rows.X.shape[0]
    weights = validation.check_weights(rows.sample_weight, X, all_zero=True)
    own = np.ones(n) if weights is None else weights
    classes = ends = None
    counts, sums = np.array([n]), np.zeros(0)
    if labels:
        classes, codes = validation.check_labels(rows.y, n)
        counts = np.bincount(codes, minlength=len(classes))
        weight_sums = np.bincount(codes, weights=own, minlength=len(classes))
    else:
        y = validation.check_targets(rows.y, n, None, several=several)
        assert_all_finite(y, input_name="y")
        ends = np.stack([y.min(axis=0), y.max(axis=0)]).astype(np.float64)
        weight_sums = np.array([own.sum()])
        sums = own @ y.astype(np.float64, copy=False)
    largest = float(own.max(initial=0))
    return Found(
        X.shape, data.size(X), X.dtype, sp.issparse(X), weights is not None, largest, classes,
        counts, weight_sums, ends, np.asarray(sums),
    )  # fmt: skip


class Survey(NamedTuple):
    """All blocks of a source, after a pass over them."""

    source: Source
    blocks: list[Found]
    classes: Any  # ndarray, or None

    @property
    def shape(self) -> tuple[int, int]:
        return sum(block.shape[0] for block in self.blocks), self.blocks[0].shape[1]

    @property
    def weighted(self) -> bool:
        return self.blocks[0].weighted

    def by_class(self, name: str) -> np.ndarray:
        """The blocks' `counts` or `weights` of all classes: (n_blocks, n_classes)."""
        if self.classes is None:
            return np.array([getattr(block, name) for block in self.blocks])
        out = np.zeros((len(self.blocks), len(self.classes)), getattr(self.blocks[0], name).dtype)
        for i, block in enumerate(self.blocks):
            out[i, np.searchsorted(self.classes, block.classes)] = getattr(block, name)
        return out

    def rows(
        self, classes: np.ndarray | None = None, factors: np.ndarray | None = None,
        several: bool = False,
    ) -> Rows:  # fmt: skip
        """Rows to learn from, their labels as codes.

        Parameters
        ----------
        classes : ndarray or None
            All that there may be; None for those found.
        factors : ndarray or None
            Of the weights of each class.
        several : bool
            Whether there may be several real targets a row.
        """
        known = self.classes if classes is None else classes
        X = RowBlocks(self, known, factors, several)
        return Rows(X, X.targets, X.weights if X.weighted else None)


def refuse_unlike(source: Source, blocks: list, traits: Callable[[Any], dict[str, Any]]) -> None:
    """Raise where there are no blocks, or one differs from the first in some of its traits."""
    if not blocks:
        raise ValueError("X: the stream has no rows, expected at least one block of them.")
    first = traits(blocks[0])
    for i, block in enumerate(blocks):
        for name, came in traits(block).items():
            if came != first[name]:
                raise ValueError(
                    f"X: {source.describe(i)} differs from {source.describe(0)} in its {name}: "
                    f"{came}, expected {first[name]}. Give all blocks the same columns and types."
                )


def survey(source: Source, *, labels: bool, several: bool = False) -> Survey:
    """Read a source once, and refuse blocks that do not fit together.

    Parameters
    ----------
    source : Source
    labels : bool
        Whether targets are labels of classes, else numbers.
    several : bool
        Whether there may be several numbers a row.
    """
    blocks = list(source.collect(partial(_look, labels, several)))
    refuse_unlike(source, blocks, lambda block: {
        "features": block.shape[1], "type": block.dtype, "sparse rows": block.is_sparse,
        "sample_weight": block.weighted, "targets of shape": np.shape(block.ends)[1:],
    })  # fmt: skip
    if not sum(block.weights.sum() for block in blocks) > 0:
        raise ValueError(
            "Sample weights must contain at least one non-zero number: every entry of "
            "sample_weight is 0. Leave sample_weight out to count all rows alike."
        )
    classes = None
    if labels:
        kinds = {block.classes.dtype.kind in "OUST" for block in blocks}
        if len(kinds) > 1:
            raise ValueError(
                "y: some blocks hold text and others numbers, expected labels of one type."
            )
        classes = np.unique(np.concatenate([block.classes for block in blocks]))
    return Survey(source, blocks, classes)


def _encode(
    classes: np.ndarray | None, factors: np.ndarray | None, exponent: int | None,
    several: bool, rows: Rows,
) -> Rows:  # fmt: skip
    """A block with codes or reals as targets, and weights as the kernels take them."""
    n, real = rows.X.shape[0], data.real_type(rows.X)
    if classes is not None:
        y = validation.check_labels(rows.y, n, classes)[1]
    else:
        y = validation.check_targets(rows.y, n, real, several=several)
    weights = rows.sample_weight
    if exponent is None:
        return Rows(rows.X, y, None)
    weights = (
        np.ones(n) if weights is None else validation.check_weights(weights, rows.X, all_zero=True)
    )
    if factors is not None:
        weights = weights * factors[y]
    return Rows(rows.X, y, np.ldexp(weights, exponent).astype(real, copy=False))


class RowBlocks(Blocked):
    """Rows of a source, in the place of X.

    Attributes
    ----------
    shape, dtype, size
        As of an array; `size` is that of all entries that a pass reads.
    is_sparse : bool
    targets : ndarray
        Codes of all classes; or the smallest and the largest target, of shape (2,) or (2, K).
    weights : ndarray
        Of these: the sums over the rows of each class; of reals, those of all rows and 0.
    weighted : bool
        Whether rows have weights.
    means : ndarray
        Of real targets.
    counts : ndarray of shape (n_blocks, n_classes)
        Rows of each class in each block; of reals, all of them.
    """

    def __init__(self, found: Survey, classes, factors, several):
        blocks = found.blocks
        self.shape = found.shape
        self.dtype = blocks[0].dtype
        self.size = sum(block.size for block in blocks)
        self.is_sparse = blocks[0].is_sparse
        self.counts = found.by_class("counts")
        self.weighted = found.weighted or factors is not None
        sums = found.by_class("weights").sum(axis=0)
        largest = max(block.largest_weight for block in blocks)
        if classes is not None:
            if len(classes) != len(found.classes):
                # Some of the classes that are known may be missing here.
                places = np.searchsorted(classes, found.classes)
                sums = _spread(sums, places, len(classes))
                self.counts = _spread(self.counts, places, len(classes))
            if factors is not None:
                sums = sums * factors
                largest *= float(factors.max())
            self.targets = np.arange(len(classes))
            self.weights = sums
            self.means = sums / sums.sum()
        else:
            ends = np.stack([block.ends for block in blocks])
            self.targets = np.stack([ends[:, 0].min(axis=0), ends[:, 1].max(axis=0)])
            self.weights = np.append(sums, 0.0)
            self.means = np.atleast_1d(sum(block.sums for block in blocks) / sums.sum())
        self._exponent = 1 - int(np.frexp(largest)[1]) if self.weighted else None
        self._raw = found.source
        self._encode = partial(_encode, classes, factors, self._exponent, several)
        self._lengths = [block.shape[0] for block in blocks]

    @cached_property
    def source(self) -> Source:
        """The blocks, with codes and weights as the kernels take them."""
        source = self._raw.map(self._encode)
        self._raw.let_go()
        return source

    @property
    def scale(self) -> float:
        """Inverse of the sum of the weights, as the kernels take them."""
        return 1.0 / float(np.ldexp(self.weights.sum(), self._exponent or 0))

    @property
    def n_blocks(self) -> int:
        return len(self._lengths)

    @property
    def block_size(self) -> int:
        """Entries of a typical block."""
        return self.size // self.n_blocks

    def objective(self, loss: LossFunction, **options: Any) -> "BlockObjective":
        return BlockObjective(self, loss, **options)

    def astype(self, dtype):
        raise ValueError(
            f"X is a stream of {self.dtype}, expected one that trains {np.dtype(dtype)} weights: "
            f"give the stream dtype={str(np.dtype(dtype))!r}."
        )

    def largest(self) -> float:
        return max(self.source.collect(_largest))

    def check_finite(self) -> None:
        for i, text in enumerate(self.source.collect(_find_nonfinite)):
            if text is not None:
                raise ValueError(f"{self.source.describe(i)}: {text}")


def _spread(values, places, n_classes):
    out = np.zeros((*values.shape[:-1], n_classes), values.dtype)
    out[..., places] = values
    return out


def _largest(rows):
    return data.largest(rows.X)


def _find_nonfinite(rows):
    try:
        data.check_features(rows.X)
    except ValueError as error:
        return str(error)
    return None


# --------------------------------------------------------------------- the objective


class _Part(NamedTuple):
    """How a block is evaluated; it travels to where the block is."""

    loss: int
    n_outputs: int
    fit_intercept: bool
    scale: float  # of all rows
    n_jobs: int | None

    def objective(self, rows: Rows) -> Objective:
        """The block's share of the mean loss, without penalties."""
        part = Objective(
            backends.current(), rows.X, rows.y, rows.sample_weight, BY_CODE[Loss(self.loss)],
            n_outputs=self.n_outputs, fit_intercept=self.fit_intercept,
            n_threads=threads.available(self.n_jobs),
        )  # fmt: skip
        part.data = part.data._replace(scale=self.scale)
        return part


def _gradient(part: _Part, loss: int, coef, intercept, rows: Rows) -> tuple:
    """The block's shares of the value and the gradient, in float64."""
    objective = part.objective(rows)
    bound = objective.without_targets() if loss == QUADRATIC.code else objective.data
    gradients = np.empty_like(coef), np.empty_like(intercept)
    with np.errstate(over="ignore", invalid="ignore"):
        value = objective.backend.gradient(
            bound, loss, coef, intercept, *gradients, objective.n_threads()
        )
    return (value, *(gradient.astype(np.float64) for gradient in gradients))


def _share(part: _Part, name: str, arguments: tuple, rows: Rows) -> tuple:
    """What a method of the block's objective returns, as a tuple."""
    return (getattr(part.objective(rows), name)(*arguments),)


def _take(rows: Rows, places, of_classes: bool) -> Rows:
    """Some of the rows, by number or by rank within each class, in their order."""
    if of_classes:
        places = np.sort(np.concatenate(
            [np.flatnonzero(rows.y == code)[ranks] for code, ranks in enumerate(places)]
        ))  # fmt: skip
    weights = rows.sample_weight
    return Rows(rows.X[places], rows.y[places], None if weights is None else weights[places])


class BlockBackend:
    """The kernel contract, as far as solvers of neurons need it, over `RowBlocks`.

    ``data.X`` are the blocks; whatever else `data` holds, each block has its own.
    """

    def __init__(self, blocks: RowBlocks, part: _Part):
        self.NAME = backends.get_backend()
        self._blocks, self._part = blocks, part

    def gradient(self, data, loss, coef, intercept, coef_grad, intercept_grad, n_threads):
        value, coef_grad[...], intercept_grad[...] = self._blocks.source.total(
            partial(_gradient, self._part, loss, coef, intercept)
        )
        return float(value)

    def evaluator(self, data, loss, coef, intercept, coef_grad, intercept_grad, n_threads):
        arrays = coef, intercept, coef_grad, intercept_grad
        return partial(self.gradient, data, loss, *arrays, n_threads)

    def descend(self, data, state, config, order, history, n_threads):
        n = self._blocks.shape[0]
        if config.batch_size < n:
            return self._batches(data, state, config, order, history)

        def evaluate(rows, start, stop, factor, coef_grad, intercept_grad):
            return self.gradient(
                data, config.loss, state.coef, state.intercept, coef_grad, intercept_grad, n_threads
            )

        return descend_by(evaluate, n, state, config, None, history)

    def _batches(self, data, state, config, seeds, history):
        """Epochs of mini-batches: of each block its own, in a random order where told so."""
        n = self._blocks.shape[0]
        if not self._blocks.source.local:
            others = [repr(name) for name, method in SOLVERS.items() if method.batch_size is None]
            raise ValueError(
                "Mini-batches go from block to block, which here are on several machines. Leave "
                f"batch_size=None, and choose one of solver={', '.join(others)}."
            )
        config = config._replace(tol=-1.0)
        row = np.empty((1, history.shape[1]))
        epoch = 0
        try:
            for epoch in range(len(history)):
                total = 0.0
                for i, rows in enumerate(self._blocks.source.collect(_itself)):
                    part, m = self._part.objective(rows), rows.X.shape[0]
                    bound = part.data._replace(scale=part.data.scale * n / m)
                    order = None
                    if seeds is not None:
                        generator = np.random.default_rng([int(seeds[epoch, 0]), i])
                        order = generator.permutation(m).astype(ORDER_TYPE)[None]
                    _, status = part.backend.descend(
                        bound, state, config, order, row, part.n_threads(config.batch_size)
                    )
                    # With the penalty at the last batch of each block.
                    total += row[0, 0] * m / n
                    if status == Status.NONFINITE:
                        history[epoch] = row[0]
                        return epoch, status
                history[epoch] = total, row[0, 1], row[0, 2]
            epoch = len(history)
        finally:
            state.counters[Counter.EPOCHS] = epoch
        return epoch, Status.RAN

    def sweep(self, data, state, config, class_weight, held_out, seeds, history, n_threads):
        """One step per row, block after block; rows are shuffled within their block."""
        backend, k = backends.current(), len(state.coef)
        inner = config._replace(tol=-math.inf)
        row = np.empty((1, *history.shape[1:]))
        scalars = state.scalars
        scalars[:, SGDScalar.EPOCHS] = 0
        done = np.zeros(k, int)
        try:
            for epoch in range(len(history)):
                running = scalars[:, SGDScalar.STATUS] == Status.RAN
                if not running.any():
                    break
                sums = np.zeros(k)
                for rows in self._blocks.source.collect(_itself):
                    m = rows.X.shape[0]
                    y = rows.y if rows.y.ndim == 1 and rows.y.dtype.kind != "f" else rows.y[None]
                    part = state._replace(order=np.tile(np.arange(m, dtype=ORDER_TYPE), (k, 1)))
                    own = None
                    if seeds is not None:
                        # Other ones in each epoch and block: these have seen other numbers of rows.
                        own = np.array(
                            [
                                np.random.SeedSequence(
                                    [int(seed), int(scalars[j, SGDScalar.T])]
                                ).generate_state(1)[0]
                                for j, seed in enumerate(seeds)
                            ],
                            np.uint32,
                        )
                    backend.sweep(
                        Data(backend.prepare(rows.X), y, rows.sample_weight, 1.0), part, inner,
                        class_weight, None, own, row, n_threads,
                    )  # fmt: skip
                    sums[running] += row[0, running, 0] * m
                for j in np.flatnonzero(running):
                    value = sums[j] / self._blocks.shape[0]
                    history[epoch, j] = value, scalars[j, SGDScalar.STEP]
                    done[j] = epoch + 1
                    has_ended(state.coef[j], scalars[j], config, value)
        finally:
            scalars[:, SGDScalar.EPOCHS] = done
        return int(done.max())


def _itself(rows):
    return rows


class BlockObjective(Objective):
    """`objective.Objective` of rows in blocks: sums of the blocks' own.

    Parameters
    ----------
    blocks : RowBlocks
    loss : LossFunction
    n_outputs, alpha, l1_ratio, fit_intercept
        As of `objective.Objective`.
    n_jobs : int or None
        Threads for a block, as in `threads.available`.
    """

    def __init__(
        self, blocks: RowBlocks, loss: LossFunction, *, n_outputs: int = 1, alpha: float = 0.0,
        l1_ratio: float = 0.0, fit_intercept: bool = True, n_jobs: int | None = None,
    ):  # fmt: skip
        self._part = _Part(int(loss.code), n_outputs, fit_intercept, blocks.scale, n_jobs)
        self.backend = BlockBackend(blocks, self._part)
        self.data = Data(blocks, blocks.targets, None, blocks.scale)
        self.loss = loss
        self.n_rows, self.n_features = blocks.shape
        self.learnt, self.n_learnt = None, self.n_rows
        self.n_outputs = n_outputs
        self.dtype = data.real_type(blocks)
        self.size = blocks.size
        self.set_penalty(alpha, l1_ratio)
        self.fit_intercept = fit_intercept
        self.is_sparse = blocks.is_sparse
        self.takes_newton = self.takes_columns = False
        self._threads = threads.available(n_jobs)
        self._X = self._blocks = blocks
        self.passes = self.hessians = 0
        self._curvature: dict = {}

    def n_threads(self, batch_size=None):
        return threads.useful(self._threads, self._blocks.block_size * self.n_outputs)

    def hessian(self, theta, units=None, centres=None, coupled=True):
        self.passes += 1
        self.hessians += 1
        return self._total("hessian", theta, units, centres, coupled)

    def hessian_diagonal(self, theta, units=None, centres=None):
        self.passes += 1
        return self._total("hessian_diagonal", theta, units, centres)

    def largest_score(self, theta):
        self.passes += 1
        return max(part for (part,) in self._collect("largest_score", theta))

    def has_labels(self):
        return self.data.y.dtype.kind != "f"

    def least_weight(self):
        # The smallest is not known.
        return 0.0 if self._blocks.weighted else self.data.scale

    def centres(self):
        # Of the first block: that is near enough.
        (centres,) = next(self._collect("centres"))
        return centres

    def largest_features(self):
        self.passes += 1
        return np.max([part for (part,) in self._collect("largest_features")], axis=0)

    def largest_feature(self):
        return max(part for (part,) in self._collect("largest_feature"))

    def largest_row(self):
        return max(part for (part,) in self._collect("largest_row"))

    @property
    def largest_sample(self):
        return max(1, min(self.n_rows, _SAMPLE_BYTES // (self.n_features * self.dtype.itemsize)))

    def draw(self, m):
        blocks, m = self._blocks, min(m, self.largest_sample)
        generator = np.random.default_rng(SAMPLE_SEED)
        counts, shares = blocks.counts, None
        rows = np.arange(m) if m == self.n_rows else stretches(self.n_rows, m, generator)
        k = max(2, self.n_outputs)
        of_classes = self.data.y.dtype.kind != "f"
        # Classes are as rare in a sample as in all rows, but where these are sorted.
        of_classes = (
            of_classes and counts.sum(axis=0).min() * m < least_of_class(m, k) * self.n_rows
        )
        if of_classes:
            ranks, shares = class_stretches(counts.sum(axis=0), m, generator)
            begins = np.vstack([np.zeros_like(counts[0]), counts.cumsum(axis=0)])
            places = [
                [
                    part[np.searchsorted(part, low) : np.searchsorted(part, high)] - low
                    for part, low, high in zip(ranks, lows, highs, strict=True)
                ]
                for lows, highs in zip(begins[:-1], begins[1:], strict=True)
            ]
        else:
            ends = list(accumulate(counts.sum(axis=1).tolist(), initial=0))
            places = [
                rows[np.searchsorted(rows, low) : np.searchsorted(rows, high)] - low
                for low, high in zip(ends[:-1], ends[1:], strict=True)
            ]
        self.passes += 1
        parts = list(blocks.source.collect(_take, places, [of_classes] * len(places)))
        parts = [part for part in parts if len(part.y)]
        stack = sp.vstack if self.is_sparse else np.concatenate
        X = stack([part.X for part in parts])
        X = sp.csr_array(X) if self.is_sparse else X
        y = np.concatenate([part.y for part in parts])
        weights = None
        if blocks.weighted:
            weights = np.concatenate([part.sample_weight for part in parts])
        if shares is not None:
            factors = shares[y].astype(self.dtype)
            weights = factors if weights is None else weights * factors
        sample = Objective(
            backends.current(), X, y, weights, self.loss, n_outputs=self.n_outputs,
            fit_intercept=self.fit_intercept, n_threads=self._threads,
        )  # fmt: skip
        sample.l2, sample.l1 = self.l2, self.l1
        return sample

    def orders(self, epochs, generator):
        """Seeds of the blocks' own orders: (epochs, 1)."""
        return generator.integers(1 << 32, size=(epochs, 1)) if generator is not None else None

    def without_targets(self):
        return self.data

    def _mean_targets(self):
        means = self._blocks.means
        if self.data.y.dtype.kind != "f":
            means = means[1:2] if self.n_outputs == 1 else means
        return np.clip(means, 0.0, 1.0)

    def _collect(self, name, *arguments):
        return self._blocks.source.collect(partial(_share, self._part, name, arguments))

    def _total(self, name, *arguments):
        (total,) = self._blocks.source.total(partial(_share, self._part, name, arguments))
        return total
