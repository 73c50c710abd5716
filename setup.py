"""Build of the compiled kernels; everything else about the package is in pyproject.toml.

The Cython sources of ``ext/`` are compiled once for each instruction set, as
``schuss._ext.<instruction set>.<module>``; `schuss.backends.cython_` picks one at import.
Where they cannot be built the package is installed without them, unless
``SCHUSS_REQUIRE_EXT=1`` asks for an error.
"""

import ast
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from setuptools import Extension, errors, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.modified import newer_group

PACKAGE = "schuss._ext"
MODULES = ("single", "double")
# Modules whose integer enums the kernels know as <ENUM>_<MEMBER>.
CODES = ("constants.py", "losses.py", "methods.py")
# Of these, enums of the places in an array of float64, which is a struct to the kernels.
SCALARS = ("WalkScalar", "SGDScalar")
# The module whose named tuples are structs of their numbers to the kernels.
CONTRACT = "backends/contract.py"
C_TYPES = {"int": "int64_t", "float": "double", "bool": "bint"}

# Never -ffast-math or -Ofast, here or for the linker: NaN and infinities must be seen, and
# some compilers then switch the whole process to flush-to-zero.
COMMON_FLAGS = {
    "unix": [
        "-O3",
        "-ffp-contract=fast",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-Wno-psabi",
    ],
    "msvc": ["/O2"],
}
# The kernels' own registers (vec.h) are as wide as the processor's. What the compiler turns
# into vectors by itself, short loops mostly, keeps to 256 bits in x86-64-v4 too.
ISA_FLAGS = {
    "baseline": {"unix": [], "msvc": []},
    "x86_64_v3": {"unix": ["-march=x86-64-v3"], "msvc": ["/arch:AVX2"]},
    "x86_64_v4": {
        "unix": ["-march=x86-64-v4", "-mprefer-vector-width=256"],
        "msvc": ["/arch:AVX512"],
    },
}
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "binding": True,
}
BUILD_ERRORS = (errors.BaseError, errors.CCompilerError)


# Next to the package: starts `schuss.acceleration` in processes with SCHUSS_ACCELERATE.
STARTUP = "schuss_accelerate.pth"


def extensions():
    # Relative paths, so that they enter the sdist; this file, because it holds the flags.
    depends = [p.as_posix() for p in sorted(Path("ext").rglob("*.*"))] + ["setup.py"]
    return [
        Extension(f"{PACKAGE}.{isa}.{module}", [f"ext/{module}.pyx"], depends=depends)
        # One of them, for measurements and quick builds; by default all.
        for isa in os.getenv("SCHUSS_BUILD_ISA", " ".join(ISA_FLAGS)).split()
        for module in MODULES
    ]


class BuildPackage(build_py):
    """Add `STARTUP`, which pip installs and removes with the package."""

    def run(self):
        super().run()
        if not self.editable_mode:
            self.copy_file(f"src/{STARTUP}", str(Path(self.build_lib, STARTUP)))


