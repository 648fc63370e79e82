"""`python -m edge_agent`: the agent as a process, and the one place where its parts are tied together."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from cloud_broker.wire import blobs
from cloud_broker.wire.link import Link
from cloud_broker.wire.messages import Reason, RoundOpen
from edge_agent import config, spec, topology, uplink
from edge_agent.agent import Agent, AgentError
from edge_agent.clock import Clock, SystemClock
from edge_agent.config import BoardConfig, ConfigError
from edge_agent.model_step import Program
from edge_agent.releases import Refusal, Tools
from edge_agent.replay import run_tests
from edge_agent.spec import Spec, SpecError
from edge_agent.task import Task

BAD_MODEL = frozenset({"E062", "E065"})
"""Problems of a spec that are its model's."""
BAD_CONFIG = 78
"""Exit code, EX_CONFIG of sysexits.h."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run an agent until SIGTERM or SIGINT; the exit code."""
    logging.basicConfig(
        stream=sys.stdout,
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03d %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    clock, rng = SystemClock(), Random()
    try:
        board = _configuration(argv)
        agent = Agent(
            board,
            tools=partial(tools, board, clock),
            link=lambda known: uplink.mqtt(board.mqtt, known, rng) if board.mqtt else None,
            train=partial(train, board, clock),
            clock=clock,
            rng=rng,
        )
    except ConfigError as error:
        print(error, file=sys.stderr)
        return BAD_CONFIG
    except AgentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # see drop_folder.being_written
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    agent.run()
    return 0


def tools(board: BoardConfig, clock: Clock, task: str, link: Link | None) -> Tools:
    """What versions of a task are checked, tested and built with on this board."""
    state = board.state.resolve()
    open_here = partial(open_model, cache=state / "cache")

    def build(parsed: Spec, folder: Path) -> Task:
        own = state / "tasks" / task / "data"
        own.mkdir(parents=True, exist_ok=True)
        context = topology.Context(board.board, state, own, link, clock, open_here)
        return topology.build(parsed, folder, context)

    return Tools(check, load, test, build)


def train(board: BoardConfig, clock: Clock, invitation: RoundOpen, data: str, link: Link) -> None:
    """Answer an invitation, patiently while its round lasts. Raises Refusal.

    An invitation is not signed, so what leaves the board goes only to the server that the board was told of.
    """
    from fl import client  # a board that never trains never loads it

    if invitation.blobs.rstrip("/") != board.server.rstrip("/"):
        told = board.server or "none"
        raise Refusal(
            Reason.NOT_OURS, f"it names the server {invitation.blobs}; this board's `server` is {told}"
        )
    state = board.state.resolve()
    try:
        client.answer(
            invitation,
            Path(data.replace("{state}", str(state))),
            board=board.board,
            publish=link.publish,
            token=board.token.get_secret_value(),
            workdir=state / "rounds" / invitation.plan,
            now=clock.now,
        )
    except client.ClientError as error:
        raise Refusal(Reason.NOT_OURS, str(error)) from error
    except blobs.FetchError as error:
        raise Refusal(error.reason, error.text) from error


def check(path: Path, name: str) -> Spec:
    """The spec in a file, everything it names included. Raises Refusal with every problem in it."""
    report = spec.check(path, name=name, open_model=open_model_bytes)
    if report.spec is None or not report.ok:
        model = all(problem.code in BAD_MODEL for problem in report.problems)
        raise Refusal(Reason.BAD_MODEL if model else Reason.BAD_SPEC, str(report))
    return report.spec


def load(path: Path) -> Spec:
    """Raises Refusal when what was checked once cannot be read any more."""
    try:
        return spec.load(path.read_text(encoding="utf-8-sig"), path.name)
    except (SpecError, OSError, UnicodeDecodeError) as error:
        raise Refusal(Reason.BAD_SPEC, str(error)) from error


def test(parsed: Spec, folder: Path) -> None:
    """The spec's own tests. Raises Refusal naming those that failed."""
    failed = [result for result in run_tests(parsed, folder, open_model=open_model) if not result.passed]
    if failed:
        lines = [
            f"test {result.name!r}: expected {result.expected}, got {result.got}"
            + (f" ({result.detail})" if result.detail else "")
            for result in failed
        ]
        raise Refusal(Reason.TEST_FAILED, "\n".join(lines))


def open_model(path: Path, backend: str, /, *, num_threads: int = 1, cache: Path | None = None) -> Program:
    """A model ready to run; `cache` keeps what a search for the fastest backend measured. The engine is
    loaded with the first model, so a board without models starts lean."""
    import runtime

    return runtime.load(path, backend=backend, cache_dir=cache, num_threads=num_threads)


def open_model_bytes(data: bytes) -> Any:
    import runtime

    return runtime.load(data, backend="reference")


def _configuration(argv: Sequence[str] | None) -> BoardConfig:
    """board.toml, if one is named, under the command line. Raises ConfigError."""
    parser = argparse.ArgumentParser("edge_agent", description="Run the tasks of one board.")
    parser.add_argument("--config", type=Path, help="board.toml; what follows overrides it")
    parser.add_argument("--state", type=Path, help="folder for everything the agent keeps")
    parser.add_argument("--specs", type=Path, help="drop folder; by default specs/ in the state folder")
    parser.add_argument("--board", help="name of this board; by default the host's")
    parser.add_argument("--mqtt", help="mqtt://host:port; without it the board works alone")
    parser.add_argument("--trust", action="append", dest="trusted", help="public key that signs releases")
    parser.add_argument("--heartbeat", help='such as "30s"')
    parser.add_argument("--server", help="http://host:port; where shares in federated rounds go")
    parser.add_argument("--token-file", type=Path, dest="token", help="file with the secret for that server")
    given = {key: value for key, value in vars(parser.parse_args(argv)).items() if value is not None}
    if "token" in given:
        given["token"] = config.secret_in(given["token"])
    path = given.pop("config", None)
    return config.read(path, given) if path else config.load("", "command line", given)


if __name__ == "__main__":
    sys.exit(main())
