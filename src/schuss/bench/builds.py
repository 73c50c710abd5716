"""Builds of other revisions, for `race`, and the search for the one that is to blame."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from schuss.bench.comparison import Verdict
from schuss.bench.race import Build, RaceError

# What a build is made of: where none of it differs, there is nothing to compare. The
# workloads are the head's for both.
SOURCES = ("src", "ext", "setup.py", "pyproject.toml", ":(exclude)src/schuss/bench")


class NoBase(Exception):
    """There is nothing to compare with; the message says why."""


def find(name: str | None, cache: Path, timeout: float | None = None) -> Build:
    """The build that a name stands for, made in at most `timeout` seconds; raises `NoBase`.

    A Python of another environment, a folder that packages were installed into, or a revision
    of the repository in this folder, which is built in `cache`. None is the common ancestor with
    the main branch or, on that branch itself, the revision before the last one that changed
    the sources.
    """
    if name and os.path.isdir(name):
        return Build(name, folder=Path(name).resolve())
    if name and os.path.isfile(name):
        # Not resolved: a virtual environment's Python is a link to another one.
        return Build(name, python=os.path.abspath(name))
    return of_revision(_commit(name), cache, timeout)


def _commit(name):
    if shutil.which("git") is None:
        raise NoBase("git is not installed")
    if _git("rev-parse", "--show-toplevel", check=False) is None:
        raise NoBase("this folder is not a git repository; --base takes a folder or a Python too")
    if name:
        base = _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False)
        if base is None:
            raise NoBase(f"the revision {name} is not in this repository")
    else:
        base = None
        for branch in ("origin/main", "main"):
            base = base or _git("merge-base", "HEAD", branch, check=False)
        if base is None:
            raise NoBase("neither origin/main nor main is in this repository; name a --base")
        if not _differs(base):
            base = _before_last_change() or base
    if not _differs(base):
        raise NoBase(f"nothing that is built differs from the base {base[:10]}")
    return base


def _differs(commit):
    """Whether the files here do, so that changes that are not committed count."""
    return _git("diff", "--quiet", commit, "--", *SOURCES, check=False) is None


def _before_last_change():
    """None where it is not in this clone, or the sources have never changed."""
    last = _git("log", "-1", "--first-parent", "--format=%H", "--", *SOURCES)
    return _git("rev-parse", "--verify", "--quiet", f"{last}^1", check=False)


def of_revision(commit: str, cache: Path, timeout: float | None = None, **variables: str) -> Build:
    """Build a revision with this Python's compiler settings, or take it from the cache.

    `variables` are added to the environment.
    """
    parts = commit[:16], sys.implementation.cache_tag, sys.platform, *variables.values()
    folder = (cache / "-".join(filter(None, parts))).resolve()
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as name:
            source, target = Path(name, "source"), Path(name, "target")
            archive = Path(name, "source.tar")
            _git("archive", "--output", str(archive), commit)
            with tarfile.open(archive) as files:
                files.extractall(source, filter="data")
            install(source, target, timeout, **variables)
            target.rename(folder)
    return Build(f"base {commit[:10]}", folder=folder, commit=commit)


def revision() -> str | None:
    """The commit that is checked out here."""
    return _git("rev-parse", "HEAD", check=False) if shutil.which("git") else None


def accepted(base: Build) -> dict[str, str]:
    """What commits since the base say of benchmarks that are meant to be slower, and why."""
    if not base.commit:
        return {}
    log = _git("log", "--format=%B", f"{base.commit}..HEAD", check=False) or ""
    return dict(re.findall(r"^Slower: ([^:\n]+): (.+)$", log, re.MULTILINE))


def culprit(base: Build, head: Build, judged: Callable[[Build], Verdict], cache: Path) -> str:
    """The first commit between two builds that `judged` fails, by bisection."""
    if not base.commit:
        return "not bisected: the base is no revision"
    span = f"{base.commit}..{head.commit or 'HEAD'}"
    commits = (_git("rev-list", "--reverse", "--first-parent", span, "--", *SOURCES) or "").split()
    good, bad = -1, len(commits)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            build = of_revision(commits[middle], cache)
            verdict = judged(replace(build, name=commits[middle][:10]))
        except (NoBase, RaceError) as error:
            return f"not bisected at {commits[middle][:10]}: {error}"
        if verdict not in (Verdict.passed, Verdict.failed):
            return f"bisected to {commits[middle][:10]} and no further, where it is {verdict}"
        good, bad = (good, middle) if verdict == Verdict.failed else (middle, bad)
    if bad == len(commits):
        return "since changes that are not committed"
    return f"since {_git('log', '-1', '--format=%h %s', commits[bad])}"


def install(source: Path, target: Path, timeout: float | None = None, **variables: str) -> None:
    """Build the package of a folder with this environment's Cython and compiler.

    Raises `NoBase` where that fails, or takes longer than `timeout` seconds.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
               "--no-build-isolation", "--target", str(target), str(source)]  # fmt: skip
    environment = {**os.environ, "SCHUSS_REQUIRE_EXT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                   **variables}  # fmt: skip
    try:
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        raise NoBase(f"the base could not be built in {timeout:.0f} seconds") from None
    if result.returncode:
        lines = (result.stdout + result.stderr).strip().splitlines() or ["no message"]
        raise NoBase(
            f"the base cannot be built (it needs a C compiler, and the packages that "
            f'`pip install "schuss[test]"` brings): {lines[-1]}'
        )


def _git(*arguments, check=True):
    """What git answers; None where it fails."""
    result = subprocess.run(["git", *arguments], capture_output=True, text=True)
    if result.returncode and check:
        raise NoBase(f"git {arguments[0]}: {result.stderr.strip()}")
    return None if result.returncode else result.stdout.strip()
