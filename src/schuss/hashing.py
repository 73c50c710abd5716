"""MurmurHash3 of many strings at once, and features hashed as scikit-learn hashes them."""

import numpy as np

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
    begins = np.asarray(offsets[:-1], np.int64)
    own = np.asarray(offsets[1:], np.int64) - begins
    n, lengths = len(begins), own + len(prefix)
    # Strings in words of four bytes, those behind a string's end 0.
    width = -(-int(lengths.max(initial=0)) // 4) * 4
    padded = np.zeros((n, max(width, 4)), np.uint8)
    padded[:, : len(prefix)] = np.frombuffer(prefix, np.uint8)
    for i in range(int(own.max(initial=0))):
        long = np.flatnonzero(own > i)
        padded[long, len(prefix) + i] = data[begins[long] + i]
    words = padded.view("<u4").astype(np.uint32, copy=False)
    hashes = np.zeros(n, np.uint32)
    whole = lengths // 4
    with np.errstate(over="ignore"):
        for i in range(words.shape[1]):
            k = words[:, i] * _C1
            k = (k << np.uint32(15)) | (k >> np.uint32(17))
            k *= _C2
            mixed = hashes ^ k
            full = (mixed << np.uint32(13)) | (mixed >> np.uint32(19))
            full = full * np.uint32(5) + np.uint32(0xE6546B64)
            # The bytes of an incomplete word are only added; those behind the end are 0.
            hashes = np.where(i < whole, full, np.where(i * 4 < lengths, mixed, hashes))
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
    wide = hashes.astype(np.int64)
    columns = np.abs(wide) % n_hashed
    # The smallest number has no absolute value of its type.
    columns[wide == -(2**31)] = (2**31 - 1 - (n_hashed - 1)) % n_hashed
    return columns.astype(np.int32), np.where(hashes >= 0, 1, -1).astype(np.float32)
