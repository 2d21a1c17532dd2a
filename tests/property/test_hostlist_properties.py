"""Hostlists: the short form keeps every name, and no text does anything but expand or be refused."""

import string

from hypothesis import given
from hypothesis import strategies as st

from penstock.spec import hostlist
from penstock.spec.errors import SpecError

numbers = st.one_of(st.integers(0, 30).map(str), st.integers(0, 30).map(lambda n: str(n).zfill(3)), st.integers(95, 105).map(str))
names = st.builds(
    lambda prefix, number, tail: prefix + number + tail,
    st.sampled_from(["n", "gpu-", "r1b", ""]),
    numbers,
    st.sampled_from(["", "", "", "-ib"]),
)


@given(st.lists(names, max_size=60))
def test_node_list_round_trip(hosts):
    short = hostlist.compress(hosts)
    assert hostlist.expand(short) == hostlist.sort(set(hosts))
    assert short == hostlist.compress_in_order(hostlist.sort(set(hosts)))


@given(st.lists(names, max_size=60))
def test_ordered_round_trip(hosts):
    assert hostlist.expand(hostlist.compress_in_order(hosts)) == hosts


@given(st.lists(st.integers(0, 5), min_size=1, max_size=50))
def test_counts_round_trip(counts):
    assert hostlist.expand_counts(hostlist.compress_counts(counts)) == counts


@given(st.one_of(st.text(max_size=60), st.text(alphabet="n[]-,0123456789 " + string.ascii_lowercase[:2], max_size=40)))
def test_any_text_expands_to_its_count_or_is_refused(text):
    try:
        size = hostlist.count(text)
    except SpecError:
        return
    assert size <= hostlist.MAX_HOSTS
    if size < 1000:
        assert len(hostlist.expand(text)) == size
