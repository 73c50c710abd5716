"""The table of all problems and all peers in docs/benchmarks.md: ``python -m bench.peers``.

    python -m bench.peers                                   # measure everything, write the page
    python -m bench.peers --problems 4x2,100x2 --fits none  # some, the others as last measured

What is measured is kept as JSON, so that one problem can be measured anew; the page shows the
date, processor and versions of the latest measurement, and names what an earlier one differs in.
"""

import argparse
import json
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from textwrap import fill

from rich.console import Console

from schuss import threads
from schuss.bench import report, suite
from schuss.bench.libraries import LIBRARIES, SOLVERS
from schuss.bench.problems import FITS, PROBLEMS
from schuss.bench.runner import measure, steady

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
TITLE = "## All problems, all peers\n"
# schuss as the kernel, in its other compiled backend, and as users call it; then the peers.
EPOCHS = ("numpy", "schuss-cython", "schuss-numba", "train-cython", "torch", "jax")
SECTIONS = ("kernels", "fits")
NUMBERS = ("µs", "× NumPy", "read", "ms")


def timed(section: str, name: str, options) -> dict:
    """One problem, by all that are installed, with the machine that it was measured on."""
    problem = PROBLEMS[name]
    if section == "fits":
        task, libraries = problem.load_fit(FITS[name]), SOLVERS.values()
        n_threads = threads.useful(options.threads, problem.n * problem.d)
    else:
        task, libraries = problem.load(), [LIBRARIES[library] for library in EPOCHS]
        n_threads = 1
    result = measure(
        task, libraries, n_threads=n_threads, rounds=options.rounds, budget=options.budget
    )
    return {**asdict(result), "environment": report.environment()}


def page(content: dict) -> str:
    """The section of the page, in Markdown."""
    found = {
        section: [content[section][name] for name in names if name in content[section]]
        for section, names in (("kernels", PROBLEMS), ("fits", FITS))
    }
    both = found["kernels"] + found["fits"]
    last = max((entry["environment"] for entry in both), key=lambda here: here["date"])
    versions = ", ".join(f"{name} {text}" for name, text in last["packages"].items() if text)
    probes = [entry["probe_seconds"] for entry in both]
    steadily = sum(int(steady(probe).sum()) for probe in probes)
    results = {section: list(suite.results(_plain(found), section)) for section in SECTIONS}
    types = ", ".join(f"{r.task} {r.dtype} {r.n_threads}" for r in results["fits"])
    paragraphs = (
        f"`python -m bench.peers`, {last['date'][:10]}: {last['processors']} processors of an "
        f"{last['processor']}, {last['isa']}, Python {last['python']}; {versions}. In "
        f"{steadily} of {sum(map(len, probes))} rounds fixed arithmetic took at most 15 % longer "
        "than in the best round of its problem. " + _others(both, last),
        "`schuss-cython` is the kernel, `train-cython` is `schuss.train` with its input checks and "
        "the value at the final weights. One epoch, float32, one thread: medians of "
        f"{_rounds(found['kernels'])} rounds, the ratio's quartiles, and the share of the read "
        "rate that one pass over X in that time would be.",
        _markdown(report.table(results["kernels"])),
        f"Fits to a relative gap of 1e-6; type of X and threads: {types}. `schuss` is "
        '`LogisticRegression`, `schuss-nesterov` is `SigmoidClassifier("log_loss", "nesterov")`; '
        "peers that are quicker stay in the table.",
        _markdown(suite.fits_table(results["fits"])),
    )
    filled = [
        text if text.startswith("|") else fill(text, 100, break_on_hyphens=False)
        for text in paragraphs
    ]
    return TITLE + "\n" + "\n\n".join(filled) + "\n"


def _plain(found):
    return {
        section: [{k: v for k, v in entry.items() if k != "environment"} for entry in entries]
        for section, entries in found.items()
    }


def _others(entries, last):
    """What was not measured in the same surroundings, so that nobody takes it for that."""
    other = sorted(
        {
            f"{entry['task']} ({entry['environment']['date'][:10]}, {here['processor']})"
            for entry in entries
            if (here := entry["environment"])["processor"] != last["processor"]
            or here["packages"] != last["packages"]
            or here["date"][:10] != last["date"][:10]
        }
    )
    return f"Measured elsewhere, or with other versions: {', '.join(other)}." if other else ""


def _rounds(entries):
    counts = sorted({len(row["seconds"]) for e in entries for row in e["rows"] if row["seconds"]})
    return f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])


def _markdown(table):
    """The table without padding, which would change all of its lines with one of them."""
    out = StringIO()
    Console(file=out, width=250, highlight=False).print(table)
    lines = [line.strip() for line in out.getvalue().splitlines() if line.strip()]
    head, _, *body = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    rule = ["---:" if name in NUMBERS else "---" for name in head]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *body))


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    content = {section: {} for section in SECTIONS}
    if options.json.exists():
        content |= json.loads(options.json.read_text())
    for section, names in (("kernels", options.problems), ("fits", options.fits)):
        for name in names:
            print(f"{section}: {name}", flush=True)
            content[section][name] = timed(section, name, options)
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(content))
    text = options.page.read_text()
    begin = text.index(TITLE)
    end = text.find("\n## ", begin + len(TITLE))
    rest = text[end:] if end >= 0 else ""
    options.page.write_text(text[:begin] + page(content) + rest)
    rows = [row for section in SECTIONS for e in content[section].values() for row in e["rows"]]
    return int(any(row["note"].startswith("failed") for row in rows))


def _parser():
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    add = parser.add_argument
    add("--problems", type=_names(PROBLEMS), default=tuple(PROBLEMS), help="some, or none")
    add("--fits", type=_names(FITS), default=tuple(FITS), help="some, or none")
    add("--threads", type=int, default=threads.available(None), help="for fits, at the most")
    add("--rounds", type=int, default=7)
    add("--budget", type=float, default=60.0, help="seconds of rounds for one problem")
    add("--json", type=Path, default=ROOT / "build" / "peers.json", help="raw numbers")
    add("--page", type=Path, default=PAGE)
    return parser


def _names(known):
    def parse(text):
        names = () if text == "none" else tuple(text.split(","))
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)} unknown: {', '.join(known)}")
        return names

    return parse


if __name__ == "__main__":
    raise SystemExit(main())
