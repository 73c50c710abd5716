"""Pictures in the report of a training: the most certain, the most wrong, and the weights."""

import base64
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

# Pictures of a row of them, pixels of a side, and pictures of weights.
_MAX_SHOWN = 12
_MAX_SIDE = 128
_MAX_WEIGHTS = 24
# Colours of weights for and against, on light and on dark pages.
_FOR, _AGAINST = (225, 105, 0), (0, 130, 205)


class _Shape(NamedTuple):
    """Shape of a row of pixels as a picture."""

    side: int
    n_channels: int

    def of(self, row):
        picture = np.reshape(row, (self.side, self.side, self.n_channels))
        return picture[..., 0] if self.n_channels == 1 else picture


def picture_rows(
    estimator: Any, X: np.ndarray, y: np.ndarray, side: int, names: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Rows of pictures: the most certain, the most wrong, and the weights.

    Parameters
    ----------
    estimator : fitted classifier
    X : ndarray of shape (n, d), uint8
        Rows of pixels.
    y : ndarray of shape (n,)
        True classes.
    side : int
        Pixels of a side; d is ``side**2``, or three times that in colour.
    names : sequence of str, optional
        Files of the pictures.

    Returns
    -------
    list of dict
        ``title``, ``text``, and ``pictures``: (address, alternative text, caption lines).
    """
    shape = _Shape(side, X.shape[1] // side**2)
    return [*_by_certainty(estimator, X, y, shape, names), _weights(estimator, shape)]


def _by_certainty(estimator, X, y, shape, names):
    classes = estimator.classes_
    probabilities = estimator.predict_proba(X).astype(float)
    best = probabilities.argmax(axis=1)
    certainty = probabilities[np.arange(len(X)), best]
    is_right = classes[best] == y
    order = np.argsort(-certainty, kind="stable")

    def shown(i):
        name = f", {names[i]}" if len(names) else ""
        answer = f"{classes[best[i]]}, {_per_cent(certainty[i])}"
        truth = f"{y[i]}" if is_right[i] else f"is {y[i]}"
        lines = [answer] if is_right[i] else [answer, truth]
        return _png(shape.of(X[i])), f"a picture of {y[i]}, predicted {answer}{name}", lines

    several = max(1, _MAX_SHOWN // len(classes))
    certain = [i for k in range(len(classes)) for i in order[is_right[order] & (best[order] == k)]
               [:several]][:_MAX_SHOWN]  # fmt: skip
    wrong = order[~is_right[order]]
    yield {
        "title": "The most certain pictures",
        "text": f"Of the {is_right.sum():,} that are right, with their probability.",
        "pictures": [shown(i) for i in certain],
    }
    yield {
        "title": "The most wrong pictures",
        "text": f"Of the {len(wrong):,} that are wrong, those that the model is most certain of. "
        "Some may be in the wrong folder." if len(wrong) else "None is wrong.",
        "pictures": [shown(i) for i in wrong[:_MAX_SHOWN]],
    }  # fmt: skip


def _per_cent(probability):
    return f"{100 * probability:.1f} %" if probability < 0.9995 else "> 99.9 %"


def _weights(estimator, shape):
    """Weights of neurons, or of the hidden neurons that count most, as pictures."""
    classes = estimator.classes_
    if hasattr(estimator, "coefs_"):
        weights, onward = estimator.coefs_[0].T, estimator.coefs_[1]
        influence = np.linalg.norm(weights, axis=1) * np.linalg.norm(onward, axis=1)
        order = np.argsort(-influence, kind="stable")[:_MAX_WEIGHTS]
        # With one output its sign tells which class a hidden neuron speaks for.
        speaks = len(estimator.coefs_) == 2 and onward.shape[1] == 1
        labels = [
            f"{classes[int(onward[j, 0] > 0)]}" if speaks else f"neuron {j + 1}"
            for j in order.tolist()
        ]
        title = "What the hidden neurons look for"
        text = (
            f"The {len(order)} of {len(weights)} neurons of the first hidden layer with the "
            "largest weights in and out. Bright pixels that are orange here excite the neuron, "
            "blue ones inhibit it; what looks like noise is its random start."
            + " Below: the class that the excited neuron speaks for."
            * speaks
        )
        weights = weights[order]
    else:
        weights = np.atleast_2d(estimator.coef_)[:_MAX_WEIGHTS]
        binary = len(weights) == 1
        labels = [f"{name}" for name in (classes[1:] if binary else classes[:_MAX_WEIGHTS])]
        title = "What the neuron looks for" if binary else "What the neurons look for"
        text = (
            f"Its weights, pixel by pixel. Bright pixels that are orange here speak for "
            f"{classes[1] if binary else 'the class'}, blue ones "
            + (f"for {classes[0]}." if binary else "against it.")
        )
    channels = ("red", "green", "blue") if shape.n_channels == 3 else ("",)
    return {
        "title": title,
        "text": text + " Red, green and blue in turn." * (len(channels) == 3),
        "pictures": [
            (
                _png(_tinted(part)),
                f"weights of {label}, {channel or 'each pixel'}",
                [f"{label} {channel}".strip()],
            )
            for row, label in zip(weights, labels, strict=True)
            for part, channel in zip(
                np.reshape(row, (shape.side, shape.side, -1)).transpose(2, 0, 1),
                channels, strict=True,
            )
        ],
    }  # fmt: skip


def _tinted(weights):
    """Weights as colours, the larger the less transparent."""
    weights = weights.astype(float)
    # A few large weights would leave all others invisible.
    top = np.quantile(np.abs(weights), 0.98) or 1.0
    picture = np.empty((*weights.shape, 4), dtype=np.uint8)
    picture[..., :3] = np.where((weights > 0)[..., None], _FOR, _AGAINST)
    picture[..., 3] = 255 * np.minimum(np.abs(weights) / top, 1)
    return picture


def _png(pixels):
    """A picture as an address that holds it."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    stream = io.BytesIO()
    image.save(stream, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
