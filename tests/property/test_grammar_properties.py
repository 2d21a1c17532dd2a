"""Every parser of the language: values survive the round trip, and no text does anything but parse or raise SpecError."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.spec import constraints, dependency, gres, hostlist, jobids, patterns, quantities, signals, states, times
from penstock.spec.errors import SpecError

NOW = 1_787_236_200
letters = string.ascii_letters[:8] + "now+atmorizedkfshupTGMBU" + string.digits + ":-/.,+_%[]*?@=() \t²٣"
texts = st.one_of(st.text(max_size=50), st.text(alphabet=letters, max_size=30), st.text(alphabet="0123456789:-+,[]", max_size=20))

PARSERS = {
    "memory": quantities.parse_memory,
    "count": quantities.parse_count,
    "nodes": quantities.parse_node_count,
    "int": lambda text: quantities.parse_int(text, "--ntasks"),
    "duration": times.parse_duration,
    "limit": times.parse_time_limit,
    "begin": lambda text: times.parse_time(text, NOW),
    "since": lambda text: times.parse_time(text, NOW, past=True),
    "gres": gres.parse_gres,
    "gpus": gres.parse_gpus,
    "node gres": gres.parse_node_gres,
    "tres": gres.parse_tres,
    "dependency": dependency.parse,
    "constraint": constraints.parse,
    "job id": jobids.parse_job_id,
    "job ids": jobids.parse_job_ids,
    "step": jobids.parse_step,
    "job state": states.parse_job_state,
    "node state": states.parse_node_state,
    "exit": states.parse_exit,
    "signal": signals.parse_signal,
    "signal option": signals.parse_signal_option,
    "counts": hostlist.expand_counts,
}


@pytest.mark.parametrize("name", PARSERS)
@given(text=texts)
@example(text="9" * 5000)
@example(text="\0")
@example(text="\ud800")
@example(text="now+" + "9" * 12 + "weeks")
def test_a_parser_raises_nothing_but_spec_errors(name, text):
    try:
        PARSERS[name](text)
    except SpecError as error:
        assert len(str(error)) < 1000


@given(st.integers(0, quantities.MAX_MEMORY_MIB))
def test_memory_round_trip(mib):
    text = quantities.format_memory(mib)
    if text[-1] != "P":
        assert quantities.parse_memory(text) == mib


@given(st.integers(0, times.MAX_LIMIT_S))
def test_duration_round_trip(seconds):
    assert times.parse_duration(times.format_duration(seconds)) == seconds
    limit = times.parse_time_limit(times.format_duration(seconds))
    assert (limit or 0) - seconds < 60
    assert not (limit or 0) % 60
    assert (limit or 0) >= seconds


@given(st.integers(86400, 4_000_000_000))
def test_time_round_trip(epoch):
    text = times.format_time(epoch)
    again = times.parse_time(text, NOW)
    assert times.format_time(again) == text
    assert again == epoch or abs(again - epoch) == 3600  # the hour that daylight saving repeats has two epochs


@given(st.integers(0, 10_000_000))
def test_clock_times_lie_within_a_day(offset):
    now = NOW + offset
    at = times.parse_time("07:30", now)
    assert now < at <= now + 25 * 3600


@given(
    st.dictionaries(st.sampled_from(["cpu", "mem", "node", "billing", "gres/gpu", "gres/gpu:a100", "license/x"]), st.integers(0, 1 << 30))
)
def test_tres_round_trip(counts):
    assert gres.parse_tres(gres.format_tres(counts)) == counts
    assert gres.parse_tres(gres.format_tres(counts, by_name=True)) == counts


names = st.sampled_from(["a100", "b", "rack-1", "x.y"])
flat = st.lists(st.tuples(st.sampled_from("&|,"), names), min_size=1, max_size=3).map(lambda parts: "".join(map("".join, parts))[1:])
operands = st.one_of(names, flat.map("({})".format))
formulas = st.lists(st.tuples(st.sampled_from("&|"), operands), min_size=1, max_size=4).map(lambda parts: "".join(map("".join, parts))[1:])
counted = st.tuples(operands, st.integers(1, 9)).map(lambda pair: f"{pair[0]}*{pair[1]}")
brackets = st.one_of(st.lists(operands, min_size=1, max_size=4).map("|".join), st.lists(counted, min_size=1, max_size=4).map("&".join))
requests = st.one_of(
    formulas, counted, brackets.map("[{}]".format), st.tuples(brackets, formulas).map(lambda pair: "[{}]&{}".format(*pair))
)


@given(requests)
def test_constraint_round_trip(text):
    parsed = constraints.parse(text)
    again = constraints.parse(str(parsed))
    assert (again, hash(again), str(again)) == (parsed, hash(parsed), str(parsed))
    assert set(parsed.names()) == {name for name in ("a100", "b", "rack-1", "x.y") if name in text}
    assert parsed.least_nodes == max(1, sum(count for _, count in again.counts))


@given(st.text(alphabet="%\\0123456789jtNxq.", max_size=20))
def test_patterns_always_fill(pattern):
    name = patterns.fill(pattern, {"j": "1", "t": "2", "N": "n", "x": "%j"})
    assert len(name) <= len(pattern) * (patterns.MAX_PAD + 2)