class BuildKernels(build_ext):
    """Compile for each instruction set; leave out what cannot be compiled."""

    def initialize_options(self):
        super().initialize_options()
        self.failures = {}

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()
        # A fat macOS build compiles each file for two processors with the same flags.
        several = self.plat_name.endswith("universal2") or "-arch arm64" in os.getenv(
            "ARCHFLAGS", ""
        )
        if several or not self.plat_name.endswith(("x86_64", "amd64")):
            self.extensions = [e for e in self.extensions if _isa(e) == "baseline"]

    def build_extensions(self):
        self.write_codes()
        try:
            # Its first use is not safe in the threads of a parallel build.
            if self.compiler.compiler_type == "msvc" and not self.compiler.initialized:
                self.compiler.initialize(self.plat_name)
                # For the other systems setuptools heeds CC by itself.
                if _is_clang_cl(os.getenv("CC", "")):
                    self.compiler.cc = os.environ["CC"]
            self.check_compiler()
            super().build_extensions()
        except BUILD_ERRORS as error:
            self.failures = {e.name: str(error) for e in self.extensions}
        if self.failures:
            if os.getenv("SCHUSS_REQUIRE_EXT", "0") not in ("", "0"):
                raise errors.CompileError(self.failure_message("SCHUSS_REQUIRE_EXT is set."))
            print(self.failure_message("Going on without them."), file=sys.stderr)
        # A new list: the distribution keeps its own, which makes it a platform's package.
        self.extensions = [e for e in self.extensions if e.name not in self.failures]
        self.write_build_info()

    def check_compiler(self):
        """Fail before the long way where there is no compiler, or no Python.h."""
        source = Path(self.build_temp, "check_compiler.c")
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text("#include <Python.h>\n", encoding="utf-8")
        self.compiler.compile([str(source)], output_dir=self.build_temp)

    def build_extension(self, ext):
        path = Path(self.get_ext_fullpath(ext.name))
        ext.extra_compile_args = self.flags(_isa(ext))
        sources = [*ext.sources, *ext.depends, str(self.codes_file)]
        if not (self.force or newer_group(sources, str(path))):
            return
        try:
            self.translate(ext)
            super().build_extension(ext)
        except BUILD_ERRORS as error:
            self.failures[ext.name] = str(error)
            path.unlink(missing_ok=True)

    def translate(self, ext):
        """Generate C outside ext/, one file for each module name.

        In a process of its own, because `Cython.Build.cythonize` shares state between threads.
        """
        (source,) = ext.sources
        target = Path(self.build_temp, "cython", _isa(ext), Path(source).stem + ".c")
        target.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "cython", "--module-name", ext.name, "-o", str(target)]
        command += ["-I", str(self.codes_file.parent)]
        for name, value in DIRECTIVES.items():
            command += ["-X", f"{name}={value}"]
        result = subprocess.run([*command, source], capture_output=True, text=True)
        sys.stderr.write(result.stderr)
        if result.returncode:
            raise errors.CompileError(f"Cython could not translate {source}")
        ext.sources = [str(target)]
        ext.include_dirs = [*ext.include_dirs, "ext/include"]

    @property
    def codes_file(self):
        return Path(self.build_temp, "cython", "codes.pxi")

    def write_codes(self):
        """Leave the codes and structs that mirror the package's where Cython includes them.

        From its source, as what it imports need not be there yet; untouched where they are the
        same, so that nothing is compiled again.
        """
        text = _codes()
        path = self.codes_file
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    @property
    def family(self):
        if self.compiler.compiler_type != "msvc":
            return "unix"
        return "clang-cl" if _is_clang_cl(self.compiler.cc) else "msvc"

    def flags(self, isa):
        flags = flags_of(self.family, isa)
        # Python's own flags ask for debug information, four fifths of the size of a wheel.
        if self.family == "unix" and "-g" not in os.getenv("CFLAGS", "").split():
            flags.append("-g0")
        return flags

    def compiler_version(self):
        compiler = self.compiler
        try:
            cc = compiler.compiler[0] if self.family == "unix" else compiler.cc
            # cl tells its version when it is asked for nothing, in the stream of errors.
            command = [cc] if self.family == "msvc" else [cc, "--version"]
            result = subprocess.run(command, capture_output=True, text=True, errors="replace")
        except (OSError, AttributeError):  # MSVC's compiler has no `cc` where there is none
            return "none"
        return (result.stdout or result.stderr).strip().partition("\n")[0]

    def write_build_info(self):
        """Leave what `schuss.show_config` tells of the build next to the kernels."""
        build = {
            "cython": version("cython"),
            "compiler": self.compiler_version(),
            "flags": {_isa(e): " ".join(e.extra_compile_args) for e in self.extensions},
            "failures": self.failures,
        }
        path = Path(self.get_ext_fullpath(f"{PACKAGE}.build_info")).with_name("build_info.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'"""Written by setup.py."""\n\nBUILD = {build!r}\n', encoding="utf-8")

    def failure_message(self, consequence):
        return "\n".join(
            [
                "",
                "schuss: these compiled kernels could not be built:",
                *(f"    {name}" for name in sorted(self.failures)),
                f"The first error: {next(iter(self.failures.values()))}",
                "They need a C compiler and the header Python.h (Debian and Ubuntu: apt install",
                "gcc python3-dev; Fedora: dnf install gcc python3-devel; macOS: xcode-select",
                f"--install; Windows: Build Tools for Visual Studio). {consequence}",
                "",
            ]
        )


def flags_of(family, isa):
    """Flags of gcc and clang ("unix"), "clang-cl" or "msvc"; those of clang-cl are clang's."""
    own = "unix" if family == "clang-cl" else family
    flags = COMMON_FLAGS[own] + ISA_FLAGS[isa][own]
    return [f"/clang:{flag}" for flag in flags] if family == "clang-cl" else flags


def _codes():
    """What the kernels know of the package: codes and structs, in Cython."""
    codes, structs = ["cdef enum:"], []
    for node in _classes(*CODES, base="IntEnum"):
        members = [statement for statement in node.body if isinstance(statement, ast.Assign)]
        names = [ast.unparse(*member.targets) for member in members]
        for name, member in zip(names, members, strict=True):
            codes.append(f"    {node.name}_{name} = {ast.unparse(member.value)}".upper())
        if node.name in SCALARS:
            structs += _struct(f"{node.name}s", [("double", name.lower()) for name in names])
    for node in _classes(CONTRACT, base="NamedTuple"):
        fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
        kinds = [C_TYPES.get(ast.unparse(field.annotation)) for field in fields]
        structs += _reader(
            node.name,
            [(kind, f.target.id) for kind, f in zip(kinds, fields, strict=True) if kind],
        )
    return "\n".join(codes + structs) + "\n"


def _classes(*modules, base):
    for module in modules:
        for node in ast.parse(Path("src/schuss", module).read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and base in map(ast.unparse, node.bases):
                yield node


def _struct(name, fields):
    return ["", f"cdef struct {name}:", *(f"    {kind} {field}" for kind, field in fields)]


def _reader(name, fields):
    """A struct of a named tuple's numbers, and ``read_<Name>``, which fills it."""
    if not fields:
        return []
    return [
        *_struct(name, fields),
        f"\ncdef inline {name} read_{name}(object source):",
        f"    cdef {name} result",
        *(f"    result.{field} = source.{field}" for _, field in fields),
        "    return result",
    ]


def _is_clang_cl(path):
    return Path(path).stem.lower() == "clang-cl"


def _isa(ext):
    return ext.name.split(".")[-2]


if __name__ == "__main__":
    setup(ext_modules=extensions(), cmdclass={"build_ext": BuildKernels, "build_py": BuildPackage})
