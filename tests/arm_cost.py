"""What the kernels cost on ARM, without a board: `python -m tests.arm_cost [--write]` (`make bench-arm`).

Of every NEON micro-kernel the hottest loop, in cycles per product by llvm-mca's model of a core, which takes
all memory to be in the first cache and no branch to be mispredicted: it judges the loop alone.
Of every model what one inference executes, counted by a plugin of the emulator: the same in every run. What
follows from both is an estimate until a board has measured it. `--write` keeps the figures in
ckernels/arm_cost.json, to which a test compares them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ckernels import build

ROOT = Path(__file__).parents[1]
EMULATED = ROOT / "tests" / "ckernels" / "emulated"
KEPT = ROOT / "tests" / "ckernels" / "arm_cost.json"
MODELS = (ROOT / "specs" / "models", ROOT.parent / "shared" / "models")
MACHINE, COMPILER, EMULATOR = "aarch64", "aarch64-linux-gnu-gcc", "qemu-aarch64"
ANALYSER = "llvm-mca-19"
"""Pinned: other versions give other cycles for the same loop, and before 19 Neoverse N1 was a Cortex-A57."""

PACKAGES = {
    COMPILER: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    EMULATOR: "qemu-user",
    ANALYSER: "llvm-19",
    "cc": "build-essential",
}
CACHE, TIMES = 512 * 1024, 200
"""Bytes of the second cache that programs are made for, and how often the analyser runs a loop."""

PRODUCT = re.compile(r"(?:fmla|[su]?mlal2?|[su]dot)\s")
BRANCH = re.compile(r"(?:b(?:\.?\w\w)?|cbn?z|tbn?z)\s(?:.*\s)?(\.L\w+)$")


# -------------------------------------------------------------------- loops


@dataclass(frozen=True, slots=True)
class Board:
    """A core as the analyser and the emulator name it. `others`: instructions per cycle that are no products,
    from general knowledge of the core.
    """

    name: str
    model: str
    emulated: str
    hertz: float
    others: float


PI3 = Board("Pi 3, Zero 2 W", "cortex-a53", "cortex-a53", 1.2e9, 0.8)
PI4 = Board("Pi 4", "cortex-a72", "cortex-a72", 1.8e9, 1.5)
PI5 = Board("Pi 5", "neoverse-n1", "cortex-a76", 2.4e9, 2.5)
BOARDS = (PI3, PI4, PI5)

LEAST: dict[str, dict[str, float]] = {
    "gemm_f32_neon.c": {"cortex-a53": 2.0, "cortex-a72": 1.0, "neoverse-n1": 0.5},
    "gemm_q8_neon.c": {"cortex-a72": 1.0, "neoverse-n1": 1.0},
    "gemm_q8_dotprod.c": {"neoverse-n1": 0.5},
}
"""Tile -> core -> the cycles per product that its pipes allow; where there is none the loads decide."""


@dataclass(frozen=True, slots=True)
class Loop:
    """An innermost loop of assembly, line by line."""

    lines: tuple[str, ...]

    def count(self, pattern: str) -> int:
        return sum(bool(re.match(pattern, line)) for line in self.lines)

    @property
    def products(self) -> int:
        return self.count(PRODUCT.pattern)

    @property
    def stores(self) -> int:
        """Those, and whatever touches the stack: sums that found no register."""
        return sum(line.startswith("st") or "[sp" in line for line in self.lines)

    def cycles(self, core: str) -> float:
        """Per product; NaN where the core lacks an instruction."""
        command = [ANALYSER, f"-mtriple={MACHINE}", f"-mcpu={core}", f"-iterations={TIMES}"]
        text = "\n".join(self.lines)
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        found = re.search(r"Total Cycles: +(\d+)", done.stdout)
        return (
            round(int(found[1]) / TIMES / self.products, 3) if found and not done.returncode else float("nan")
        )

    def figures(self) -> dict[str, Any]:
        cores = {board.model: self.cycles(board.model) for board in BOARDS}
        return {
            "instructions": len(self.lines),
            "products": self.products,
            "loads": self.count("ld"),
            "stores": self.stores,
            "cycles": {core: cycles for core, cycles in cores.items() if cycles == cycles},
        }


def loops(assembly: str) -> Iterator[Loop]:
    """The loops with one branch, the one that goes back."""
    lines = [line.split("//")[0].strip() for line in assembly.splitlines()]
    places = {line[:-1]: i for i, line in enumerate(lines) if line.endswith(":")}
    for end, line in enumerate(lines):
        found = BRANCH.match(line)
        if found is None or places.get(found[1], end) >= end:
            continue
        body = [line for line in lines[places[found[1]] : end + 1] if re.match(r"[a-z]", line)]
        if not any(BRANCH.match(line) for line in body[:-1]):
            yield Loop(tuple(body))


def hottest(assembly: str) -> Loop:
    """The loop with the most products, of several the shortest: a tile has one for each number of rows."""
    return max(loops(assembly), key=lambda loop: (loop.products, -len(loop.lines)))


def micro_kernels() -> dict[str, Loop]:
    """Every file of a NEON kernel that has products -> its hottest loop."""
    found: dict[str, Loop] = {}
    for source in build.sources(MACHINE):
        flags = build.isa_flags(source, MACHINE)
        if flags and source.name.startswith(("gemm", "depthwise")):
            command = [COMPILER, *build.STANDARD, *build.OPTIMISED, *flags, "-S", "-o", "-", str(source)]
            found[source.name] = hottest(
                subprocess.run(command, capture_output=True, text=True, check=True).stdout
            )
    return found


# -------------------------------------------------------------------- models


@dataclass(frozen=True, slots=True)
class Counts:
    """What one inference executes; products by what they multiply."""

    instructions: int
    fmla: int
    smlal: int
    sdot: int
    loads: int
    stores: int


def models() -> list[Path]:
    return sorted((path for folder in MODELS for path in folder.glob("*.tflite")), key=lambda path: path.stem)


def counted(core: str, paths: Sequence[Path], work: Path) -> dict[str, Counts]:
    """Model -> its counts on a core."""
    program, plugin, out = work / "kernels", work / "count.so", work / "counts"
    if not program.exists():
        build.executable(program, EMULATED / "driver.c", MACHINE, [COMPILER])
        flags = ("-std=c11", "-O2", *build.WARNINGS, "-shared", "-fPIC")
        subprocess.run(["cc", *flags, str(EMULATED / "count.c"), "-o", str(plugin)], check=True)
    names = subprocess.run(["nm", "-S", str(program)], capture_output=True, text=True, check=True).stdout
    begin, size = next(line.split()[:2] for line in names.splitlines() if line.endswith(" ck_run"))
    ends = f"begin={begin},end={int(begin, 16) + int(size, 16):x}"
    command = f"{EMULATOR} -cpu {core} -plugin {plugin},{ends},out={out} {program}"
    settings = {"WALLE_CKERNELS": str(EMULATED), "WALLE_KERNEL_COMMAND": command, "PYTHONPATH": str(ROOT)}
    runs = [sys.executable, "-m", "tests.arm_cost", "--run", *map(str, paths)]
    subprocess.run(runs, cwd=ROOT, env={**os.environ, **settings}, check=True)
    lines = [Counts(*map(int, line.split())) for line in out.read_text().splitlines()]
    return {path.stem: counts for path, counts in zip(paths, lines, strict=True)}


def run(paths: Sequence[str]) -> None:
    """One inference of each model on zeros: how the other side of `counted` is used."""
    from runtime.backends.cpu import CpuBackend
    from runtime.compile import read

    for path in paths:
        model = read(Path(path))
        inputs = [model.graph.values[i] for i in model.graph.inputs]
        program = CpuBackend(cache=CACHE).compile(model)
        program.run([np.zeros(value.shape, value.dtype.numpy) for value in inputs])


def milliseconds(counts: Counts, board: Board, kernels: dict[str, Any]) -> float:
    """An estimate: products at the rate of their tile, everything else at that of the core."""
    files = {"fmla": "gemm_f32_neon.c", "smlal": "gemm_q8_neon.c", "sdot": "gemm_q8_dotprod.c"}
    products: dict[str, int] = {kind: getattr(counts, kind) for kind in files}
    cycles: float = sum(n * kernels[files[kind]]["cycles"][board.model] for kind, n in products.items() if n)
    return 1e3 * (cycles + (counts.instructions - sum(products.values())) / board.others) / board.hertz


# -------------------------------------------------------------------- all of it


def missing() -> list[str]:
    """What is not installed, with the package that has it."""
    return [f"{command} (Debian: {name})" for command, name in PACKAGES.items() if not shutil.which(command)]


def measured() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        counts = {board.emulated: counted(board.emulated, models(), Path(folder)) for board in (PI4, PI5)}
    return {
        "kernels": {name: loop.figures() for name, loop in micro_kernels().items()},
        "models": {
            path.stem: {core: asdict(found[path.stem]) for core, found in counts.items()} for path in models()
        },
    }


def report(found: dict[str, Any]) -> str:
    lines = ["Hottest loop of a kernel: cycles per product by llvm-mca, and the least that its pipes allow"]
    for name, loop in found["kernels"].items():
        cycles = [
            f"{core} {value:.3f}" + (f" ({least:.1f})" if (least := LEAST.get(name, {}).get(core)) else "")
            for core, value in loop["cycles"].items()
        ]
        sizes = "{instructions:4} instructions, {products:3} products, {loads:2} loads".format(**loop)
        lines.append(f"  {name:18} {sizes}  {'  '.join(cycles)}")
    lines += [
        "",
        "One inference: instructions, products, and an ESTIMATE of its time on one core, not a measurement",
    ]
    for name, cores in found["models"].items():
        for board in (PI4, PI5):
            counts = Counts(**cores[board.emulated])
            products = counts.fmla + counts.smlal + counts.sdot
            time = milliseconds(counts, board, found["kernels"])
            lines.append(
                f"  {name:18} {board.name}  {counts.instructions:12,} {products:12,}  ~{time:8.3f} ms"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["--run"]:
        run(arguments[1:])
        return 0
    if lacking := missing():
        print(f"not installed: {', '.join(lacking)}: run `make system-deps`", file=sys.stderr)
        return 1
    found = measured()
    print(report(found))
    if "--write" in arguments:
        KEPT.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
