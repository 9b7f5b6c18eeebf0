"""Which transfer is cut for being slow: pure, with hypothesis over whole hosts."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.policy import peers as module
from fluxbatch.policy.peers import PeerRule, Peers, Slow, Transfer

HOST = "delivery.example"
WHOLE = 1_000_000
LONG = 600.0
"""seconds that a URL lives"""


def slow_one(peers: Peers, *, url: str = "slow", whole: int | None = WHOLE, resumable: bool = True) -> Transfer:
    return peers.begin(url, HOST, begun=0.0, size=0, whole=whole, resumable=resumable)


def quick_others(peers: Peers, count: int = 3, *, until: float = 8.0, rate: float = 1e6, host: str = HOST) -> None:
    """They end one after another, beside the slow one."""
    for number in range(count):
        ended = until - number * 0.2
        begun, size = ended - 0.1, int(rate / 10)
        one = peers.begin(f"quick-{host}-{number}-{until}", host, begun=begun, size=0, whole=size)
        assert peers.grew(one, size, ended, left_s=LONG) is None
        peers.end(one, ended)


def trickle(
    peers: Peers, one: Transfer, *, rate: float = 1000.0, start: float = 0.0, until: float = 30.0, left_s: float = LONG
) -> tuple[float, Slow] | None:
    """A piece each half second. When it is cut, and why."""
    at = start
    while at < until:
        at += 0.5
        slow = peers.grew(one, one.first + int(rate * (at - start)), at, left_s=left_s)
        if slow is not None:
            return at, slow
    return None


def test_a_slow_one_among_quick_ones_is_cut() -> None:
    peers = Peers()
    one = slow_one(peers)
    quick_others(peers)
    cut = trickle(peers, one)
    assert cut is not None
    at, slow = cut
    assert at == pytest.approx(10.0, abs=0.6)
    assert slow.own == pytest.approx(1000.0)
    assert slow.others == pytest.approx(1e6)


def test_others_that_are_still_under_way_count_too() -> None:
    for rate, cut in ((1e6, True), (5_000.0, False)):
        peers = Peers()
        one = slow_one(peers)
        others = [peers.begin(f"large-{n}", HOST, begun=-20.0, size=0, whole=10**9) for n in range(3)]
        slow = None
        for second in range(1, 15):
            for other in others:
                peers.grew(other, 10**7 + int(rate * second), float(second), left_s=LONG)
            slow = slow or peers.grew(one, 1000 * second, float(second), left_s=LONG)
        assert (slow is not None) is cut
        if slow is not None:
            assert slow.others == pytest.approx(rate), "what they had before the slow one began doesn't count"


@pytest.mark.parametrize(
    ("what", "count", "rate"),
    [
        ("too few others", 2, 1e6),
        ("others hardly quicker", 3, 9_000.0),
    ],
)
def test_what_the_others_must_be(what: str, count: int, rate: float) -> None:
    peers = Peers()
    one = slow_one(peers)
    quick_others(peers, count, rate=rate)
    assert trickle(peers, one, until=12.0) is None, what


def test_another_host_says_nothing() -> None:
    peers = Peers()
    one = slow_one(peers)
    quick_others(peers, 20, host="elsewhere.example")
    assert trickle(peers, one) is None


def test_what_can_not_be_resumed_is_not_cut() -> None:
    for whole, resumable in ((None, True), (WHOLE, False)):
        peers = Peers()
        one = slow_one(peers, whole=whole, resumable=resumable)
        quick_others(peers)
        assert trickle(peers, one) is None


def test_a_url_that_dies_soon_is_held_on_to() -> None:
    """The transfer outlives its URL, the next try may not."""
    peers = Peers()
    one = slow_one(peers)
    quick_others(peers)
    assert trickle(peers, one, left_s=59.0) is None
    assert trickle(peers, one, left_s=-5.0) is None


def test_what_is_nearly_there_is_waited_for() -> None:
    peers = Peers()
    one = peers.begin("slow", HOST, begun=0.0, size=WHOLE - 10_500, whole=WHOLE, resumable=True)
    quick_others(peers, rate=100_000.0)
    assert trickle(peers, one, until=10.0) is None, "500 bytes at 1000 B/s against 1 000 000 at 100 000 B/s"


def test_one_that_was_quick_a_moment_ago_is_not_slow() -> None:
    peers = Peers()
    one = slow_one(peers, whole=100 * WHOLE)
    assert peers.grew(one, 5 * WHOLE, 5.0, left_s=LONG) is None
    quick_others(peers, 20, until=14.0)
    cuts = [at for at in range(6, 20) if peers.grew(one, 5 * WHOLE + at, float(at), left_s=LONG) is not None]
    assert cuts[0] >= 15, "it has been slow for ten seconds only then"


def test_two_cuts_are_enough_for_one_url() -> None:
    peers = Peers()
    start, cuts = 0.0, 0
    for _ in range(5):
        one = peers.begin("slow", HOST, begun=start, size=0, whole=WHOLE, resumable=True)
        quick_others(peers, until=start + 8.0)
        cuts += trickle(peers, one, start=start, until=start + 20.0) is not None
        peers.end(one, start + 20.0)
        start += 30.0
    assert cuts == 2
    other = peers.begin("another", HOST, begun=start, size=0, whole=WHOLE, resumable=True)
    quick_others(peers, until=start + 8.0)
    assert trickle(peers, other, start=start, until=start + 20.0) is not None


def test_its_own_earlier_tries_are_no_others() -> None:
    peers = Peers()
    for begun in (0.0, 1.0, 2.0):
        earlier = peers.begin("slow", HOST, begun=begun, size=0, whole=WHOLE, resumable=True)
        peers.grew(earlier, WHOLE // 2, begun + 0.5, left_s=LONG)
        peers.end(earlier, begun + 0.5)
    assert trickle(peers, slow_one(peers)) is None


def test_a_host_gone_slow_for_all_is_left_in_peace() -> None:
    """Dozens came quickly until now; from now on all sixteen crawl."""
    peers = Peers()
    for second in range(60):
        quick_others(peers, 3, until=float(second))
    crawling = [
        peers.begin(f"crawl-{n}", HOST, begun=59.0 + n / 16, size=0, whole=WHOLE, resumable=True) for n in range(16)
    ]
    for half in range(1, 200):
        at = 60.0 + half / 2
        for one in crawling:
            assert peers.grew(one, 500 * half, at, left_s=LONG) is None


def test_memory_is_bounded() -> None:
    peers = Peers(PeerRule(window_s=1.0))
    for number in range(3 * module._MOST_CUT):
        at = number * 10.0
        host = f"{number % 500}.example"
        quick_others(peers, 3, until=at + 0.9, host=host)
        one = peers.begin(f"url-{number}", host, begun=at, size=0, whole=WHOLE, resumable=True)
        assert trickle(peers, one, rate=10.0, start=at, until=at + 3.0) is not None
        peers.end(one, at + 3.0)
    assert len(peers._hosts) <= module._MOST_HOSTS + 1
    assert len(peers._cuts) <= module._MOST_CUT
    assert max(len(host.ended) for host in peers._hosts.values()) <= module._MOST_ENDED
    assert not any(host.under_way for host in peers._hosts.values())


@given(
    seed=st.integers(0, 2**32),
    slots=st.integers(1, 24),
    weather=st.lists(st.sampled_from([1e7, 1e6, 1e4, 100.0, 0.0]), min_size=2, max_size=12),
    spell_s=st.integers(3, 40),
)
def test_a_line_that_is_shared_fairly_sees_no_cuts(seed: int, slots: int, weather: list[float], spell_s: int) -> None:
    """Whatever the line does, and however the images differ: as long as it does it to all, nobody is cut."""
    rng, peers, step_s = Random(seed), Peers(), 0.5
    going: list[Transfer] = []
    now, count = 0.0, 0
    for rate in weather:
        for _ in range(int(spell_s / step_s)):
            while len(going) < slots:
                count += 1
                whole = rng.choice([1000, 200_000, 3_000_000])
                going.append(peers.begin(f"{count}", HOST, begun=now, size=0, whole=whole, resumable=True))
            now += step_s
            for one in list(going):
                share = rate / len(going) * step_s * rng.uniform(0.5, 1.5)
                size = min(one.whole or 0, one.size + int(share))
                assert peers.grew(one, size, now, left_s=LONG) is None
                if size == one.whole:
                    peers.end(one, now)
                    going.remove(one)


@given(
    own=st.floats(1.0, 1e6),
    others=st.lists(st.floats(1.0, 1e8), max_size=12),
    whole=st.integers(1, 10**9),
    resumable=st.booleans(),
    left_s=st.floats(-100.0, 1000.0),
)
def test_what_every_cut_has_in_common(
    own: float, others: list[float], whole: int, resumable: bool, left_s: float
) -> None:
    peers = Peers()
    one = peers.begin("slow", HOST, begun=0.0, size=0, whole=whole, resumable=resumable)
    for number, rate in enumerate(others):
        other = peers.begin(f"{number}", HOST, begun=4.0, size=0, whole=int(rate))
        peers.grew(other, int(rate), 5.0, left_s=LONG)
        peers.end(other, 5.0)
    cut = trickle(peers, one, rate=own, until=10.0, left_s=left_s)
    if cut is None:
        return
    slow = cut[1]
    assert resumable
    assert left_s >= 60.0
    assert len(others) >= 3
    assert slow.own < slow.others / 10
    assert sum(int(rate) >= slow.others for rate in others) >= len(others) / 2
    assert (whole - one.size) / max(slow.own, 1e-9) > whole / slow.others
