"""scikit-learn's own tests, out of its wheel, with acceleration on and without.

    python -m tests.sklearn_accelerated [--folder FOLDER] [--timeout SECONDS] [part ...]

Each part, by default all of `PARTS`, is run in a process of its own, plainly and accelerated. A
test that passes plainly and not accelerated is a failure, unless
``sklearn_accelerated_exceptions.toml`` names it with a reason; so is an exception that passes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import sklearn

SITE = Path(sklearn.__file__).parents[1]

# Where the accelerated classes appear.
PARTS = (
    "sklearn.linear_model",
    "sklearn.neural_network",
    "sklearn.model_selection",
    "sklearn.ensemble",
    "sklearn.tests.test_multiclass",
    "sklearn.tests.test_multioutput",
    "sklearn.tests.test_calibration",
    "sklearn.feature_selection",
    "sklearn.inspection",
    "sklearn.tests.test_pipeline",
    "sklearn.callback",
    "sklearn.utils",
    "sklearn.tests.test_common",
)

RUN = """
import sys, pytest
accelerated, report, *arguments = sys.argv[1:]
if accelerated == "1":
    from schuss.acceleration import start
    start(set())
status = pytest.main(arguments)
if accelerated == "1":
    from schuss.acceleration import current_report
    with open(report, "w") as file:
        print(current_report(), file=file)
sys.exit(status)
"""


def main(arguments=None):
    """Run the parts; returns the number of unexpected outcomes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", default=PARTS, metavar="part")
    parser.add_argument("--folder", type=Path, help="where outcomes are kept and found again")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for each run")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        return sum(compare(part, folder, options.timeout) for part in options.parts)


def compare(part, folder, timeout):
    """Print how the outcomes of a part differ; returns the number of unexpected ones."""
    plain = outcomes(part, False, folder, timeout)
    accelerated = outcomes(part, True, folder, timeout)
    reasons = exceptions()
    passed = {test for test, outcome in plain.items() if outcome == "passed"}
    lost = {test for test in passed if accelerated.get(test) != "passed"}
    excused = {test for test in reasons if test in passed}
    print(
        f"{part}: {len(passed)} of {len(plain)} pass plainly, {len(passed - lost)} of these "
        f"accelerated; {len(lost & excused)} named exceptions",
        flush=True,
    )
    for test in sorted(lost - excused):
        print(f"  FAILS ACCELERATED  {test}: {accelerated.get(test, 'missing')}", flush=True)
    for test in sorted(excused - lost):
        print(f"  PASSES, BUT IS AN EXCEPTION  {test}", flush=True)
    return len(lost ^ excused)


def outcomes(part, accelerated, folder, timeout):
    """Outcome of each test, by ``module::name``."""
    kept = folder / f"{part}.{'accelerated' if accelerated else 'plain'}.json"
    if kept.exists():
        return json.loads(kept.read_text(encoding="utf-8"))
    results, report, output = (kept.with_suffix(s) for s in (".xml", ".report", ".txt"))
    command = [sys.executable, "-c", RUN, str(int(accelerated)), str(report)]
    command += ["-q", "-p", "no:cacheprovider", "--rootdir", str(SITE), "-o", "addopts="]
    command += [f"--junitxml={results}", "--pyargs", part]
    # Small fits on machines with other work: one thread is quickest.
    environment = {**os.environ, "SCHUSS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with open(output, "w", encoding="utf-8") as file:
        subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, timeout=timeout, cwd=folder,
            env=environment,
        )  # fmt: skip
    found = {}
    for case in ElementTree.parse(results).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        found[name] = kinds[0] if kinds else "passed"
    kept.write_text(json.dumps(found, indent=0), encoding="utf-8")
    return found


def exceptions():
    """Reasons by ``module::name``."""
    path = Path(__file__).with_name("sklearn_accelerated_exceptions.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    begin = time.perf_counter()
    unexpected = main()
    print(f"{unexpected} unexpected outcomes; {time.perf_counter() - begin:.0f} s")
    sys.exit(bool(unexpected))
