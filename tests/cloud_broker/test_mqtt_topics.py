"""cloud_broker/mqtt/topics.py: tables of the rules, and the trie and the map against `matches`."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_broker.mqtt.reasons import ProtocolError, Reason
from cloud_broker.mqtt.topics import (
    MAX_LEVELS,
    TopicMap,
    Trie,
    check_filter,
    check_topic,
    matches,
    split_share,
)

MATCHES = [  # (filter, topics it matches, topics it does not): the examples of section 4.7 among them
    ("a/b", "a/b", "a a/b/ a/b/c /a/b A/b"),
    (
        "sport/tennis/player1/#",
        "sport/tennis/player1 sport/tennis/player1/ranking sport/tennis/player1/a/b",
        "sport",
    ),
    ("sport/#", "sport sport/", "sports"),
    ("#", "a a/b / /a", "$SYS $SYS/a"),
    ("sport/tennis/+", "sport/tennis/player1 sport/tennis/", "sport/tennis sport/tennis/player1/ranking"),
    ("sport/+", "sport/", "sport"),
    ("+/+", "/finance a/b", "a a/b/c $SYS/b"),
    ("/+", "/finance", "finance"),
    ("+", "finance", "/finance $x"),
    ("+/monitor/#", "a/monitor", "$SYS/monitor/Clients"),
    ("$SYS/#", "$SYS $SYS/a/b", "SYS/a"),
    ("$SYS/+/c", "$SYS/$a/c", "$SYS/c"),
    ("a/#", "a/$b", "$a"),
]


@pytest.mark.parametrize(("topic_filter", "good", "bad"), MATCHES)
def test_matches(topic_filter: str, good: str, bad: str) -> None:
    assert {topic: matches(topic_filter, topic) for topic in (good + " " + bad).split()} == {
        **dict.fromkeys(good.split(), True),
        **dict.fromkeys(bad.split(), False),
    }


@pytest.mark.parametrize("topic", ["a", "/", "a//b", " ", "$SYS/x", "é/ü", "/".join("a" * MAX_LEVELS)])
def test_topics_that_are_fine(topic: str) -> None:
    check_topic(topic)
    check_filter(topic)


@pytest.mark.parametrize("topic", ["", "a/+", "#", "a+b", "/" * MAX_LEVELS])
def test_topics_that_are_refused(topic: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        check_topic(topic)
    assert caught.value.reason is Reason.TOPIC_NAME_INVALID


@pytest.mark.parametrize(
    "topic_filter",
    [
        "",
        "a/#/b",
        "a#",
        "#a",
        "a+/b",
        "+a",
        "$share/g",
        "$share//a",
        "$share/g/",
        "$share/g+/a",
        "$share/#/a",
        "/" * 999,
    ],
)
def test_filters_that_are_refused(topic_filter: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        check_filter(topic_filter)
    assert caught.value.reason is Reason.TOPIC_FILTER_INVALID


@pytest.mark.parametrize(
    ("topic_filter", "expected"),
    [
        ("a/b", (None, "a/b")),
        ("$share/g/a/+", ("g", "a/+")),
        ("$share/g//", ("g", "/")),
        ("$shared/g", (None, "$shared/g")),
    ],
)
def test_split_share(topic_filter: str, expected: tuple[str | None, str]) -> None:
    check_filter(topic_filter)
    assert split_share(topic_filter) == expected


levels = st.sampled_from(["a", "b", "", "$x"])
topics = st.lists(levels, min_size=1, max_size=4).map("/".join).filter(bool)
filters = st.one_of(
    topics,
    st.tuples(
        st.lists(st.sampled_from(["a", "b", "", "$x", "+"]), max_size=3), st.sampled_from(["#", "+", "a"])
    ).map(lambda parts: "/".join([*parts[0], parts[1]])),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(filters, st.sampled_from("xyz")), max_size=12), st.lists(topics, max_size=6))
def test_trie_is_matches(pairs: list[tuple[str, str]], names: list[str]) -> None:
    trie: Trie[tuple[str, str]] = Trie()
    held = set(pairs)
    for topic_filter, subscriber in pairs:
        trie.put(topic_filter, subscriber, (topic_filter, subscriber))
    assert trie.count == len(held)
    for topic in names:
        found, shared = trie.lookup(topic, lambda _value: True)
        assert sorted(found) == sorted(pair for pair in held if matches(pair[0], topic))
        assert shared == []
    for pair in held:
        assert trie.pop(*pair) == pair
        assert trie.pop(*pair) is None
    assert (trie.count, trie.nodes()) == (0, 0)


@settings(max_examples=200, deadline=None)
@given(st.lists(topics, max_size=12), st.lists(filters, max_size=6), st.lists(topics, max_size=6))
def test_topic_map_is_matches(kept: list[str], wanted: list[str], gone: list[str]) -> None:
    found: TopicMap[str] = TopicMap()
    for topic in kept:
        found.put(topic, topic)
    for topic in gone:
        assert found.pop(topic) == (topic if topic in kept else None)
        kept = [name for name in kept if name != topic]
    assert len(found) == len(set(kept))
    for topic_filter in wanted:
        assert sorted(found.match(topic_filter)) == sorted(t for t in set(kept) if matches(topic_filter, t))


def test_a_group_hands_out_its_members_in_turn_ready_ones_first() -> None:
    trie: Trie[str] = Trie()
    for name in "abc":
        assert not trie.put("$share/g/t/+", name, name)
    trie.put("$share/h/t/x", "d", "d")
    assert trie.put("$share/g/t/+", "a", "a")

    def turns(ready: str) -> list[str]:
        return [trie.lookup("t/x", lambda v: v in ready)[1][0] for _ in range(6)]

    assert sorted(trie.lookup("t/x", lambda _v: True)[1])[-1] == "d"
    assert sorted(turns("abc")) == ["a", "a", "b", "b", "c", "c"]
    assert sorted(turns("ac")) == ["a", "a", "a", "c", "c", "c"]
    assert sorted(turns("")) == ["a", "a", "b", "b", "c", "c"]
    for name in "abc":
        assert trie.pop("$share/g/t/+", name) == name
    assert trie.pop("$share/h/t/x", "d") == "d"
    assert trie.nodes() == 0
