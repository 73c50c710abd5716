"""scikit-learn's own tests, out of its wheel, with acceleration on.

    python -m tests.sklearn_accelerated [--folder FOLDER] [--timeout SECONDS] [part ...]

Of each part, by default all of `PARTS`, the test modules that name an accelerated class run in a
process of their own; of `DOCSTRINGS` the examples in all modules with an example that names one,
which have to print the same figures (with scipy-doctest, as scikit-learn checks them). What does
not pass runs again without acceleration. A test that passes only then is a failure, unless
``sklearn_accelerated_exceptions.toml`` names it with a reason; so is an exception that passes.
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import sklearn

from schuss.acceleration import MODULES

SKLEARN = Path(sklearn.__file__).parent
DOCSTRINGS = "docstrings"
PARTS = (
    DOCSTRINGS,
    "linear_model",
    "neural_network",
    "model_selection",
    "ensemble",
    "feature_selection",
    "inspection",
    "callback",
    "utils",
    "tests/test_multiclass.py",
    "tests/test_multioutput.py",
    "tests/test_calibration.py",
    "tests/test_pipeline.py",
    "tests/test_metaestimators.py",
    "tests/test_metaestimators_metadata_routing.py",
    "tests/test_docstring_parameters.py",
    "tests/test_common.py",
)
NAMES = "|".join(MODULES)
# Of the checks of all estimators those of ours, alone or in others.
SELECTED = {"tests/test_common.py": " or ".join(MODULES)}

RUN = """
import sys, pytest
if sys.argv[1] == "1":
    from schuss.acceleration import current_report, start
    start(set())
status = pytest.main(sys.argv[2:])
if sys.argv[1] == "1":
    print(current_report())
sys.exit(status)
"""


def main(arguments=None):
    """Run the parts; returns the number of unexpected outcomes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", default=PARTS, metavar="part")
    parser.add_argument("--folder", type=Path, help="where the output of the tests is kept")
    parser.add_argument("--timeout", type=float, default=7200, help="seconds for each run")
    options = parser.parse_args(arguments)
    if DOCSTRINGS in options.parts and importlib.util.find_spec("scipy_doctest") is None:
        parser.error(f"{DOCSTRINGS}: scipy-doctest is missing: pip install 'schuss[test]'")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return sum(compare(part, folder, options.timeout) for part in options.parts)


def compare(part, folder, timeout):
    """Print what becomes of a part; returns the number of unexpected outcomes."""
    accelerated = run(modules(part), part, True, folder, timeout)
    failed = {test for test, outcome in accelerated.items() if outcome not in ("passed", "skipped")}
    plain = run(failed, part, False, folder, timeout) if failed else {}
    lost = {test for test in failed if plain.get(test) == "passed"}
    reasons = exceptions()
    excused = {test for test in accelerated if test in reasons}
    print(
        f"{part}: {sum(outcome == 'passed' for outcome in accelerated.values())} pass, "
        f"{len(failed)} do not, {len(lost)} of these without acceleration; "
        f"{len(lost & excused)} named exceptions",
        flush=True,
    )
    for test in sorted(lost - excused):
        print(f"  FAILS ACCELERATED  {test}", flush=True)
    for test in sorted(excused - lost):
        print(f"  PASSES, BUT IS AN EXCEPTION  {test}", flush=True)
    return len(lost ^ excused)


def modules(part):
    """Test modules of a part that name one of the classes; all of a part in which none does."""
    path = SKLEARN / part
    if path.is_file():
        return [part]
    folder, files, words = path, "test_*.py", NAMES
    if part == DOCSTRINGS:
        folder, files, words = SKLEARN, "*.py", rf">>> .*\b({NAMES})\b"
    found = sorted(folder.rglob(files))
    ours = [file for file in found if re.search(words, file.read_text(encoding="utf-8"))]
    return [file.relative_to(SKLEARN).as_posix() for file in ours or found]


def run(tests, part, accelerated, folder, timeout):
    """Outcomes by node id."""
    base = folder / f"{part.replace('/', '.')}.{'accelerated' if accelerated else 'plain'}"
    command = [sys.executable, "-c", RUN, str(int(accelerated)), "-q", "-p", "no:cacheprovider"]
    # No configuration: that of a folder above has nothing to do with scikit-learn.
    command += ["-c", os.devnull, "--rootdir", str(SKLEARN), "-o", "junit_family=xunit1"]
    command += [f"--junitxml={base}.xml"]
    if part == DOCSTRINGS:
        command += ["--doctest-modules"]
    if accelerated and part in SELECTED:
        command += ["-k", SELECTED[part]]
    # Small fits on machines with other work: one thread is quickest.
    environment = {**os.environ, "SCHUSS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with open(f"{base}.txt", "w", encoding="utf-8") as file:
        subprocess.run(
            [*command, *(str(SKLEARN / test) for test in sorted(tests))],
            stdout=file, stderr=subprocess.STDOUT, timeout=timeout, cwd=folder, env=environment,
        )  # fmt: skip
    outcomes = {}
    for case in ElementTree.parse(f"{base}.xml").iter("testcase"):
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        name = f"{case.get('file')}::{case.get('name')}"
        outcomes[name] = kinds[0] if kinds else "passed"
    Path(f"{base}.json").write_text(json.dumps(outcomes, indent=0), encoding="utf-8")
    return outcomes


def exceptions():
    """Reasons by node id."""
    path = Path(__file__).with_name("sklearn_accelerated_exceptions.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    begin = time.perf_counter()
    unexpected = main()
    print(f"{unexpected} unexpected outcomes; {time.perf_counter() - begin:.0f} s")
    sys.exit(bool(unexpected))
