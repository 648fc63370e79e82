"""The `walle` command: the one place where board, cloud and learning meet.

Every command is a few lines: ask a package, print what it answered as a table or, with --json, as JSON. Our
packages are imported inside the commands: a board that runs `walle agent` never loads a web server.
Exit codes: 0 done, 1 it failed and the reason was printed, 2 wrong usage, 78 a bad spec.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from pydantic import BaseModel

if TYPE_CHECKING:
    from cloud_broker.client import Client
    from edge_agent.spec import Spec

FAILED, BAD_SPEC = 1, 78
FORWARD = {"allow_extra_args": True, "ignore_unknown_options": True}

app = typer.Typer(help="Put tasks on boards and keep them fresh.", no_args_is_help=True, add_completion=True)
fl_app = typer.Typer(help="Federated rounds.", no_args_is_help=True)
app.add_typer(fl_app, name="fl")

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Specs = Annotated[list[Path], typer.Argument(help="Task files.", exists=True, dir_okay=False)]
SpecFile = Annotated[Path, typer.Argument(help="A task file.", exists=True, dir_okay=False)]
Server = Annotated[str, typer.Option(envvar="WALLE_SERVER", help="The server's address.")]
Keys = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        envvar="WALLE_KEYS",
        help="Folder with `token` and `signing.key`; the server's state folder has both.",
    ),
]
HERE = "http://127.0.0.1:8080"


# --- processes -------------------------------------------------------------------------------------------


@app.command(context_settings=FORWARD, add_help_option=False)
def broker(context: typer.Context) -> NoReturn:
    """The embedded MQTT broker."""
    from cloud_broker.mqtt.server import main as run

    sys.exit(run(context.args))


@app.command(context_settings=FORWARD, add_help_option=False)
def server(context: typer.Context) -> NoReturn:
    """The release server with its page."""
    from cloud_broker.server import main as run

    sys.exit(run(context.args))


@app.command(context_settings=FORWARD, add_help_option=False)
def agent(context: typer.Context) -> NoReturn:
    """The agent of one board."""
    from edge_agent.__main__ import main as run

    sys.exit(run(context.args))


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Walk, check every step, end with 0 or 1.")] = False,
    state: Annotated[Path | None, typer.Option(help="Keep everything in this new folder.")] = None,
    port: Annotated[int, typer.Option(help="Of the page, if it is free.")] = 8080,
    as_json: Json = False,
) -> None:
    """A broker, a server and three boards on this machine, and a walk through what they do."""
    import walle_demo

    raise typer.Exit(walle_demo.demo(state, port=port, once=once, as_json=as_json))


# --- specs -----------------------------------------------------------------------------------------------


@app.command()
def check(files: Specs, as_json: Json = False) -> None:
    """Find every mistake in task files: syntax, keys, references, expressions, files, models."""
    from edge_agent import spec
    from edge_agent.__main__ import open_model_bytes

    reports = [spec.check(file, open_model=open_model_bytes) for file in files]
    problems = [problem for report in reports for problem in report.problems]
    if as_json:
        print_json([dataclasses.asdict(problem) for problem in problems])
    else:
        for file, report in zip(files, reports, strict=True):
            print(f"{file}: ok" if report.ok else report)
    raise typer.Exit(BAD_SPEC if problems else 0)


@app.command("test")
def run_tests(files: Specs, as_json: Json = False) -> None:
    """Run the tests that task files carry, on a virtual clock."""
    from edge_agent import replay
    from edge_agent.__main__ import open_model

    rows = []
    for file in files:
        spec = checked(file)
        for result in replay.run_tests(spec, file.parent, open_model=open_model):
            rows.append({"task": spec.task.name, **dataclasses.asdict(result)})
    show(rows, as_json)
    raise typer.Exit(0 if all(row["passed"] for row in rows) else FAILED)


@app.command()
def run(
    file: SpecFile,
    recording: Annotated[
        Path | None,
        typer.Option(
            "--replay", help="Feed this recording to the first source, on a virtual clock.", exists=True
        ),
    ] = None,
    mqtt: Annotated[str, typer.Option(help="Broker for MQTT sources.")] = "",
) -> None:
    """Run one task in the foreground; what its sinks would get is printed, one JSON object a line."""
    from edge_agent import foreground, replay
    from edge_agent.__main__ import open_model

    spec = checked(file)
    if recording is None:
        why = foreground.run(spec, file.parent, mqtt=mqtt, open_model=open_model, emit=print_item)
        if why:
            raise CommandError(f"{spec.task.name} failed: {why}")
        return
    for sink, items in replay.replay(spec, file.parent, recording, open_model=open_model).items():
        for item in items:
            print_item(sink, item)


def checked(file: Path) -> Spec:
    """The spec in a file; prints its problems and exits when it has any."""
    from edge_agent import spec
    from edge_agent.__main__ import open_model_bytes

    report = spec.check(file, open_model=open_model_bytes)
    if report.spec is None or not report.ok:
        print(report, file=sys.stderr)
        raise typer.Exit(BAD_SPEC)
    return report.spec


# --- releases --------------------------------------------------------------------------------------------


@app.command()
def key(keys: Keys = None) -> None:
    """The public half of the key that releases are signed with: what boards must trust."""
    from cloud_broker.keys import signing_key
    from cloud_broker.wire.signing import public_text

    print(public_text(signing_key(key_folder(keys)).public_key()))


@app.command()
def release(file: SpecFile, server: Server = HERE, keys: Keys = None, as_json: Json = False) -> None:
    """Check a task, bundle it with its files, sign it and publish it."""
    from cloud_broker.keys import signing_key

    checked(file)
    info = client(server, keys).publish_release(file, signing_key(key_folder(keys)), time.time())
    show([dataclasses.asdict(info)], as_json)


@app.command()
def rollout(
    name: Annotated[
        str, typer.Argument(help="A task to roll out, or the id of a rollout; none lists them.")
    ] = "",
    verb: Annotated[str, typer.Argument(help="For an id: pause, resume, skip or abort.")] = "",
    policy: Annotated[
        Path | None, typer.Option(help="A rollout spec instead of the task's [deploy].", exists=True)
    ] = None,
    server: Server = HERE,
    keys: Keys = None,
    as_json: Json = False,
) -> None:
    """Spread a task's newest release in gray steps, steer a rollout, or list them."""
    from cloud_broker import rollout_spec

    if verb:
        rows = [client(server, keys).act(name, verb)]
    elif name:
        chosen = None if policy is None else rollout_spec.load(policy.read_text(), str(policy)).model_dump()
        rows = [client(server, keys).start_rollout(task=name, policy=chosen)]
    else:
        rows = client(server, None).rollouts()
    show(rows, as_json, columns=("id", "task", "version", "phase", "step", "why"))


