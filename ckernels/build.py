"""Builds the C kernels: `python -m ckernels.build [--sanitize] [--force]`.

`ck.h` is the cffi cdef as it stands, without its `#` lines. Objects go to `build/<cache tag>/`, the extension
next to this package; with --sanitize both go to `build/<cache tag>-sanitize/`, which `WALLE_CKERNELS` selects
at import. Nothing is compiled when sources, flags and compiler are those of the last build.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from cffi import FFI

PACKAGE = Path(__file__).resolve().parent
STANDARD = ("-std=c11", "-fPIC", "-pthread", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
WARNINGS = ("-Wall", "-Wextra", "-Werror")
OPTIMISED = ("-O3",)
SANITIZED = (
    "-O1",
    "-g",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)
AVX512 = ("-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl")
NEON = ("-ffp-contract=fast", "-fno-schedule-insns")
"""Scheduled before registers are given, the loops of the tiles move sums between them."""
ISA_FLAGS: dict[str, dict[str, tuple[str, ...]]] = {
    "avx2": {
        "x86_64": ("-mavx2", "-mfma", "-ffp-contract=fast"),
        "i686": ("-mavx2", "-mfma", "-ffp-contract=fast"),
    },
    "avx512": {"x86_64": (*AVX512, "-ffp-contract=fast")},
    "vnni": {"x86_64": (*AVX512, "-mavx512vnni")},
    "vbmi": {"x86_64": (*AVX512, "-mavx512vbmi")},
    "neon": {"aarch64": NEON},
    "dotprod": {"aarch64": (*NEON, "-march=armv8.2-a+dotprod")},
}
"""Source name suffix -> machine -> flags. A file is left out on a machine that its suffix does not name."""


class BuildError(Exception):
    """The kernels cannot be built here; the message says what to do next."""


def extension() -> str:
    return f"_ckernels{sysconfig.get_config_var('EXT_SUFFIX')}"


def build(sanitize: bool = False, force: bool = False) -> Path:
    """Compiles what has changed and returns the extension's path; raises BuildError."""
    tag = f"{sys.implementation.cache_tag}-{platform.machine()}" + ("-sanitize" if sanitize else "")
    work = PACKAGE.parent / "build" / tag
    target = (work if sanitize else PACKAGE) / extension()
    command, flags = compiler(), (*STANDARD, *(SANITIZED if sanitize else OPTIMISED))
    digest, stamp = source_digest((sys.version, *command, *flags)), work / "digest"
    if not force and target.exists() and stamp.exists() and stamp.read_text() == digest:
        return target
    work.mkdir(parents=True, exist_ok=True)
    glue = _glue(work, digest)
    objects = [_compile(command, (*flags, "-w", f"-I{_python_headers()}", f"-I{PACKAGE}"), glue, work)]
    for source in sources():
        objects.append(_compile(command, (*flags, *WARNINGS, *isa_flags(source)), source, work))
    fresh = target.with_name(target.name + ".new")
    linked = [f for f in flags if f.startswith("-fsanitize")]
    _call([*command, "-shared", "-pthread", *linked, "-o", str(fresh), *map(str, objects), "-lm"])
    os.replace(fresh, target)
    stamp.write_text(digest)
    return target


def sources(machine: str = "") -> list[Path]:
    """The C files of a machine (as `uname -m` names it; default: this one)."""
    machine = machine or platform.machine()
    return [f for f in sorted(PACKAGE.glob("*.c")) if machine in ISA_FLAGS.get(_suffix(f), {machine: ()})]


def isa_flags(source: Path, machine: str = "") -> tuple[str, ...]:
    return ISA_FLAGS.get(_suffix(source), {}).get(machine or platform.machine(), ())


def executable(target: Path, main: Path, machine: str, command: Sequence[str]) -> None:
    """Writes a static program of `main` and the kernels of `machine`, by the (cross) compiler `command`."""
    flags = (*STANDARD, *OPTIMISED, *WARNINGS, f"-I{PACKAGE}")
    target.parent.mkdir(parents=True, exist_ok=True)
    objects = [
        _compile(command, (*flags, *isa_flags(source, machine)), source, target.parent)
        for source in (*sources(machine), main)
    ]
    _call([*command, "-static", "-pthread", "-o", str(target), *map(str, objects), "-lm"])


def source_digest(made_by: Sequence[str] = ()) -> str:
    """Of everything that a binary is made from: the sources, and what is told to make it, and by whom."""
    digest = hashlib.sha256(repr(tuple(made_by)).encode())
    files = [*PACKAGE.glob("*.[ch]"), *PACKAGE.glob("*.inc"), Path(__file__)]
    for path in sorted(files, key=lambda path: path.name):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def cdef() -> str:
    """`ck.h` without the lines that only the C preprocessor reads."""
    return "".join(line for line in (PACKAGE / "ck.h").open() if not line.startswith("#"))


def _suffix(source: Path) -> str:
    return source.stem.rpartition("_")[2]


def _glue(work: Path, digest: str) -> Path:
    """The cffi module's C source; it carries the digest, so that caches can tell one build from another."""
    ffi = FFI()
    ffi.cdef(cdef() + "\nstatic const char *const ck_build_digest;\n")
    ffi.set_source(
        "ckernels._ckernels", f'#include "ck.h"\nstatic const char *const ck_build_digest = "{digest}";\n'
    )
    path = work / "_ckernels.c"
    ffi.emit_c_code(str(path))
    return path


def compiler() -> tuple[str, ...]:
    """The command from CC, or `cc`; raises BuildError where it is not installed."""
    command = tuple(os.environ.get("CC", "cc").split())
    if not command or shutil.which(command[0]) is None:
        raise BuildError(
            f"no C compiler: {' '.join(command)!r} is not on the PATH; run `make system-deps`, or set CC"
        )
    return command


def _python_headers() -> str:
    folder = sysconfig.get_path("include")
    if not (Path(folder) / "Python.h").exists():
        raise BuildError(
            f"no Python.h in {folder}: run `make system-deps` (Debian: python3-dev), then `make build`"
        )
    return folder


def _compile(compiler: Sequence[str], flags: Sequence[str], source: Path, work: Path) -> Path:
    target = work / f"{source.stem}.o"
    _call([*compiler, *flags, "-c", str(source), "-o", str(target)])
    return target


def _call(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"`{' '.join(command)}` failed:\n{done.stderr}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ckernels.build", description="Build the C kernels.")
    parser.add_argument(
        "--sanitize", action="store_true", help="with ASan and UBSan, into a folder of its own"
    )
    parser.add_argument("--force", action="store_true", help="even when nothing has changed")
    options = parser.parse_args(arguments)
    try:
        print(build(options.sanitize, options.force))
    except BuildError as error:
        print(f"ckernels: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
