"""The server's page in a real browser."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from walle_demo import System, has_results, wait_for

CHROMIUM = shutil.which("chromium")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--timeout=3000",
)  # fmt: skip


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One board that runs one task."""
    system = System(tmp_path_factory.mktemp("page"), port=0, boards=("board-1",))
    try:
        system.start()
        system.drop("board-1", "telemetry")
        wait_for("a window", lambda: has_results(system, "board-1", "telemetry"), 60)
        wait_for("the server to hear of it", lambda: system.status()["boards"][0]["tasks"], 30)
        yield system
    finally:
        system.stop()


def page(system: System, profile: Path, *options: str) -> str:
    """What the browser's document is once the page has loaded."""
    argv = [str(CHROMIUM), *QUIET, f"--user-data-dir={profile}", *options]
    done = subprocess.run([*argv, f"{system.http}/"], capture_output=True, text=True, check=True, timeout=100)
    return done.stdout


@pytest.mark.e2e
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing: make system-deps")
def test_the_page_shows_the_board_and_its_task(system: System, tmp_path: Path) -> None:
    document = page(system, tmp_path / "profile", "--dump-dom")
    for text in ("board-1", "telemetry", "1.0.0", "by hand", "running"):
        assert text in document, text


@pytest.mark.e2e
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing: make system-deps")
def test_the_page_is_drawn(system: System, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    page(system, tmp_path / "profile", f"--screenshot={picture}", "--window-size=1200,900")
    assert picture.stat().st_size > 10_000