@app.command()
def rollback(
    task: Annotated[str, typer.Argument(help="The task.")],
    server: Server = HERE,
    keys: Keys = None,
    as_json: Json = False,
) -> None:
    """Send every board back to the release of a task that was good before."""
    show([client(server, keys).rollback(task)], as_json, columns=("id", "task", "version", "phase"))


@app.command()
def status(
    state: Annotated[
        Path | None, typer.Option(help="An agent's state folder; without it the server is asked.")
    ] = None,
    server: Server = HERE,
    as_json: Json = False,
) -> None:
    """What boards run, and how it goes: of the whole fleet, or of the agent on this machine."""
    if state is None:
        picture = client(server, None).status()
        rows = [
            row
            for board in picture["boards"]
            for row in task_rows(board["board"], board["online"], board["tasks"])
        ]
    else:
        from edge_agent.status import read

        picture = read(state, time.time()).model_dump(mode="json")
        tasks = {name: {**task, **task["evidence"]} for name, task in picture["tasks"].items()}
        rows = task_rows(picture["board"], True, tasks)
    if as_json:
        print_json(picture)
    else:
        show(rows, False)


def task_rows(board: str, online: bool, tasks: dict[str, Any]) -> list[dict[str, Any]]:
    base = {"board": board, "online": online}
    names = ("version", "state", "results", "errors", "cause")
    return [{**base, "task": name, **{key: task[key] for key in names}} for name, task in tasks.items()] or [
        base
    ]


def client(url: str, keys: Path | None) -> Client:
    from cloud_broker.client import Client
    from cloud_broker.keys import load_or_create_token

    return Client(
        url, load_or_create_token(key_folder(keys)) if keys is not None else os.environ.get("WALLE_TOKEN", "")
    )


def key_folder(keys: Path | None) -> Path:
    if keys is None:
        raise CommandError(
            "whose keys? give --keys FOLDER or set WALLE_KEYS (a server's state folder has them)"
        )
    return keys


