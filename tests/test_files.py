"""Files written whole or not at all."""

import os
import stat
import subprocess
import sys

import pytest

from schuss.files import check_writable, descriptor, write_whole

posix = pytest.mark.skipif(os.name == "nt", reason="permissions, links and pipes of POSIX")


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


@posix
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


@posix
def test_read_only_files_are_not_replaced(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"old")
    link.symlink_to(path)
    path.chmod(0o444)
    for name in (path, link):
        with pytest.raises(PermissionError, match="file: the file is read-only"):
            check_writable(name)


@pytest.mark.parametrize("name", ["x" * 252, "€" * 84, "é" * 126])
def test_names_as_long_as_the_file_system_takes(tmp_path, name):
    for content in (b"one", b"two"):
        with write_whole(tmp_path / name) as file:
            file.write(content)
        assert (tmp_path / name).read_bytes() == content
    assert len(os.listdir(tmp_path)) == 1


@posix
def test_open_files_by_number(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("/dev/stdout")
    assert [descriptor(name) for name in ("/dev/stdin", link, "/dev/fd/7")] == [0, 1, 7]
    assert descriptor(tmp_path / "7") is None and descriptor("/dev/null") is None


@posix
def test_a_redirected_file_is_written_to_not_replaced(tmp_path):
    path = tmp_path / "file"
    with open(path, "wb") as log:
        log.write(b"before ")
        log.flush()
        inode = path.stat().st_ino
        with write_whole(f"/dev/fd/{log.fileno()}") as file:
            file.write(b"after")
    assert path.read_bytes() == b"before after" and path.stat().st_ino == inode


@posix
def test_a_pipe_gets_nothing_of_what_failed(tmp_path):
    reading, writing = os.pipe()
    with pytest.raises(RuntimeError), write_whole(f"/dev/fd/{writing}") as file:
        file.write(b"half")
        raise RuntimeError
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_named():
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        with write_whole("/dev/full") as file:
            file.write(b"content")
