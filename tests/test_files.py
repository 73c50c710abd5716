"""Files written whole or not at all."""

import os
import stat
import subprocess
import sys

import pytest

from schuss.files import check_writable, write_whole


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), write_whole(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert [other.name for other in tmp_path.iterdir()] == ["file"]


def test_a_killed_process_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    program = (
        "import os, sys\n"
        "from schuss.files import write_whole\n"
        "with write_whole(sys.argv[1]) as file:\n"
        "    file.write(b'half'); file.flush(); os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == 9
    assert path.read_bytes() == b"old"


@pytest.mark.skipif(os.name == "nt", reason="permissions and links of POSIX")
def test_permissions_links_and_devices(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to(path)
    with write_whole(link) as file:
        file.write(b"new")
    assert link.is_symlink() and path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    with write_whole("/dev/null") as file:
        file.write(b"gone")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_check_writable(tmp_path):
    check_writable(tmp_path / "new")
    with pytest.raises(IsADirectoryError, match="a folder"):
        check_writable(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        check_writable(tmp_path / "no" / "file")


@pytest.mark.skipif(os.name == "nt", reason="a folder cannot be opened")
def test_file_and_folder_are_synced_around_the_renaming(tmp_path, monkeypatch):
    events, path = [], tmp_path / "file"
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor):
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        # What is synced is whole: nothing waits in a buffer.
        events.append((kind, os.fstat(descriptor).st_size if kind == "file" else path.exists()))
        fsync(descriptor)

    def noted_replace(*args):
        events.append("rename")
        replace(*args)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    with write_whole(path) as file:
        file.write(b"12345")
    assert events == [("file", 5), "rename", ("folder", True)]
