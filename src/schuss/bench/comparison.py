"""What may be said of two series of timings that were taken in pairs.

A pair is two timings made one right after the other, so that a machine that slows down
slows both. Everything here is computed from the logarithms of the pairs' ratios: their
median, and a bootstrap interval of it. A program is called slower only where the whole
interval lies above the limit, the loss is one that somebody could notice, and a second
series says the same; where the same program against itself comes out as unequal, nothing
is said at all.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

# Slower by more than this fails.
LIMIT = 0.10
# Fewer pairs make an interval of a median that is no wider than chance.
MIN_PAIRS = 15
CONFIDENCE = 0.95
RESAMPLES = 2000
# Seconds a call that nobody notices, whatever their share.
MIN_SECONDS = 5e-6


class Verdict(StrEnum):
    """How a check came out; `refused` is a wrong answer, or work that was not equal."""

    passed = "passed"
    failed = "FAILED"
    refused = "REFUSED"
    inconclusive = "inconclusive"
    skipped = "skipped"


BAD = (Verdict.failed, Verdict.refused)


class Ratio(NamedTuple):
    """A median and the ends of its interval."""

    low: float
    median: float
    high: float


def interval(ratios, confidence=CONFIDENCE, resamples=RESAMPLES, seed=0) -> Ratio:
    """Median of positive ratios, with its percentile bootstrap interval.

    Examples
    --------
    >>> interval([1.0, 1.0, 1.0])
    Ratio(low=1.0, median=1.0, high=1.0)
    """
    logs = np.log(np.asarray(ratios, dtype=np.float64))
    draws = np.random.default_rng(seed).integers(0, len(logs), (resamples, len(logs)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.median(logs[draws], axis=1), (tail, 1 - tail))
    return Ratio(*(float(np.exp(value)) for value in (low, np.median(logs), high)))


@dataclass(frozen=True)
class Pairs:
    """Seconds a call of one piece of work, by two programs in turn."""

    base: list[float]
    head: list[float]

    @property
    def ratio(self) -> Ratio:
        """Time of the head, with that of the base as 1."""
        return interval(np.divide(self.head, self.base))

    def slower(self, limit: float = LIMIT, min_seconds: float = MIN_SECONDS) -> bool:
        """Whether the head surely takes longer, by more than the limit and noticeably."""
        lost = np.median(np.subtract(self.head, self.base))
        return bool(self.ratio.low > 1 + limit and lost > min_seconds)

    def unclear(self, limit: float = LIMIT, min_seconds: float = MIN_SECONDS) -> bool:
        """Whether the interval holds the limit, so that it may be slower or not."""
        low, _, high = self.ratio
        lost = np.median(np.subtract(self.head, self.base))
        return bool(low <= 1 + limit < high and lost > min_seconds)

    def unsteady(self, limit: float = LIMIT) -> bool:
        """Of one program against itself: whether half the limit could be chance."""
        low, _, high = self.ratio
        return max(high, 1 / low) > 1 + limit / 2


def verdict(
    same: Pairs,
    first: Pairs,
    again: Pairs | None = None,
    *,
    limit: float = LIMIT,
    min_seconds: float = MIN_SECONDS,
) -> tuple[Verdict, str]:
    """Judge the head of `first`, and of its repetition.

    Parameters
    ----------
    same : Pairs
        The head against itself.
    first, again : Pairs
        The base against the head; `again` is needed only where `first` is slower.

    Returns
    -------
    verdict : Verdict
    note : str
    """
    low, _, high = same.ratio
    if same.unsteady(limit):
        return Verdict.inconclusive, f"against itself {low:.3f}–{high:.3f}: too noisy here"
    for pairs in (first, *([again] if again else [])):
        if pairs.unclear(limit, min_seconds):
            return Verdict.inconclusive, "too noisy here to tell on which side of the limit"
        if not pairs.slower(limit, min_seconds):
            note = "" if pairs is first else f"slower once, then {pairs.ratio.median:.3f}"
            return Verdict.passed, note
    return Verdict.failed, f"slower by more than {limit:.0%}" + (", twice" if again else "")
