"""sinfo: shows partitions and nodes.

Guarantees: default columns and headers are Slurm's (slurm.md C.1); an unknown state, field or sort letter is an error. Command line beats
SINFO_* variables; the shaping options (-l -s -N -R) beat a format from the environment.
"""

from __future__ import annotations

from penstock.cli.table import (
    Failed,
    check_json,
    date_line,
    fetch_rows,
    iterate,
    print_raw,
    read_options,
    run,
    words_of,
    write,
)
from penstock.spec import fields_sinfo as known
from penstock.spec.options import FROM_ENVIRONMENT
from penstock.spec.options_view import SINFO
from penstock.spec.outputfmt import header_line, parse_letters, parse_long, template
from penstock.wire import lite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.spec.options import Options
    from penstock.spec.outputfmt import Column

PROGRAM = "sinfo"
LOAD = "slurm_load_partitions"
NODE_WIDTH_MIN = 9
"""Least width of NODELIST in a table per node (-N), which is as wide as its longest name."""


def main(arguments: Sequence[str] | None = None) -> int:
    return run(PROGRAM, _run, arguments, LOAD)


def _run(arguments: Sequence[str]) -> int:
    read = read_options(PROGRAM, SINFO, arguments)
    if read is None:
        return 0
    given, words = read
    if words:
        raise Failed(f"{PROGRAM}: error: Unrecognized option: {words[0]}", f'Try "{PROGRAM} --help" for more information')
    request = _request(given)
    if "json" in given:
        check_json(PROGRAM, given.values["json"])
        print_raw({**request, "op": "json_nodes"})
        return 0
    prefix, columns, natural = _columns(given)

    def show() -> int:
        if "long" in given and "iterate" not in given:
            date_line()
        try:
            values = fetch_rows(request, columns)
        except lite.Refused as error:
            if error.number == 2018:
                raise Failed(f"{PROGRAM}: error: {error.text}") from None
            raise
        if natural and "node_centric" in given:
            columns[0].width = max([NODE_WIDTH_MIN, *map(len, values[0] if values else ())])
        if "noheader" not in given:
            write(header_line(columns, prefix))
        if values:
            write("".join(map(template(columns, prefix).__mod__, zip(*values, strict=True))))
        return 0

    return iterate(PROGRAM, given.values.get("iterate"), show)


def _request(given: Options) -> dict[str, object]:
    """The filters, as `penstock.controller.views.sinfo.InfoRequest` reads them."""
    text = given.text("states")
    negated = text.startswith("~")
    text = text.lstrip("~")
    joined = "&" in text or "+" in text
    states = words_of(text.replace("&", ",").replace("+", ",") if joined else text)
    _check_states(states)
    return {
        "op": "sinfo",
        "partitions": words_of(given.values.get("partition")),
        "nodes": given.text("nodes"),
        "states": states,
        "not_states": negated,
        "all_states": joined,
        "node_centric": "node_centric" in given,
        "reasons": "list_reasons" in given,
        "exact": "exact" in given,
        "dead": "dead" in given,
        "responding": "responding" in given,
        "sort": given.text("sort") or _default_sort(given),
    }


def _default_sort(given: Options) -> str:
    if "list_reasons" in given:
        return known.SORT_REASONS
    return known.SORT_NODES if "node_centric" in given else known.SORT_DEFAULT


def _check_states(words: Sequence[str]) -> None:
    if not words:
        return
    from penstock.spec.errors import SpecError
    from penstock.spec.states import NODE_BASES, NODE_FLAGS, parse_node_state

    for word in words:
        if word.lower() == "all":
            continue
        try:
            parse_node_state(word)
        except SpecError:
            names = ",".join([name.lower() for name, _ in NODE_BASES] + [name.lower() for _, name in NODE_FLAGS])
            raise Failed(
                f'{PROGRAM}: error: Bad state string: "{word[:64]}"', f"{PROGRAM}: error: valid states: {names},drained,draining"
            ) from None


def _columns(given: Options) -> tuple[str, list[Column], bool]:
    """Text before the first column, the columns, and whether this is one of the default formats."""
    short, long = given.values.get("format"), given.values.get("format_long")
    shaped = "long" in given or "summarize" in given or "node_centric" in given or "list_reasons" in given
    if short is not None and given.sources["format"] == FROM_ENVIRONMENT and (shaped or long is not None):
        short = None
    if short is not None and long is not None:
        raise Failed(f"{PROGRAM}: fatal: -o and -O are incompatible")
    if long is not None:
        return "", parse_long(long, known.NAMES, known.FIELDS), False
    natural = short is None
    if short is None:
        detailed = "long" in given
        if "summarize" in given:
            short = known.SUMMARY
        elif "list_reasons" in given:
            short = known.REASONS_LONG if detailed else known.REASONS
        elif "node_centric" in given:
            short = known.NODES_LONG if detailed else known.NODES
        else:
            short = known.LONG if detailed else known.DEFAULT
    return *parse_letters(short, known.LETTERS, known.FIELDS), natural
