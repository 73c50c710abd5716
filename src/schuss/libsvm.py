"""LIBSVM files, block by block, as a `Stream` reads them."""

from io import BytesIO

from schuss.data import Rows
from schuss.stream_paths import Watched

# Bytes of a file that become a block.
_TEXT_BYTES = 1 << 23


class LibSVM:
    """Blocks of LIBSVM files: label, then ``index:value`` by ascending index, counted from 1."""

    def __init__(self, paths, dtype, n_features, block_rows):
        self._files, self._dtype, self._rows = Watched(paths), dtype, block_rows
        self.feature_names = None
        self.n_features = n_features or max(
            (X.shape[1] for path in paths for _, X, _ in self._parts(path, None)), default=0
        )

    def blocks(self):
        self._files.check()
        for path in self._files.paths:
            for name, X, y in self._parts(path, self.n_features):
                yield name, Rows(X, y, None)
        self._files.check()

    def _parts(self, path, n_features):
        """Some lines after the other, as CSR and labels."""
        # Late: it takes a while to import.
        from sklearn.datasets import load_svmlight_file

        first = 1
        with open(path, "rb") as file:
            while lines := self._lines(file):
                n, text = lines
                try:
                    X, y = load_svmlight_file(
                        BytesIO(text), n_features=n_features, dtype=self._dtype, zero_based=False
                    )
                except ValueError as error:
                    raise _wrong_line(path, text, first, n_features, error) from None
                if X.shape[0]:
                    yield f"{path}, from line {first:,}", X, y
                first += n

    def _lines(self, file):
        if self._rows:
            lines = [line for _, line in zip(range(self._rows), file, strict=False)]
            return (len(lines), b"".join(lines)) if lines else None
        text = file.read(_TEXT_BYTES)
        text += file.readline() if text else b""
        return (text.count(b"\n") + (not text.endswith(b"\n")), text) if text else None


def _wrong_line(path, text, first, n_features, error):
    """The error of the line that is not LIBSVM's."""
    for i, line in enumerate(text.split(b"\n"), start=first):
        words = line.split(b"#")[0].split()
        last = 0
        try:
            float(words[0]) if words else None
            for word in words[1:]:
                index, _, value = word.partition(b":")
                if index == b"qid":
                    continue
                float(value)
                if int(index) <= last or (n_features and int(index) > n_features):
                    raise ValueError
                last = int(index)
        except ValueError:
            shown = line[:60].decode(errors="replace")
            return ValueError(
                f"{path}, line {i:,}: {shown!r} is not a label and index:value pairs, of indices "
                f"that ascend from 1{f' to {n_features:,}' if n_features else ''} ({error})"
            )
    return ValueError(f"{path}, from line {first:,}: {error}")
