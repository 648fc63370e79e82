"""Topic names and filters (section 4.7): validation, the subscription trie, and the map of retained topics.

`matches` is the definition of matching, short and slow; `Trie` and `TopicMap` are the fast twins that the
property tests hold against it. What a subscription means is left to `broker`: both hold opaque values.

    filter          matches                       does not match
    a/+/c           a/b/c  a//c                   a/b/b/c  a/c
    a/#             a  a/b  a/b/c                 b
    #  +/b          a/b                           $SYS/b  (no wildcard takes a first level with $)
    $share/g/a/+    as a/+, one member of group g per message
"""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from cloud_broker.mqtt.reasons import ProtocolError, Reason

MAX_LEVELS = 200  # of a topic or filter; bounds the depth that one packet can build
SHARE = "$share/"

V = TypeVar("V")


def check_topic(topic: str) -> None:
    """Raise ProtocolError(TOPIC_NAME_INVALID) unless `topic` is a topic name."""
    clause = None
    if not topic:
        clause = "[MQTT-4.7.3-1] topic name is empty"
    elif "+" in topic or "#" in topic:
        clause = "[MQTT-3.3.2-2] topic name holds a wildcard"
    elif topic.count("/") >= MAX_LEVELS:
        clause = f"topic name has more than {MAX_LEVELS} levels"
    if clause:
        raise ProtocolError(Reason.TOPIC_NAME_INVALID, f"{clause}: {topic[:80]!r}")


def check_filter(topic_filter: str) -> None:
    """Raise ProtocolError(TOPIC_FILTER_INVALID) unless `topic_filter`, shared or not, is a topic filter."""
    clause = _filter_fault(topic_filter)
    if clause:
        raise ProtocolError(Reason.TOPIC_FILTER_INVALID, f"{clause}: {topic_filter[:80]!r}")


def _filter_fault(topic_filter: str) -> str | None:
    group, plain = split_share(topic_filter)
    levels = plain.split("/")
    if group is not None and (not group or "+" in group or "#" in group):
        return "[MQTT-4.8.2-1] share name is empty or holds a wildcard"
    if not plain:
        return "[MQTT-4.7.3-1] topic filter is empty"
    if len(levels) > MAX_LEVELS:
        return f"topic filter has more than {MAX_LEVELS} levels"
    if any("#" in level for level in levels[:-1]) or ("#" in levels[-1] and levels[-1] != "#"):
        return "[MQTT-4.7.1-1] '#' must be the whole last level"
    if any("+" in level and level != "+" for level in levels):
        return "[MQTT-4.7.1-2] '+' must be a whole level"
    return None


def split_share(topic_filter: str) -> tuple[str | None, str]:
    """(group, filter) of `$share/group/filter`; the group is None for an ordinary filter."""
    if not topic_filter.startswith(SHARE):
        return None, topic_filter
    group, _, plain = topic_filter[len(SHARE) :].partition("/")
    return group, plain


def has_wildcard(topic_filter: str) -> bool:
    return "+" in topic_filter or "#" in topic_filter


def matches(topic_filter: str, topic: str) -> bool:
    """Does a valid, unshared filter match a topic name? This is the definition; see the table above."""
    wanted, found = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index == len(found) or level not in ("+", found[index]):
            return False
    return len(wanted) == len(found)


class _Node(Generic[V]):
    """One level of the trie. A dict appears with its first entry: most nodes have only one of the three."""

    __slots__ = ("children", "groups", "values")

    def __init__(self) -> None:
        self.children: dict[str, _Node[V]] | None = None
        self.values: dict[str, V] | None = None  # subscriber -> value
        self.groups: dict[str, dict[str, V]] | None = None  # group -> subscriber -> value, next one first

    def empty(self) -> bool:
        return not (self.children or self.values or self.groups)


