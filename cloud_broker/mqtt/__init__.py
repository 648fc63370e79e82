"""The embedded MQTT broker: MQTT 5 and 3.1.1, one process, nothing to install.

In the order of a packet: `server` (sockets) -> `packets` (codec; `properties`, `reasons`) -> `broker` (what
it means; `topics` finds the subscribers, `session` keeps what is on its way) -> `records` (what must be
stored) -> `store` (SQLite) -> back through `server`. Everything between the two ends is sans I/O.
"""