# --- bench, federated learning ---------------------------------------------------------------------------


@app.command()
def bench(
    models: Annotated[
        list[Path] | None, typer.Argument(help="Models; without any, those in ../shared/models.")
    ] = None,
    memory: Annotated[
        bool, typer.Option("--memory", help="Arena, load time and peak memory instead of latency.")
    ] = False,
    steps: Annotated[
        bool, typer.Option("--steps", help="Where the time of our engine goes, step by step, instead.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Models against the TFLite interpreter: latency as ratios; or memory and load; or our steps."""
    from runtime import bench as benchmark

    chosen = {"--memory": memory, "--steps": steps, "--json": as_json}
    flags = [flag for flag, wanted in chosen.items() if wanted]
    raise typer.Exit(benchmark.main([*map(str, models or []), *flags]))


@app.command()
def explain(
    model: Annotated[Path, typer.Argument(help="A model file.", exists=True, dir_okay=False)],
    svg: Annotated[Path | None, typer.Option(help="Write the passes as a picture there.")] = None,
    nodes: Annotated[bool, typer.Option("--nodes", help="Every node after every pass.")] = False,
    as_json: Json = False,
) -> None:
    """What each pass of the engine makes of a model."""
    from runtime import explain as passes
    from runtime import importers
    from runtime.compile import read
    from runtime.picture import picture

    source = read(model)
    stages = passes.passes(importers.load(source.data, source.name))
    if svg is not None:
        svg.write_text(picture(model.name, stages))
    if as_json:
        print_json(
            {
                "passes": [
                    {
                        "pass": stage.name,
                        "nodes": len(stage.nodes),
                        "copied_bytes": stage.copied,
                        "operators": stage.kinds,
                    }
                    for stage in stages
                ],
                "copies": dataclasses.asdict(passes.copies_of(stages)),
            }
        )
    else:
        print(passes.explain(stages, nodes), end="")


@fl_app.command()
def simulate(
    plan: Annotated[Path, typer.Argument(help="A round spec.", exists=True, dir_okay=False)],
    clients: Annotated[int, typer.Option(help="Simulated boards.")] = 20,
    seed: Annotated[int | None, typer.Option(help="Instead of the plan's.")] = None,
    as_json: Json = False,
) -> None:
    """Federated rounds over simulated boards in this process."""
    from fl import commands

    show(commands.simulate(plan, clients=clients, seed=seed), as_json, commands.COLUMNS)


@fl_app.command(name="run")
def run_rounds(
    plan: Annotated[Path, typer.Argument(help="A round spec.", exists=True, dir_okay=False)],
    mqtt: Annotated[str, typer.Option(help="The broker.")],
    server: Server = HERE,
    keys: Keys = None,
    state: Annotated[Path, typer.Option(help="Folder for checkpoints.")] = Path("fl-state"),
    as_json: Json = False,
) -> None:
    """Federated rounds over the boards of a fleet."""
    from cloud_broker.keys import load_or_create_token
    from fl import commands

    token = load_or_create_token(key_folder(keys))
    show(commands.run(plan, mqtt, server, token, state=state), as_json, commands.COLUMNS)


# --- printing --------------------------------------------------------------------------------------------


class CommandError(Exception):
    """A command that cannot be carried out; the message says what to do."""


def show(rows: Sequence[dict[str, Any]], as_json: bool, columns: Iterable[str] = ()) -> None:
    """Rows as a table, or whole as JSON."""
    if as_json:
        print_json(rows)
        return
    from rich.console import Console
    from rich.table import Table

    names = tuple(columns) or tuple(dict.fromkeys(key for row in rows for key in row))
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(cell(row.get(name, "")) for name in names))
    Console().print(table if rows else "nothing yet")


def cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=plain))


def print_item(sink: str, item: dict[str, Any]) -> None:
    print(json.dumps({"sink": sink, **item}, default=plain), flush=True)


def plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return value.tolist() if hasattr(value, "tolist") else str(value)


OURS = {"runtime", "fl", "edge_agent", "cloud_broker", __name__}


def for_people(error: Exception) -> bool:
    """Our own exceptions are raised on purpose, with a text that says what to do; so do the system's."""
    return isinstance(error, OSError | ImportError) or type(error).__module__.split(".")[0] in OURS


def main(command: Callable[[], Any] = app) -> None:
    try:
        command()
    except Exception as error:
        if not for_people(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
