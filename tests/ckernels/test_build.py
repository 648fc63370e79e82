"""The builder: what it compiles with which flags, when it does nothing, and what it says when it cannot."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from ckernels import build

HERE = Path(build.__file__).parent


def test_the_header_is_the_cdef() -> None:
    text = build.cdef()
    assert "#" not in "".join(line[:1] for line in text.splitlines())
    assert "ck_run(" in text and "ck_rows(" in text


@pytest.mark.parametrize(
    ("machine", "source", "compiled", "flag"),
    [
        ("x86_64", "gemm_f32_avx2.c", True, "-mavx2"),
        ("aarch64", "gemm_f32_avx2.c", False, ""),
        ("x86_64", "gemm_f32.c", True, ""),
        ("aarch64", "gemm_f32.c", True, ""),
        ("aarch64", "gemm_f32_neon.c", True, "-ffp-contract=fast"),
        ("x86_64", "gemm_q8_amx.c", True, "-mamx-int8"),
        ("i686", "gemm_q8_amx.c", False, ""),
        ("aarch64", "gemm_q8_dotprod.c", True, "-march=armv8.2-a+dotprod"),
        ("armv7l", "gemm_f32_neon.c", False, ""),
        ("riscv64", "map.c", True, ""),
    ],
)
def test_a_suffix_decides_where_a_file_is_compiled_and_how(
    machine: str, source: str, compiled: bool, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert ((HERE / source) in build.sources()) is compiled
    assert (flag in build.isa_flags(HERE / source)) is bool(flag)


def test_nothing_is_compiled_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    built = build.build()

    def refuse(command: list[str]) -> None:
        raise AssertionError(f"compiled again: {command}")

    monkeypatch.setattr(build, "_call", refuse)
    assert build.build() == built
    with pytest.raises(AssertionError, match="compiled again"):
        build.build(force=True)


def test_the_digest_follows_sources_and_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = build.source_digest()
    assert before != build.source_digest(["-O2"])
    for path in [*HERE.glob("*.[ch]"), *HERE.glob("*.inc")]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(build, "PACKAGE", tmp_path)
    assert build.source_digest() == before
    (tmp_path / "map.c").write_bytes(b"// changed")
    assert build.source_digest() != before


def test_no_compiler_is_told_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O9")
    assert build.main([]) == 1
    assert "no C compiler: 'no-such-compiler -O9'" in (error := capsys.readouterr().err)
    assert "make system-deps" in error


def test_no_headers_are_told_with_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(build.BuildError, match=r"no Python\.h in .*make system-deps"):
        build.build(force=True)


def test_an_import_without_a_build_says_what_to_do(tmp_path: Path) -> None:
    """The package alone, as a fresh checkout has it (-S: this checkout is on the path by site-packages)."""
    package = tmp_path / "ckernels"
    package.mkdir()
    for name in ("__init__.py", "build.py"):
        (package / name).write_bytes((HERE / name).read_bytes())
    done = subprocess.run(
        [sys.executable, "-S", "-c", "from ckernels import lib"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "ImportError: the C kernels are not built for this Python: run `make build`" in done.stderr
