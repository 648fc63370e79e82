"""The page: fleet, rollouts, events. Rendered here as a whole; its script only swaps `<main>` when the
server says so.

Everything that comes from outside goes through `_e`. No build chain, no external asset; style and script
are the two constants at the end, and the content security policy allows those two by their hash and
nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from cloud_broker.database import Event
from cloud_broker.rollout import Stage
from cloud_broker.views import View

SHOWN_ROLLOUTS = 8
GOOD_STATES = frozenset({"running", "idle", "complete"})
BAD_STATES = frozenset({"failed", "bad-spec", "aborted"})
BAD_EVENTS = frozenset({"failed", "aborted", "offline"})
SEGMENTS = (
    ("good", (Stage.GOOD,)),
    ("busy", (Stage.NOTIFIED, Stage.WORKING, Stage.RESTORING)),
    ("bad", (Stage.FAILED,)),
    ("back", (Stage.RESTORED,)),
    ("rest", (Stage.WAITING, Stage.EXCUSED)),
)
"""Parts of a rollout's bar, in order: class of the colour, stages counted."""


def whole(main: str) -> str:
    """The document around `main`."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Walle Edge</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<style>{STYLE}</style></head><body><header><h1>Walle Edge</h1>"
        '<p id="live" role="status">connecting…</p></header>'
        f"<main>{main}</main><script>{SCRIPT}</script></body></html>"
    )


def main(status: View, events: Sequence[Event]) -> str:
    """What changes: summary, fleet, rollouts, events (newest first)."""
    now = status["at"]
    return "".join(
        [
            _summary(status),
            _section("Fleet", _fleet(status["boards"], now)),
            _section("Rollouts", _rollouts(status["rollouts"], now)),
            _section("Events", _events(events, now)),
        ]
    )


def _summary(status: View) -> str:
    boards = status["boards"]
    online = sum(board["online"] for board in boards)
    tasks = {name for board in boards for name in board["tasks"]}
    active = sum(rollout["phase"] in ("running", "paused") for rollout in status["rollouts"])
    numbers = [
        (f"{online}/{len(boards)}", "boards online"),
        (len(tasks), "tasks"),
        (len(status["releases"]), "releases"),
        (active, "active rollouts"),
    ]
    cells = "".join(f"<div><dt>{_e(name)}</dt><dd>{_e(number)}</dd></div>" for number, name in numbers)
    return f'<dl class="summary">{cells}</dl>'


def _fleet(boards: Iterable[View], now: float) -> str:
    rows = "".join(_board_rows(board, now) for board in boards)
    if not rows:
        return '<p class="empty">No board has said hello yet. Start one with <code>walle agent</code>.</p>'
    names = ("Board", "Task", "Version", "Release", "State", "Last event", "Last result")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return (
        f'<div class="wide"><table><caption class="hidden">Every board and what it runs</caption>'
        f"<thead><tr>{head}</tr></thead>{rows}</table></div>"
    )


def _board_rows(board: View, now: float) -> str:
    tasks = board["tasks"].items() or [("", None)]
    online = "online" if board["online"] else "offline"
    about = " · ".join(part for part in (online, board["arch"], f"agent {board['agent'] or '?'}") if part)
    name = (
        f'<th scope="rowgroup" rowspan="{len(tasks)}"><span class="dot {online}"></span>{_e(board["board"])}'
        f"<small>{_e(about)} · seen {_age(board['seen'], now)}</small></th>"
    )
    rows = []
    for task, evidence in tasks:
        cells = _task_cells(task, evidence, now) if evidence else '<td colspan="6" class="empty">no task</td>'
        rows.append(f"<tr>{name}{cells}</tr>")
        name = ""
    return f"<tbody>{''.join(rows)}</tbody>"


def _task_cells(name: str, task: View, now: float) -> str:
    cause = f"<small>{_e(task['cause'])}</small>" if task["cause"] else ""
    results = f"{task['results']} results, {task['errors']} errors"
    return (
        f"<td>{_e(name)}</td><td>{_e(task['version'])}</td><td>{_digest(task['release'])}</td>"
        f"<td>{_badge(task['state'])}{cause}</td>"
        f"<td>{_age(task['last_event'], now)}<small>{_e(task['events'])} events</small></td>"
        f"<td>{_age(task['last_result'], now)}<small>{_e(results)}</small></td>"
    )


def _rollouts(rollouts: Sequence[View], now: float) -> str:
    if not rollouts:
        return '<p class="empty">None yet: <code>walle release</code>, then <code>walle rollout</code>.</p>'
    return "".join(_rollout(rollout, now) for rollout in rollouts[:SHOWN_ROLLOUTS])


def _rollout(rollout: View, now: float) -> str:
    name = f"{'rollback to ' if rollout['rollback'] else ''}{rollout['task']} {rollout['version']}"
    when = f"{_digest(rollout['release'])} · started {_age(rollout['started'], now)}"
    head = f"{_e(name)} {_badge(rollout['phase'])}<small>{_e(rollout['id'])} · {when}</small>"
    why = f'<p class="why"><strong>Cause</strong> {_e(rollout["why"])}</p>' if rollout["why"] else ""
    progress = _steps(rollout) + _bar(rollout["boards"])
    return f'<article class="{_e(rollout["phase"])}"><h3>{head}</h3>{progress}{why}</article>'


def _steps(rollout: View) -> str:
    done = len(rollout["steps"]) if rollout["completed"] else rollout["step"]
    items = []
    for index, step in enumerate(rollout["steps"]):
        place = "done" if index < done else "now" if index == done else ""
        current = ' aria-current="step"' if place == "now" else ""
        items.append(f'<li class="{place}"{current}>{_e(step)}</li>')
    return f'<ol class="steps">{"".join(items)}</ol>'


def _bar(boards: View) -> str:
    total = sum(boards.values()) or 1
    x, parts = 0.0, []
    for colour, stages in SEGMENTS:
        width = 100 * sum(boards[stage] for stage in stages) / total
        parts.append(f'<rect class="{colour}" x="{x:.2f}" width="{width:.2f}" height="4"/>')
        x += width
    words = ", ".join(f"{count} {stage}" for stage, count in boards.items() if count) or "no boards yet"
    return (
        '<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(parts)}</svg><p>{_e(words)}</p>"
    )


def _events(events: Sequence[Event], now: float) -> str:
    if not events:
        return '<p class="empty">Nothing has happened yet.</p>'
    rows = "".join(
        f'<tr class="{"bad" if event.kind in BAD_EVENTS else ""}"><td>{_age(event.at, now)}</td>'
        f"<td>{_e(event.kind)}</td><td>{_e(event.subject)}</td><td>{_e(event.text)}</td></tr>"
        for event in reversed(events)
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("When", "What", "Where", "Detail"))
    return (
        '<div class="wide"><table class="events"><caption class="hidden">Newest first</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _section(title: str, content: str) -> str:
    return f'<section aria-labelledby="{title}"><h2 id="{title}">{title}</h2>{content}</section>'


def _badge(state: str) -> str:
    colour = "good" if state in GOOD_STATES else "bad" if state in BAD_STATES else "busy"
    return f'<span class="badge {colour}">{_e(state.replace("_", " "))}</span>'


def _digest(digest: str) -> str:
    return f'<code title="{_e(digest)}">{_e(digest[:8])}</code>' if digest else "<small>by hand</small>"


def _age(at: float | None, now: float) -> str:
    """How long ago; the script keeps it current."""
    if not at:
        return "<span>never</span>"
    try:
        iso = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError):
        return "<span>beyond the calendar</span>"
    return f'<time datetime="{iso}" data-at="{at:.3f}" title="{iso}">{ago(now - at)}</time>'


def ago(seconds: float) -> str:
    """A length of time as people say it: one number, one unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return f"{max(0, int(seconds))} s ago"


