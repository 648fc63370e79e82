"""`python -m ckernels.sanitized`: the kernel tests on the build of `ckernels.build --sanitize`, in a process
of their own.

AddressSanitizer must be the first library of the process, so it is preloaded; Python's own leaks are not our
concern.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from ckernels.build import PACKAGE, BuildError, build, compiler


def main(arguments: Sequence[str] = ()) -> int:
    """Runs pytest on tests/ckernels with further `arguments`; its exit status."""
    try:
        folder = build(sanitize=True).parent
    except BuildError as error:
        print(f"ckernels: {error}", file=sys.stderr)
        return 1
    found = subprocess.run(
        [*compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    settings = {
        "LD_PRELOAD": found.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "WALLE_CKERNELS": str(folder),
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--capture=no",
        "-p",
        "no:cacheprovider",
        "tests/ckernels",
        *arguments,
    ]
    return subprocess.run(command, cwd=PACKAGE.parent, env={**os.environ, **settings}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
