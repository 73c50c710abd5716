"""Builds of other revisions, for `race`."""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from schuss.bench.race import Build

# What a build is made of: where none of it differs, there is nothing to compare. The
# workloads are the head's for both.
SOURCES = ("src", "ext", "setup.py", "pyproject.toml", ":(exclude)src/schuss/bench")


class NoBase(Exception):
    """There is nothing to compare with; the message says why."""


def find(name: str | None, *, cache: Path, timeout: float | None = None) -> Build:
    """The build that a name stands for.

    Parameters
    ----------
    name : str or None
        A Python of another environment, a folder that packages were installed into, or a
        revision of the repository in this folder, which is built. None stands for the
        common ancestor with the main branch or, on that branch itself, for the revision
        before the last one that changed the sources.
    cache : Path
        Where builds of revisions are kept.
    timeout : float, optional
        Seconds that a build may take.

    Raises
    ------
    NoBase
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


def of_revision(commit: str, cache: Path, timeout: float | None = None) -> Build:
    """Build a revision with this Python's compiler settings, or take it from the cache."""
    tag = f"{sys.implementation.cache_tag}-{sys.platform}"
    folder = (cache / f"{commit[:16]}-{tag}").resolve()
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as name:
            source, target = Path(name, "source"), Path(name, "target")
            archive = Path(name, "source.tar")
            _git("archive", "--output", str(archive), commit)
            with tarfile.open(archive) as files:
                files.extractall(source, filter="data")
            install(source, target, timeout)
            target.rename(folder)
    return Build(f"base {commit[:10]}", folder=folder)


def install(source: Path, target: Path, timeout: float | None = None) -> None:
    """Build the package of a folder with this environment's Cython and compiler.

    Raises
    ------
    NoBase
        Where that fails, or takes longer than `timeout` seconds.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
               "--no-build-isolation", "--target", str(target), str(source)]  # fmt: skip
    environment = {**os.environ, "SCHUSS_REQUIRE_EXT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
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