def _e(value: Any) -> str:
    return escape(str(value))


STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1c2330; --soft: #5b6577;
  --line: #e2e6ec; --good: #1a7f4b; --busy: #8a5d00; --bad: #bf2f28;
  --good2: #e0f3e8; --busy2: #fbefd2; --bad2: #fce6e4; --rest: #d5dae3; --mark: #2f5bd7 }
@media (prefers-color-scheme: dark) {
  :root { --page: #12151b; --card: #1a1f28; --ink: #e5e9f0; --soft: #97a2b4;
    --line: #2b3240; --good: #5cc98d; --busy: #e0b252; --bad: #ff8178;
    --good2: #173527; --busy2: #3a2e12; --bad2: #43201d; --rest: #3a4352; --mark: #8aa9ff } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1180px; padding: 20px 24px 48px; background: var(--page);
  color: var(--ink); font: 14px/1.45 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums }
header { display: flex; align-items: baseline; justify-content: space-between }
h1 { font-size: 20px; margin: 0 }
h2 { font-size: 12px; margin: 28px 0 8px; color: var(--soft); text-transform: uppercase;
  letter-spacing: .08em }
h3 { font-size: 15px; margin: 0; display: flex; gap: 8px; align-items: baseline }
h3 small { margin-left: auto }
p { margin: 6px 0 0 }
small { display: block; color: var(--soft); font-size: 12px; font-weight: 400 }
code { font: 12px/1 ui-monospace, "DejaVu Sans Mono", monospace; color: var(--soft) }
#live { color: var(--soft); margin: 0 }
#live::before, .dot { content: ""; display: inline-block; width: 9px; height: 9px; border-radius: 50%;
  margin-right: 8px; background: var(--rest) }
