"""What may be said of timings taken in pairs, however soon one looks at them.

A pair is timings made side by side by fresh processes of two builds, and by a second one of
the head. Only the sign of a pair's log ratio, less a threshold, is used: where the median ratio
does not exceed the threshold, signs are no better than coins, whatever the noise. A mixture
over coins (a beta-binomial martingale) bounds the chance that this is ever contradicted, so
that each series ends as soon as its data allow.
"""

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from scipy.special import betainc, betaln
from scipy.stats import binom, mannwhitneyu

# A slowdown that is to be found; the shares of it up to which there is no alarm, and from which
# nothing passes.
LIMIT, TOLERATED, NOTICED = 0.05, 0.4, 0.8
# The chance, of a whole run, that something is called slower by more than is tolerated and is
# not; and that of one benchmark whose noticed slowdown passes.
ALARM_ERROR, PASS_ERROR = 0.01, 0.05
# Seconds a call that nobody notices, whatever their share.
MIN_SECONDS = 5e-6
MAX_PAIRS = 200


class Verdict(StrEnum):
    """How a check came out; `refused` is a wrong answer, or work that was not equal."""

    passed = "passed"
    failed = "FAILED"
    refused = "REFUSED"
    inconclusive = "inconclusive"
    skipped = "skipped"


BAD = (Verdict.failed, Verdict.refused)


@dataclass
class Check:
    """One line of the gate's table."""

    part: str
    work: str
    verdict: Verdict
    measured: str = ""
    allowed: str = ""
    note: str = ""
    value: float | None = None  # for the history: a ratio, instructions, or seconds a call


class Ratio(NamedTuple):
    """A median and the ends of its interval."""

    low: float
    median: float
    high: float


def interval(ratios, confidence=0.95) -> Ratio:
    """Median of positive ratios and its exact interval, for a number of them fixed before."""
    found = np.sort(np.asarray(ratios, dtype=np.float64))
    n = len(found)
    # The last order statistic below which the median lies too rarely; the first, if none.
    rank = max(0, int(binom.ppf((1 - confidence) / 2, n, 0.5)) - 1)
    return Ratio(float(found[rank]), float(np.median(found)), float(found[n - 1 - rank]))


def evidence(positive: int, n: int) -> float:
    """How much more likely so many positive signs are for unfair coins than for fair ones.

    Where the true share is at most a half it ever exceeds 1/a with a chance of at most a.
    """
    if not n:
        return 1.0
    a, b = positive + 1, n - positive + 1
    upper = betainc(b, a, 0.5)
    if upper <= 0:
        return 0.0
    return math.exp(min((n + 1) * math.log(2) + betaln(a, b) + math.log(upper), 700))


def surely_above(logs: np.ndarray, threshold: float, error: float) -> bool:
    """Whether the median of the log ratios exceeds the threshold, at this error rate."""
    return evidence(int((logs > threshold).sum()), len(logs)) >= 1 / error


@dataclass
class Pairs:
    """Seconds a call of one benchmark: of the base, the head, and the head once more."""

    base: list[float] = field(default_factory=list)
    head: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)

    @property
    def logs(self) -> np.ndarray:
        """Log ratios of head to base."""
        return np.log(np.divide(self.head, self.base))

    @property
    def same(self) -> np.ndarray:
        """Log ratios of the head to itself."""
        return np.log(np.divide(self.again, self.head))

    @property
    def ratio(self) -> Ratio:
        """Median time of the head, that of the base being 1, and its 95 % interval at any time."""
        logs = np.sort(self.logs)
        n = len(logs)
        inside = [
            value
            for k, value in enumerate(logs)
            if max(evidence(k + 1, n), evidence(n - k, n)) < 2 / 0.05
        ]
        low, high = (inside[0], inside[-1]) if inside and n > 8 else (-math.inf, math.inf)
        return Ratio(
            math.exp(low), math.exp(np.median(logs)), math.exp(high) if high < 700 else math.inf
        )


def judge(
    pairs: Pairs,
    limit: float = LIMIT,
    min_seconds: float = MIN_SECONDS,
    n_benchmarks: int = 1,
) -> tuple[Verdict, str]:
    """The verdict that the pairs allow so far; inconclusive where they allow none yet.

    A slowdown by the share `limit` is to be found, unless a call takes no more than `min_seconds`
    longer; `TOLERATED` of it is no alarm. The benchmarks of a run share its error rate.
    """
    if not pairs.base:
        return Verdict.inconclusive, "not timed"
    logs, same = pairs.logs, pairs.same
    tolerated, noticed = math.log1p(TOLERATED * limit), math.log1p(NOTICED * limit)
    if surely_above(-logs, -noticed, PASS_ERROR):
        return Verdict.passed, ""
    if not surely_above(logs, tolerated, ALARM_ERROR / n_benchmarks):
        return Verdict.inconclusive, f"no verdict after {len(logs)} pairs"
    if any(surely_above(sign * same, tolerated, PASS_ERROR) for sign in (1, -1)):
        change = math.expm1(np.median(same))
        return Verdict.inconclusive, f"head against itself {change:+.1%}: too noisy here"
    lost = float(np.median(np.subtract(pairs.head, pairs.base)))
    if lost <= min_seconds:
        return Verdict.passed, f"slower, but by {lost * 1e6:.2g} µs a call"
    return Verdict.failed, f"slower by more than {TOLERATED * limit:.1%} in {len(logs)} pairs"


def change_points(values: np.ndarray, error: float = 0.01) -> list[int]:
    """Where the level of a series changed for good: the first places of new levels.

    The split that a rank test finds least likely by chance, for all splits that were looked at,
    and then the same on either side.
    """
    places = range(3, len(values) - 2)
    found = [(mannwhitneyu(values[:k], values[k:]).pvalue, k) for k in places]
    if not found or min(found)[0] * len(found) > error:
        return []
    at = min(found)[1]
    after = change_points(values[at:], error)
    return [*change_points(values[:at], error), at, *(at + place for place in after)]
