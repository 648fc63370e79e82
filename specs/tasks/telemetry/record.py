"""Measures this machine for the tests of telemetry.toml.

`python record.py quiet.csv 50` and `python record.py burst.csv 45 10`: so many seconds as they come, then
so many of work on all cores.
"""

import csv
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from edge_agent.sources.host_metrics import COLUMNS, counts, sample

EVERY = 0.25


def main(path: Path, quiet: float, burst: float = 0.0) -> None:
    with path.open("w", newline="") as file:
        file.write(f"# measured by record.py: {quiet:g} s as it was, then {burst:g} s of work on all cores\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("time", *COLUMNS))
        for seconds, workers in ((quiet, 0), (burst, os.cpu_count() or 1)):
            processes = [multiprocessing.Process(target=work, args=(seconds,)) for _ in range(workers)]
            for process in processes:
                process.start()
            for row in measured(time.time() + seconds):
                writer.writerow(row)
            for process in processes:
                process.join()


def measured(end: float) -> Iterator[list[str]]:
    """A row every quarter of a second until `end`."""
    before, then = counts(), time.time()
    while time.time() < end:
        time.sleep(EVERY)
        after, now = counts(), time.time()
        row = sample(before, after, now - then)
        yield [f"{now:.3f}", *(f"{row[name]:.4g}" for name in COLUMNS)]
        before, then = after, now


def work(seconds: float) -> None:
    end = time.time() + seconds
    while time.time() < end:
        sum(range(10_000))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(float, sys.argv[2:]))
