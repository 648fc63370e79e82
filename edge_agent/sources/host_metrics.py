"""This machine's own telemetry, sampled every so often.

| column  | meaning                                                        |
|---------|----------------------------------------------------------------|
| cpu     | busy fraction of all cores since the sample before, 0..1       |
| mem     | used fraction of memory, 0..1                                  |
| disk_mb | megabytes per second read and written, all disks               |
| net_mb  | megabytes per second received and sent, loopback included      |
| load1   | one-minute load average / number of cores                      |
| temp    | hottest sensor in degrees Celsius, 0 where there is none       |
| procs   | number of processes                                            |
"""

from __future__ import annotations

import threading

import psutil

from edge_agent.clock import Clock
from edge_agent.inbox import Outlet
from edge_agent.sources.base import SourceBase
from edge_agent.spec.model import Item

COLUMNS = ("cpu", "mem", "disk_mb", "net_mb", "load1", "temp", "procs")
Counts = tuple[int, int, float, float]
"""Bytes of disk, bytes of network, busy and total processor seconds since the machine started."""


class HostMetricsSource(SourceBase):
    def __init__(self, every: float) -> None:
        self._every = every

    def run(self, outlet: Outlet, stop: threading.Event, clock: Clock) -> None:
        before, then = counts(), clock.now()
        while not clock.wait(stop, self._every):
            after, now = counts(), clock.now()
            outlet.item(sample(before, after, max(now - then, 1e-3)))
            before, then = after, now


def counts() -> Counts:
    disk, net, cpu = psutil.disk_io_counters(), psutil.net_io_counters(), psutil.cpu_times()
    idle = cpu.idle + getattr(cpu, "iowait", 0.0)
    total = (
        sum(cpu) - getattr(cpu, "guest", 0.0) - getattr(cpu, "guest_nice", 0.0)
    )  # guests are in user and nice
    return (
        disk.read_bytes + disk.write_bytes if disk else 0,
        net.bytes_recv + net.bytes_sent if net else 0,
        total - idle,
        total,
    )


def sample(before: Counts, after: Counts, seconds: float) -> Item:
    disk, net, busy, total = (new - old for new, old in zip(after, before, strict=True))
    return {
        "cpu": min(1.0, max(0.0, busy / total)) if total > 0 else 0.0,
        "mem": psutil.virtual_memory().percent / 100,
        "disk_mb": max(0.0, disk / seconds / 1e6),
        "net_mb": max(0.0, net / seconds / 1e6),
        "load1": psutil.getloadavg()[0] / (psutil.cpu_count() or 1),
        "temp": _hottest(),
        "procs": len(psutil.pids()),
    }


def _hottest() -> float:
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    return max((float(sensor.current) for group in sensors.values() for sensor in group), default=0.0)