class Trie(Generic[V]):
    """Subscriptions by filter, shared ones included; at most one value per (filter, subscriber)."""

    def __init__(self) -> None:
        self._root: _Node[V] = _Node()
        self.count = 0  # subscriptions held

    def put(self, topic_filter: str, subscriber: str, value: V) -> bool:
        """Add or replace; True when it was there before."""
        group, plain = split_share(topic_filter)
        node = self._root
        for level in plain.split("/"):
            if node.children is None:
                node.children = {}
            node = node.children.setdefault(level, _Node())
        holders = self._holders(node, group)
        existed = subscriber in holders
        holders[subscriber] = value
        self.count += not existed
        return existed

    @staticmethod
    def _holders(node: _Node[V], group: str | None) -> dict[str, V]:
        """The dict of subscribers at a node, made when it is not there."""
        if group is None:
            if node.values is None:
                node.values = {}
            return node.values
        if node.groups is None:
            node.groups = {}
        return node.groups.setdefault(group, {})

    def pop(self, topic_filter: str, subscriber: str) -> V | None:
        """Remove and return the value, None when there is none; nodes left empty go with it."""
        group, plain = split_share(topic_filter)
        levels = plain.split("/")
        path = [self._root]
        for level in levels:
            child = (path[-1].children or {}).get(level)
            if child is None:
                return None
            path.append(child)
        node = path[-1]
        holders = (node.values if group is None else (node.groups or {}).get(group)) or {}
        if subscriber not in holders:
            return None
        value = holders.pop(subscriber)
        if group is not None and not holders and node.groups is not None:
            del node.groups[group]
        self.count -= 1
        _prune(path, levels)
        return value

    def lookup(self, topic: str, ready: Callable[[V], bool]) -> tuple[list[V], list[V]]:
        """(values of ordinary subscriptions, one value per matching share group).

        A group hands out its members in turn, those that are `ready` first.
        """
        values: list[V] = []
        shared: list[V] = []
        for node in self._matching(topic):
            if node.values:
                values.extend(node.values.values())
            if node.groups:
                shared.extend(_next_member(members, ready) for members in node.groups.values())
        return values, shared

    def _matching(self, topic: str) -> Iterator[_Node[V]]:
        frontier = [self._root]
        wild = not topic.startswith("$")  # may a wildcard take this level?
        for level in topic.split("/"):
            following = []
            for node in frontier:
                children = node.children
                if children is None:
                    continue
                if wild and "#" in children:
                    yield children["#"]
                if wild and "+" in children:
                    following.append(children["+"])
                if level in children:
                    following.append(children[level])
            frontier, wild = following, True
        for node in frontier:
            yield node
            if node.children and "#" in node.children:  # "a/#" takes "a" too
                yield node.children["#"]

    def nodes(self) -> int:
        """Nodes below the root: 0 when nothing is subscribed."""
        stack, total = [self._root], -1
        while stack:
            total += 1
            stack.extend((stack.pop().children or {}).values())
        return total


def _prune(path: "list[_Node[V]]", levels: list[str]) -> None:
    for parent, level, node in zip(path[-2::-1], levels[::-1], path[:0:-1], strict=True):
        if not node.empty():
            return
        assert parent.children is not None
        del parent.children[level]


def _next_member(members: dict[str, V], ready: Callable[[V], bool]) -> V:
    """Rotate the group to its next ready member, or to its next member when none is ready."""
    for _ in range(len(members)):
        subscriber = next(iter(members))
        value = members[subscriber] = members.pop(subscriber)
        if ready(value):
            return value
    subscriber = next(iter(members))
    value = members[subscriber] = members.pop(subscriber)
    return value


class _Level(Generic[V]):
    __slots__ = ("children", "value")

    def __init__(self) -> None:
        self.children: dict[str, _Level[V]] = {}
        self.value: V | None = None


class TopicMap(Generic[V]):
    """Values by topic name, found by filter: the mirror image of `Trie`."""

    def __init__(self) -> None:
        self._root: _Level[V] = _Level()
        self._flat: dict[str, V] = {}

    def __len__(self) -> int:
        return len(self._flat)

    def put(self, topic: str, value: V) -> None:
        level = self._root
        for name in topic.split("/"):
            level = level.children.setdefault(name, _Level())
        level.value = self._flat[topic] = value

    def pop(self, topic: str) -> V | None:
        value = self._flat.pop(topic, None)
        if value is None:
            return None
        names = topic.split("/")
        path = [self._root]
        for name in names:
            path.append(path[-1].children[name])
        path[-1].value = None
        for parent, name, level in zip(path[-2::-1], names[::-1], path[:0:-1], strict=True):
            if level.children or level.value is not None:
                break
            del parent.children[name]
        return value

    def match(self, topic_filter: str) -> list[V]:
        """The values of all topics that an unshared filter matches."""
        if not has_wildcard(topic_filter):
            value = self._flat.get(topic_filter)
            return [] if value is None else [value]
        frontier = [self._root]
        for depth, name in enumerate(topic_filter.split("/")):
            if name == "#":
                return [value for level in frontier for value in _below(level, hide_dollar=depth == 0)]
            if name == "+":
                frontier = [child for level in frontier for child in _children(level, hide_dollar=depth == 0)]
            else:
                frontier = [level.children[name] for level in frontier if name in level.children]
        return [level.value for level in frontier if level.value is not None]


def _children(level: "_Level[V]", hide_dollar: bool) -> "list[_Level[V]]":
    return [child for name, child in level.children.items() if not (hide_dollar and name.startswith("$"))]


def _below(level: "_Level[V]", hide_dollar: bool) -> Iterator[V]:
    """The values at and below a level; `hide_dollar` leaves out the $ topics right below it."""
    stack = [level] if not hide_dollar else _children(level, hide_dollar=True)
    while stack:
        one = stack.pop()
        if one.value is not None:
            yield one.value
        stack.extend(one.children.values())
