"""docs/promises.md names tests and commands that there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "promises.md"


@pytest.mark.skipif(not PAGE.exists(), reason="no documents beside the tests")
def test_what_holds_a_promise_exists():
    text = PAGE.read_text(encoding="utf-8")
    files = re.findall(r"\btests/[\w/.]+\w", text)
    files += [f"tests/{name}.py" for name in re.findall(r"python -m tests\.(\w+)", text)]
    targets = re.findall(r"`make ([\w-]+)`", text)
    assert len(files) > 20 and targets
    assert not [name for name in files if not (ROOT / name).exists()]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert not [name for name in targets if not re.search(rf"^{name}:", makefile, re.MULTILINE)]
    # Each line of a table of promises names what holds it.
    promises = text.partition("## Tests that take long")[0]
    rows = re.findall(r"^\|[^|]+\|([^|]+)\|$", promises, re.MULTILINE)
    assert all("tests" in held for held in rows if held.strip() not in ("held by", "---"))
