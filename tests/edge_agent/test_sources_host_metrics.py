import threading

from edge_agent.clock import ManualClock
from edge_agent.evidence import Ledger
from edge_agent.inbox import Inbox, Outlet
from edge_agent.sources.host_metrics import COLUMNS, HostMetricsSource, counts, sample


def test_rates_come_from_differences_of_counters() -> None:
    item = sample((1_000_000, 0, 10.0, 100.0), (5_000_000, 500_000, 12.5, 110.0), 2.0)
    assert tuple(item) == COLUMNS
    assert (item["disk_mb"], item["net_mb"], item["cpu"]) == (2.0, 0.25, 0.25)


def test_counters_that_wrap_or_stand_still_do_no_harm() -> None:
    item = sample((5, 5, 10.0, 100.0), (0, 0, 10.0, 100.0), 1.0)
    assert (item["disk_mb"], item["net_mb"], item["cpu"]) == (0.0, 0.0, 0.0)


def test_this_machine_is_within_its_own_bounds() -> None:
    before = counts()
    item = sample(before, counts(), 1.0)
    assert 0.0 <= item["cpu"] <= 1.0 and 0.0 < item["mem"] <= 1.0
    assert item["load1"] >= 0.0 and item["procs"] >= 1
    assert item["temp"] == 0.0 or -50.0 < item["temp"] < 150.0


def test_a_sample_every_so_often_until_stopped() -> None:
    ledger, clock, stop = Ledger(0.0), ManualClock(100.0), threading.Event()
    inbox = Inbox(ledger)
    outlet = Outlet("host", inbox, ledger, clock, None, 10, "drop-oldest")
    thread = threading.Thread(target=HostMetricsSource(0.5).run, args=(outlet, stop, clock))
    thread.start()
    times = []
    while len(times) < 3:
        clock.advance(0.25)
        times += [entry.row.time for entry in inbox.take(0.1)]
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    assert times == sorted(times) and times[0] >= 100.5
    assert ledger.evidence().errors == 0
