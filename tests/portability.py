"""Compile the kernels for every processor and system that this machine has compilers for.

``make portability``: with the flags of setup.py and ``-Wall -Wextra -Werror``; nothing is linked or
run. ``python tests/portability.py gcc-arm64``: only the compilers named.

Python's headers are this machine's. For Windows they get a ``pyconfig.h`` written here, and the
system's headers are MinGW's. clang-cl's front end makes do with them, and, told that it is not
clang, stands in for MSVC; what MSVC's own headers and linker say is seen on Windows only.
"""

import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Distribution

SETUP = runpy.run_path("setup.py")
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
# gcc's warnings about the flow of data need its optimizer, Clang's errors about missing
# instructions its code generator.
GENERATE = ["-O1", "-c", "-o", os.devnull]
CHECK = ["-fsyntax-only"]
MINGW = "/usr/share/mingw-w64/include"
# Cython marks what it leaves unused by attributes of GCC, which MSVC has not.
CL = ["--driver-mode=cl", "--target=x86_64-pc-windows-msvc", "/Zs", "/W4", "/WX"]
CL += ["-Wno-unused-parameter", "-Wno-unused-but-set-variable", "-Wno-unused-function"]
# What MinGW's headers ask of their compiler; SYSTEM takes it back for ours.
CL += ["-fgnuc-version=4.2.1", "-imsvc", MINGW]

# Command, its Debian package, family of flags, instruction sets, what else it is given.
X86 = tuple(SETUP["ISA_FLAGS"])
COMPILERS = {
    "gcc": ("gcc", "gcc", "unix", X86, GENERATE),
    "clang": ("clang", "clang", "unix", X86, GENERATE),
    "gcc-arm64": ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu", "unix", X86[:1], GENERATE),
    "gcc-windows": ("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64", "unix", X86, CHECK),
    "clang-cl-windows": ("clang", "clang", "clang-cl", X86, [*CL, "/FI", "clang_cl.h"]),
    "msvc-windows": ("clang", "clang", None, X86[:1], [*CL, "/FI", "msvc.h"]),
}
PYCONFIG = """
#define MS_WINDOWS
#define MS_WIN64
#define NT_THREADS
#define WITH_THREAD
#define HAVE_STDINT_H 1
#define HAVE_SYS_STAT_H 1
#define SIZEOF_SHORT 2
#define SIZEOF_INT 4
#define SIZEOF_LONG 4
#define SIZEOF_LONG_LONG 8
#define SIZEOF_SIZE_T 8
#define SIZEOF_VOID_P 8
#define SIZEOF_TIME_T 8
#define SIZEOF_WCHAR_T 2
#define SIZEOF_PID_T 4
#define ALIGNOF_SIZE_T 8
"""
# MinGW has much of Clang's intrin.h, which cannot be read after its headers.
SYSTEM = """
#include <_mingw.h>
#undef __MINGW_IMPORT
#define __MINGW_IMPORT extern
#include <Python.h>
#include <structmember.h>
#include <immintrin.h>
#define __INTRIN_H
#include <windows.h>
void __cpuid(int *, int);
void __cpuidex(int *, int, int);
#undef __forceinline
#undef __GNUC__
"""


def main():
    chosen = sys.argv[1:] or list(COMPILERS)
    if unknown := set(chosen) - set(COMPILERS):
        sys.exit(f"Unknown: {', '.join(unknown)}; choose of {', '.join(COMPILERS)}")
    needed = dict(COMPILERS[name][:2] for name in chosen)
    missing = [package for program, package in needed.items() if shutil.which(program) is None]
    if missing:
        sys.exit("Compilers are missing. On Debian and Ubuntu: apt install " + " ".join(missing))
    with tempfile.TemporaryDirectory() as folder:
        sources = translate(folder)
        python = sysconfig.get_path("include")
        windows = Path(folder, "windows")
        shutil.copytree(python, windows)
        (windows / "pyconfig.h").write_text(PYCONFIG)
        (windows / "clang_cl.h").write_text(SYSTEM)
        (windows / "msvc.h").write_text(SYSTEM + "#undef __clang__\n")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            jobs = {
                f"{name} ({isa}, {source.stem})": pool.submit(
                    subprocess.run,
                    command(name, isa, source, windows if name.endswith("windows") else python),
                    capture_output=True,
                    text=True,
                )
                for name in chosen
                for isa in COMPILERS[name][3]
                for source in sources
            }
            failed = [name for name, job in jobs.items() if not report(name, job.result())]
    sys.exit(f"{len(failed)} of {len(jobs)} failed" if failed else 0)


def translate(folder):
    """The C of the modules, which is the same for all."""
    build = SETUP["BuildKernels"](Distribution())
    build.build_temp = folder
    build.write_codes()
    extensions = [e for e in SETUP["extensions"]() if ".baseline." in e.name]
    for extension in extensions:
        build.translate(extension)
    return [Path(*extension.sources) for extension in extensions]


def command(name, isa, source, python):
    program, _, family, _, options = COMPILERS[name]
    # MSVC's flags would be no news to clang-cl.
    flags = SETUP["flags_of"](family, isa) if family else []
    warnings = WARNINGS if family == "unix" else []
    headers = ["-imsvc" if family != "unix" else "-isystem", str(python), "-Iext/include"]
    return ["nice", program, *flags, *warnings, *options, *headers, str(source)]


def report(name, done):
    print("ok    " if done.returncode == 0 else "FAILED", name, flush=True)
    print(done.stderr, end="")
    return done.returncode == 0


if __name__ == "__main__":
    main()
