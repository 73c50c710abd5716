"""MurmurHash3 of many strings at once, and features hashed as scikit-learn hashes them."""

import numpy as np

# Bytes of the strings, padded to equal lengths, that are hashed at a time.
_PADDED_BYTES = 1 << 18

_C1, _C2 = np.uint32(0xCC9E2D51), np.uint32(0x1B873593)


def murmur3(data: np.ndarray, offsets: np.ndarray, prefix: bytes = b"") -> np.ndarray:
    """MurmurHash3 (x86, 32 bits, seed 0) of a prefix and each of many strings.

    Parameters
    ----------
    data : ndarray of uint8
        The strings' bytes, one after the other.
    offsets : ndarray of shape (n + 1,), whole numbers
        Where each begins, and where the last ends.
    prefix : bytes

    Returns
    -------
    ndarray of shape (n,), int32

    Notes
    -----
    Source: A. Appleby, MurmurHash3.cpp (public domain); as
    `sklearn.utils.murmurhash3_32`, of one string.

    Examples
    --------
    >>> import numpy as np
    >>> text = np.frombuffer(b"redgreen", np.uint8)
    >>> murmur3(text, np.array([0, 3, 8]), b"colour=").tolist()
    [511943297, -1205221078]
    """
    offsets = np.asarray(offsets, np.int64)
    longest = int(np.diff(offsets).max(initial=0)) + len(prefix)
    step = max(1, _PADDED_BYTES // max(longest, 1))
    parts = [
        _murmur3(data, offsets[first : first + step + 1], prefix)
        for first in range(0, len(offsets) - 1, step)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def _murmur3(data, offsets, prefix):
    n, own, begin = len(offsets) - 1, np.diff(offsets), len(prefix)
    lengths = own + begin
    shortest, longest = int(own.min()), int(own.max())
    # Strings in words of four bytes, those behind a string's end 0.
    padded = np.zeros((n, max(-(-(begin + longest) // 4) * 4, 4)), np.uint8)
    padded[:, :begin] = np.frombuffer(prefix, np.uint8)
    if shortest == longest:
        padded[:, begin : begin + longest] = data[offsets[0] : offsets[-1]].reshape(n, longest)
    else:
        places = np.arange(longest)
        inside = places < own[:, None]
        padded[:, begin : begin + longest][inside] = data[offsets[0] : offsets[-1]]
    words = padded.view("<u4").astype(np.uint32, copy=False)
    hashes = np.zeros(n, np.uint32)
    with np.errstate(over="ignore"):
        for i in range(words.shape[1]):
            k = words[:, i] * _C1
            k = (k << np.uint32(15)) | (k >> np.uint32(17))
            k *= _C2
            k ^= hashes
            mixed = (k << np.uint32(13)) | (k >> np.uint32(19))
            mixed *= np.uint32(5)
            mixed += np.uint32(0xE6546B64)
            if 4 * i + 4 <= begin + shortest:
                hashes = mixed
                continue
            # The bytes of an incomplete word are only added; those behind the end are 0.
            rest = np.where(4 * i < lengths, k, hashes)
            hashes = np.where(4 * i + 4 <= lengths, mixed, rest)
        hashes ^= lengths.astype(np.uint32)
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            hashes ^= hashes >> np.uint32(shift)
            hashes *= np.uint32(factor)
        hashes ^= hashes >> np.uint32(16)
    return hashes.view(np.int32)


def columns_and_signs(hashes: np.ndarray, n_hashed: int) -> tuple[np.ndarray, np.ndarray]:
    """Column and sign of each hashed feature, as `sklearn.feature_extraction.FeatureHasher`.

    Parameters
    ----------
    hashes : ndarray of int32
    n_hashed : int

    Returns
    -------
    columns : ndarray of int32
    signs : ndarray of float32, 1 or -1

    Examples
    --------
    >>> import numpy as np
    >>> columns_and_signs(np.array([7, -9], np.int32), 4)
    (array([3, 1], dtype=int32), array([ 1., -1.], dtype=float32))
    """
    if n_hashed & (n_hashed - 1) == 0:
        # The bits of the absolute value; that of the smallest number is itself.
        columns = np.abs(hashes) & np.int32(n_hashed - 1)
    else:
        columns = (np.abs(hashes.astype(np.int64)) % n_hashed).astype(np.int32)
    smallest = hashes == np.iinfo(np.int32).min
    if smallest.any():
        # It has no absolute value of its type, and scikit-learn a rule of its own.
        columns[smallest] = (2**31 - 1 - (n_hashed - 1)) % n_hashed
    return columns, np.where(hashes >= 0, np.float32(1), np.float32(-1))