#live.on::before, .dot.online { background: var(--good) }
.summary { display: grid; gap: 12px; margin: 16px 0 0;
  grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)) }
.summary div, article, .wide { background: var(--card); border: 1px solid var(--line); border-radius: 10px }
.summary div { padding: 12px 16px; display: flex; flex-direction: column-reverse }
dd { margin: 0; font-size: 24px; font-weight: 600; line-height: 1.2 }
dt { color: var(--soft) }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: 8px 14px; border-top: 1px solid var(--line) }
thead th { border-top: 0; color: var(--soft); font-weight: 500; font-size: 12px; white-space: nowrap }
tbody th { font-weight: 600 }
tbody th, td:nth-last-child(-n+2) { white-space: nowrap }
.events td { padding: 5px 14px }
.events td:last-child { white-space: normal }
.events td:first-child { color: var(--soft) }
.events .bad td:nth-child(2) { color: var(--bad); font-weight: 600 }
.badge { border-radius: 99px; padding: 1px 9px; font-size: 12px; font-weight: 600; white-space: nowrap }
.badge.good { color: var(--good); background: var(--good2) }
.badge.busy { color: var(--busy); background: var(--busy2) }
.badge.bad { color: var(--bad); background: var(--bad2) }
article { padding: 12px 16px; margin-bottom: 8px }
article p { color: var(--soft); font-size: 12px }
article .why { color: var(--bad); font-size: 14px }
.steps { display: flex; flex-wrap: wrap; gap: 6px; list-style: none; margin: 10px 0; padding: 0 }
.steps li { border: 1px solid var(--line); border-radius: 6px; padding: 0 10px; color: var(--soft);
  font-size: 12px }
.steps .done { background: var(--good2); color: var(--good); border-color: transparent }
.steps .done::before { content: "✓ " }
.steps .now { border-color: currentcolor; color: var(--mark); font-weight: 600 }
.aborted .now { color: var(--bad) }
.bar { display: block; width: 100%; height: 6px; border-radius: 3px; background: var(--rest) }
rect.good { fill: var(--good) }
rect.busy { fill: var(--busy) }
rect.bad { fill: var(--bad) }
rect.back { fill: var(--mark) }
rect.rest { fill: var(--rest) }
.empty { color: var(--soft) }
.hidden { position: absolute; clip-path: inset(50%); height: 1px; width: 1px; overflow: hidden }
"""

SCRIPT = """
const main = document.querySelector('main'), live = document.querySelector('#live');
let busy = false, again = false;
function ago(s) {
  for (const [unit, length] of [['d', 86400], ['h', 3600], ['min', 60]])
    if (s >= length) return Math.floor(s / length) + ' ' + unit + ' ago';
  return Math.max(0, Math.floor(s)) + ' s ago';
}
function ages() {
  const now = Date.now() / 1000;
  for (const time of document.querySelectorAll('time')) time.textContent = ago(now - time.dataset.at);
}
async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = await fetch('/?part=main');
    if (answer.ok) { main.innerHTML = await answer.text(); ages(); }
  } catch { } finally { busy = false; }
  if (again) { again = false; refresh(); }
}
const source = new EventSource('/api/events');
source.addEventListener('change', refresh);
source.onopen = () => { live.textContent = 'live'; live.className = 'on'; };
source.onerror = () => { live.textContent = 'server away, trying again'; live.className = ''; };
setInterval(ages, 1000);
"""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; connect-src 'self'; img-src data:; script-src {_hash(SCRIPT)}; "
        f"style-src {_hash(STYLE)}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
