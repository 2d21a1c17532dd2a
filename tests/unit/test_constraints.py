"""Feature expressions: what each form means and what is refused."""

import pytest

from penstock.spec.constraints import MAX_NAMES, parse
from penstock.spec.errors import SpecError

NODES = {"n0": "red big", "n1": "red", "n2": "blue big", "n3": "blue"}


def nodes_of(text: str) -> str:
    """The nodes that meet what is asked of every node."""
    carriers = {name for words in NODES.values() for name in words.split()}
    assert set(parse(text).names()) <= carriers
    met = parse(text).every.evaluate(lambda name: {node for node, words in NODES.items() if name in words.split()})
    return " ".join(sorted(met))


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("red", "n0 n1"),
        ("red&big", "n0"),
        ("red,big", "n0"),
        ("red|blue", "n0 n1 n2 n3"),
        ("red|blue&big", "n0 n2"),
        ("red&big|blue", "n0 n2 n3"),
        ("(red|blue)&big", "n0 n2"),
        ("blue|(red&big)", "n0 n2 n3"),
        ("(red)", "n0 n1"),
    ],
)
def test_a_formula_is_read_from_left_to_right(text, nodes):
    assert nodes_of(text) == nodes


def test_brackets_and_counts():
    assert [str(choice) for choice in parse("[red|(blue&big)|big]").choices] == ["red", "blue&big", "big"]
    assert (str(parse("big&[red|blue]").every), len(parse("[red|blue]&big").choices)) == ("big", 2)
    counted = parse("[red*2&(blue|big)*4]")
    assert [(str(formula), count) for formula, count in counted.counts] == [("red", 2), ("blue|big", 4)]
    assert (counted.bracketed, counted.least_nodes) == (True, 6)
    assert (parse("red*2").bracketed, parse("red*2").least_nodes, parse("red").least_nodes) == (False, 2, 1)
    assert len(parse("[red]").choices) == 1


@pytest.mark.parametrize(
    "text",
    [
        *("", "&red", "red&", "red&&big", "red|", "[red", "red]", "(red", "red)", "()", "[]", "((red)&big)", "a b", "!red", "red&!big"),
        *("red*", "red*0", "red*x", "red*1000001", "*2", "[red|blue]*2", "[red&big]", "[red*2|blue*2]", "[red*2&blue]", "[red|blue]|big"),
        *("red*2&big", "red*1&blue*1", "red*2|blue", "[red|blue]&[big|red]", "red()", "[red|blue&big]", "red&[red|blue]|big", "x" * 5000),
        "&".join(f"f{n}" for n in range(MAX_NAMES + 1)),
    ],
)
def test_what_is_refused(text):
    with pytest.raises(SpecError):
        parse(text)
