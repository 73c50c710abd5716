"""One process of a race, started by path so that `schuss` is the build under test.

    python worker.py WORKLOADS.py

Functions whose names begin with ``bench_`` are the workloads. Each line "REPEATS NAME" on
the input is answered with the seconds of a call and what the last one returned, in brief.
Under callgrind, "0 NAME" counts the instructions of one call.
"""

import ctypes
import gc
import importlib.util
import json
import os
import sys
import time

import numpy as np

PREFIX = "bench_"


def load(path):
    """The workloads of a file, by name."""
    spec = importlib.util.spec_from_file_location("workloads", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = {
        name.removeprefix(PREFIX): call
        for name, call in vars(module).items()
        if name.startswith(PREFIX) and callable(call)
    }
    if not found:
        raise ValueError(f"{path}: no function whose name begins with {PREFIX!r}")
    return found


def slowed(call, share):
    """The call, and then nothing for this share of its time: for trials of the gate."""

    def slower():
        start = time.perf_counter()
        result = call()
        end = time.perf_counter()
        while time.perf_counter() < end + share * (end - start):
            pass
        return result

    return slower


def brief(result):
    """Shape, type, norm and one projection of an array: enough to tell two results apart."""
    if result is None:
        return None
    values = np.asarray(result)
    if values.dtype.kind not in "buif":
        raise TypeError(f"a workload returned {values.dtype}: expected numbers, or None")
    flat = values.ravel().astype(np.float64)
    direction = np.random.default_rng(0).standard_normal(flat.size)
    direction /= np.linalg.norm(direction) or 1.0
    single = values.dtype.kind == "f" and values.dtype.itemsize <= 4
    return [list(values.shape), bool(single), float(np.linalg.norm(flat)), float(direction @ flat)]


def introduce():
    """Which build this process runs, where the workloads use schuss at all."""
    schuss = sys.modules.get("schuss")
    if schuss is None:
        return {}
    backend = schuss.get_backend()
    isa = getattr(sys.modules.get(f"schuss.backends.{backend}_"), "ISA", None)
    return {"path": schuss.__file__, "backend": backend, "isa": isa}


def main(path):
    workloads = load(path)
    for name, share in json.loads(os.environ.get("SCHUSS_BENCH_SLOWER", "{}")).items():
        workloads[name] = slowed(workloads[name], share)
    answer = sys.stdout
    # What a workload prints must not be taken for an answer.
    sys.stdout = sys.stderr
    print(json.dumps({"names": list(workloads), "build": introduce()}), file=answer, flush=True)
    gc.disable()
    # What is there already need not be looked through again after each timing.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        repeats, name = line.rstrip("\n").split(" ", 1)
        call, result = workloads[name], None
        if repeats == "0":
            switch = ctypes.CDLL(os.environ["SCHUSS_SWITCH"])
            call()
            switch.start()
            call()
            switch.end(name.encode())
            repeats = "1"
        start = time.perf_counter()
        for _ in range(int(repeats)):
            result = call()
        seconds = (time.perf_counter() - start) / int(repeats)
        print(json.dumps([seconds, brief(result)]), file=answer, flush=True)
        gc.collect()


if __name__ == "__main__":
    # Its folder holds modules with everyday names.
    del sys.path[0]
    main(sys.argv[1])
