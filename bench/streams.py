"""Passes over rows that are not in memory: ``python -m bench.streams``.

    python -m bench.streams memory-map --gigabytes 4     # beside reading the file
    python -m bench.streams parquet --rows 20000000      # beside DuckDB's sums of all columns
    python -m bench.streams hashed --rows 2000000        # text hashed, by SGD
    python -m bench.streams cluster --rows 2000000       # two processes, beside one thread

Data are made in a folder of their own, which is deleted at the end. What is compared takes turns;
each line says what came out of it, rates by the wall clock.
"""

import argparse
import os
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np

import schuss
from schuss.losses import LOSSES

D = 100
_BLOCK = 100_000


def best(function, rounds=3):
    """Seconds of the fastest round."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


class PeakMemory:
    """Largest anonymous memory of this process in MB, sampled by a thread (Linux)."""

    def __enter__(self):
        self.megabytes, self._going = 0, True
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._going = False
        self._thread.join()

    def _watch(self):
        while self._going:
            status = Path("/proc/self/status").read_text("ascii")
            anonymous = int(status.split("RssAnon:")[1].split()[0]) // 1024
            self.megabytes = max(self.megabytes, anonymous)
            time.sleep(0.02)


def rows(n, d, seed):
    """Normal features and labels of a noisy neuron."""
    weights = np.random.default_rng(0).standard_normal(d).astype(np.float32)
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((n, d), dtype=np.float32)
    return X, (X @ weights + 3 * generator.logistic(size=n) > 0).astype(np.uint8)


def passes(source, epochs):
    """Seconds of each epoch of gradient descent, but for the first, which opens what there is."""
    seconds = []
    schuss.SigmoidClassifier(learning_rate=1.0, tol=0.0, max_iter=epochs).fit(
        source, callbacks=[_every_epoch(lambda info: seconds.append(info.seconds))]
    )
    return np.diff(seconds, prepend=0.0)


def _every_epoch(function):
    def callback(info):
        function(info)

    callback.every = 1
    return callback


def memory_map(folder, options):
    n = int(options.gigabytes * 1e9) // (4 * D) // _BLOCK * _BLOCK
    path, y = folder / "X.npy", np.empty(n, np.uint8)
    X = np.lib.format.open_memmap(path, "w+", np.float32, (n, D))
    for i in range(0, n, _BLOCK):
        X[i : i + _BLOCK], y[i : i + _BLOCK] = rows(_BLOCK, D, i)
    X.flush()
    del X
    buffer, size = bytearray(1 << 23), os.path.getsize(path)

    def read():
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    def forget():
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)

    def train(epochs):
        return passes(schuss.Stream(np.load(path, mmap_mode="r"), y), epochs)

    with PeakMemory() as peak:
        for _ in range(2):
            forget()
            reading = size / best(read, 1) / 1e9
            forget()
            begin = time.perf_counter()
            train(1)
            # The survey, the epoch, and the value at its end.
            training = 3 * size / (time.perf_counter() - begin) / 1e9
            print(f"cold: reading {reading:.2f} GB/s, three passes of training {training:.2f}")
        for _ in range(3):
            reading, training = size / best(read, 1) / 1e9, size / np.median(train(4)[1:]) / 1e9
            print(f"warm: reading {reading:.2f} GB/s, training {training:.2f}")
    print(f"{n:,} x {D}, {size / 1e9:.1f} GB; peak anonymous memory {peak.megabytes} MB")


def parquet(folder, options):
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, columns = folder / "rows.parquet", [f"f{i}" for i in range(10)]
    schema = pa.schema([*((name, pa.float32()) for name in columns), ("y", pa.uint8())])
    with pq.ParquetWriter(path, schema) as writer:
        for i in range(0, options.rows, 1_000_000):
            X, y = rows(min(1_000_000, options.rows - i), 10, i)
            writer.write_table(pa.table([*X.T, y], schema=schema), row_group_size=250_000)
    connection = duckdb.connect()
    sums = f"select {', '.join(f'sum({name})' for name in (*columns, 'y'))} from '{path}'"

    def scan():
        connection.execute(sums).fetchall()

    scan()
    with PeakMemory() as peak:
        for _ in range(3):
            reading = best(scan, 2)
            training = np.median(passes(schuss.Stream(path, target="y"), 3)[1:])
            print(
                f"DuckDB's scan {reading:.2f} s, an epoch {training:.2f} s: "
                f"{reading / training:.2f} of its rate"
            )
    print(f"{options.rows:,} x 10; peak anonymous memory {peak.megabytes} MB")


def hashed(folder, options):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, step = folder / "clicks.parquet", 500_000
    levels = [10**6] * 4 + [200_000] * 4 + [50_000] * 4 + [10_000] * 6 + [1000] * 4 + [100] * 4
    words = [
        pa.array([f"{word:08x}" for word in np.random.default_rng(i).integers(0, 1 << 32, count)])
        for i, count in enumerate(levels)
    ]
    effects = [np.random.default_rng(-~i).normal(0, 0.3, count) for i, count in enumerate(levels)]
    writer = None
    for first in range(0, options.rows, step):
        generator = np.random.default_rng(first)
        numbers = generator.exponential(1, (step, 13)).astype(np.float32)
        codes = [(count * generator.random(step) ** 4).astype(np.int32) for count in levels]
        z = sum(effect[code] for effect, code in zip(effects, codes, strict=True))
        y = (z + 0.3 * numbers[:, 0] - 1 > generator.logistic(size=step)).astype(np.int8)
        text = (word.take(pa.array(code)) for word, code in zip(words, codes, strict=True))
        names = ["y", *(f"n{i}" for i in range(13)), *(f"c{i}" for i in range(26))]
        table = pa.table([y, *numbers.T, *text], names=names)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=250_000)
    writer.close()
    stream = schuss.Stream(path, target="y", categories="hash")

    def one_pass(source):
        model = schuss.SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.02)
        for X, y, _ in source:
            model.partial_fit(X, y, classes=[0, 1])
        return model

    def tell(name, source):
        begin, processor = time.perf_counter(), time.process_time()
        loss = one_pass(source).loss_
        wall, busy = time.perf_counter() - begin, time.process_time() - processor
        print(
            f"{name}: {options.rows / wall:,.0f} rows/s, {options.rows / busy:,.0f} a core, "
            f"log-loss of the last block {loss:.4f}"
        )

    with PeakMemory() as peak:
        tell("from Parquet", stream)
        begin = time.perf_counter()
        cached = stream.cached(folder / "cache")
        print(f"writing decoded blocks: {time.perf_counter() - begin:.1f} s")
        for _ in range(2):
            tell("from decoded blocks", cached)
    print(f"{options.rows:,} rows, hashed to 2^20; peak anonymous memory {peak.megabytes} MB")


def cluster(folder, options):
    import dask
    from distributed import Client, LocalCluster

    from schuss import dask as on_dask
    from schuss.blocks import survey

    n_parts = options.partitions
    size = options.rows // n_parts
    parts = [dask.delayed(rows)(size, D, i) for i in range(n_parts)]
    zeros = np.zeros((1, D), np.float32), np.zeros(1, np.float32)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as workers,
        Client(workers),
    ):
        source = on_dask.blocks(parts)
        objective = survey(source, labels=True).rows().X.objective(LOSSES["log_loss"])
        objective.value(*zeros)
        rounds = [best(partial(objective.value, *zeros), 1) for _ in range(20)]
        timed = partial(_kernel_seconds, objective._part, zeros)
        kernels = list(objective.data.X.source.collect(timed))
        kernel = max(sum(kernels[i::2]) for i in range(2))
        fit = best(partial(on_dask.LogisticRegression().fit, source), 2)
    print(
        f"{options.rows:,} x {D} in {n_parts} partitions, two workers of one thread: a round "
        f"{1e3 * np.median(rounds):.1f} ms, the kernels {1e3 * kernel:.1f} ms, LogisticRegression "
        f"{fit:.2f} s"
    )
    del source, objective
    X, y = (
        np.concatenate(part)
        for part in zip(*(rows(size, D, i) for i in range(n_parts)), strict=True)
    )
    os.environ["SCHUSS_NUM_THREADS"] = "1"
    alone = schuss.blocks.survey(schuss.Stream(X, y, block_rows=size), labels=True).rows()
    objective = alone.X.objective(LOSSES["log_loss"], n_jobs=1)
    one = best(lambda: objective.value(*zeros))
    fit = best(lambda: schuss.LogisticRegression().fit(X, y), 2)
    print(
        f"one thread without Dask: a pass {1e3 * one:.1f} ms ({one / np.median(rounds):.2f} times "
        f"a round), LogisticRegression {fit:.2f} s"
    )


def _kernel_seconds(part, weights, block):
    """Of a pass over a block, on its worker."""
    objective = part.objective(block)
    return best(partial(objective.value, *weights))


COMMANDS = {
    "memory-map": memory_map, "parquet": parquet, "hashed": hashed, "cluster": cluster,
}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.streams")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--partitions", type=int, default=2)
    parser.add_argument("--folder", help="where the data are made, by default the system's")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        COMMANDS[options.command](Path(folder), options)


if __name__ == "__main__":
    main()
