"""`penstock sim run`: replay a job log on a cluster that exists only in memory, under one or several policies, and say what came of it.

Exit status: 0 done, 1 a clear refusal (a log that cannot be read, a cluster that cannot run it), 2 bad usage, 130 interrupted, 141 nobody
reads the output any more (as shells count signals).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.core.policies import POLICIES
from penstock.sim.clusterspec import parse_cluster
from penstock.sim.workload.job import TraceError
from penstock.sim.workload.limits import MODELS
from penstock.sim.workload.reader import FORMATS, OPENB, format_of, open_trace
from penstock.spec.errors import SpecError
from penstock.spec.times import parse_duration

if TYPE_CHECKING:
    from penstock.sim.confidence import Interval
    from penstock.sim.experiment import Experiment
    from penstock.sim.metrics import Spread, Summary
    from penstock.sim.workload.reader import Trace

PROGRESS_EVERY_S = 0.25
BAR_WIDTH = 30
LOADS = 0.01, 100.0
"""The least and the greatest that `--load` takes."""


def main(argv: list[str]) -> int:
    try:
        status = _command(argv)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still buffered must not fail again as Python ends
        return 141
    except KeyboardInterrupt:
        sys.stderr.write("\r\x1b[K" if sys.stderr.isatty() else "")
        return 130


def _command(argv: list[str]) -> int:
    if argv[:1] == ["replay"]:
        from penstock.sim.replay import main as replay

        return replay(argv[1:])
    options = _parser().parse_args(argv)
    if options.verb == "policies":
        for policy in POLICIES.values():
            print(f"{policy.name:14} {policy.text}")
        print("\nplacements for a list of openb:\n")
        from penstock.sim.arrivals import PLACEMENTS

        for name, text in PLACEMENTS.items():
            print(f"{name:14} {text}")
        return 0
    try:
        if (options.format or format_of(options.trace)) == OPENB:
            from penstock.sim.arrivals import run

            return run(options, [f"--{name.split('_')[0]}" for name in TIMED if getattr(options, name)])
        return _run(options)
    except (TraceError, SpecError) as error:
        print(f"penstock sim: error: {error}", file=sys.stderr)
        return 1


TIMED = ("limits", "max_limit", "from_s", "until_s", "jobs", "report")
"""Options about logs in which jobs end."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="penstock sim", description="Experiments on job logs, with the planner of the live controller.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    run = verbs.add_parser("run", help="replay a job log under one or several policies")
    run.add_argument("--trace", required=True, metavar="FILE", help="the log, plain or .gz")
    run.add_argument(
        "--format", default="", metavar="NAME", help=f"one of {', '.join((*FORMATS, OPENB))} (default: known by its name or first line)"
    )
    run.add_argument(
        "--cluster", required=True, metavar="SPEC", help="for example '96*n[gpu:8]' or '1*sp2[cpu:100]'; openb: its list of nodes"
    )
    run.add_argument("--policy", default="", metavar="NAME[,NAME]", help="see `penstock sim policies` (default easy; openb: plain)")
    run.add_argument(
        "--limits", default="", choices=MODELS, metavar="MODEL", help=f"users' time limits, one of {', '.join(MODELS)} (default log)"
    )
    run.add_argument("--max-limit", default="", metavar="TIME", help="the partition's MaxTime, such as 2-00:00:00 (default: none)")
    run.add_argument("--seed", type=int, default=1, metavar="N", help="of the modal limits, of openb's arrivals (default 1)")
    run.add_argument(
        "--load",
        type=_load,
        default=0.0,
        metavar="F",
        help="times between submissions are divided by F; openb: arrivals ask for F times the GPUs",
    )
    run.add_argument("--from", dest="from_s", type=int, default=0, metavar="S", help="only jobs submitted from this second of the log on")
    run.add_argument("--until", dest="until_s", type=int, default=0, metavar="S", help="and up to this one")
    run.add_argument("--jobs", type=int, default=0, metavar="N", help="only the first N of them")
    run.add_argument("--json", action="store_true", help="all figures, one object a policy")
    run.add_argument("--report", default="", metavar="FILE", help="a page with pictures (one .html file that needs no network)")
    verbs.add_parser("replay", add_help=False, help="plan the snapshot of a live controller again: penstock sim replay FILE")
    verbs.add_parser("policies", help="names of the policies and what they do")
    return parser


def _load(text: str) -> float:
    least, most = LOADS
    try:
        load = float(text)
    except ValueError:
        load = 0.0
    if not least <= load <= most:
        raise argparse.ArgumentTypeError(f"{text}: {least:g} to {most:g} are allowed")
    return load


def _run(options: argparse.Namespace) -> int:
    from penstock.sim.confidence import Days, by_day
    from penstock.sim.experiment import Experiment
    from penstock.sim.workload.limits import limits_by

    limits, load = options.limits or "log", options.load or 1.0
    names = (options.policy or "easy").split(",")
    unknown = [name for name in names if name not in POLICIES]
    if unknown:
        raise TraceError(f"unknown policy {unknown[0]!r}: {', '.join(POLICIES)} are allowed")
    groups = parse_cluster(options.cluster)
    max_s = (parse_duration(options.max_limit, "--max-limit") or 0) if options.max_limit else 0
    figures: dict[str, dict[str, object]] = {}
    pictures: list[tuple[str, Experiment, Summary]] = []
    first: tuple[str, Days] | None = None
    for name in names:
        experiment = Experiment(groups, POLICIES[name], limits_by(limits, max_s, options.seed), bool(options.report))
        with open_trace(options.trace, options.format, options.from_s, options.until_s, options.jobs, load) as jobs:
            experiment.run(jobs, _progress(name, jobs))
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
        summary = experiment.metrics.summary()
        if not summary.jobs:
            raise TraceError(f"{options.trace}: no job in what was asked for")
        days = by_day(experiment.metrics)
        means, ratios = days.means(), days.against(first[1]) if first else {}
        figures[name] = summary.as_dict() | {
            "interval_95": {figure: [interval.low, interval.high] for figure, interval in means.items()},
            "against_first": {figure: [interval.value, interval.low, interval.high] for figure, interval in ratios.items()},
        }
        if not options.json:
            print(_text(name, limits, load, summary), _sureness(means, ratios, first[0] if first else ""), sep="", flush=True)
        first = first or (name, days)
        if options.report:
            pictures.append((name, experiment, summary))
    if options.json:
        asked = {name: getattr(options, name) for name in ("trace", "cluster", "max_limit", "seed", "from_s", "until_s", "jobs")}
        settings = asked | {"limits": limits, "load": load}
        print(json.dumps({"settings": settings, "policies": figures}, indent=2))
    if options.report:
        from penstock.sim.report import write_report

        title = f"{os.path.basename(options.trace)} on {options.cluster}, limits: {limits}{_times(load)}"
        try:
            write_report(options.report, title, pictures)
        except OSError as error:
            raise TraceError(f"{options.report}: {error.strerror}") from None
        print(f"{options.report}: open it in a browser", file=sys.stderr)
    return 0


def _progress(name: str, trace: Trace) -> Callable[[int, int], None] | None:
    """A bar on a terminal that is drawn again now and then; nothing elsewhere."""
    if not sys.stderr.isatty():
        return None
    begun_s = shown_s = time.monotonic()

    def show(submitted: int, ended: int) -> None:
        nonlocal shown_s
        now_s = time.monotonic()
        if now_s - shown_s < PROGRESS_EVERY_S:
            return
        shown_s = now_s
        total = max(1, trace.total())
        full = min(BAR_WIDTH, BAR_WIDTH * ended // total)
        rate = ended / (now_s - begun_s)
        bar = "#" * full + "." * (BAR_WIDTH - full)
        sys.stderr.write(f"\r{name:14} [{bar}] {ended} of about {total} jobs, {submitted - ended} in the system, {rate:.0f} jobs/s \x1b[K")
        sys.stderr.flush()

    return show


def _times(load: float) -> str:
    return "" if load == 1.0 else f", load times {load:g}"


def _text(name: str, limits: str, load: float, summary: Summary) -> str:
    """For a person, some lines a policy."""

    def times(spread: Spread) -> str:
        figures = ("mean", spread.mean), ("median", spread.median), ("p95", spread.p95), ("p99", spread.p99), ("max", spread.most)
        return ", ".join(f"{what} {value:,.0f}" for what, value in figures)

    device = summary.device
    return "\n".join(
        (
            f"{name}, limits {limits}{_times(load)}: {summary.jobs} jobs on {summary.devices} {device}s, {summary.passes} passes",
            f"  wait s            {times(summary.wait_s)}",
            f"  completion s      {times(summary.jct_s)}",
            f"  bounded slowdown  {summary.avebsld:.2f} (mean, tau 10 s); Jain's index over {summary.users} users {summary.jain:.3f}",
            f"  utilisation       {summary.utilisation:.1%} of {summary.makespan_s / 86_400:.1f} days; {device}-hours idle while jobs wait "
            f"{summary.idle_while_pending_h:,.0f}; fragmentation {summary.fragmentation:.1%}",
            f"  queue             mean {summary.queue_mean:.1f}, most {summary.queue_most}; ended by their limit {summary.timeouts}, "
            f"preempted {summary.preemptions}" + (f", {summary.redone_h:,.1f} {device}-hours done again" if summary.preemptions else ""),
        )
    )


def _sureness(means: dict[str, Interval], ratios: dict[str, Interval], first: str) -> str:
    """One or two lines more, or "" where the log is too short."""
    words = {"wait_s": "wait", "jct_s": "completion", "avebsld": "slowdown"}
    lines = []
    if means:
        told = (
            f"{words[name]} {of.low:,.{2 * (name == 'avebsld')}f} to {of.high:,.{2 * (name == 'avebsld')}f}" for name, of in means.items()
        )
        lines.append(f"  95 % of means     {', '.join(told)} (blocks of days drawn again)")
    if ratios:
        told = (f"{words[name]} {of.value:.3f} ({of.low:.3f} to {of.high:.3f})" for name, of in ratios.items())
        lines.append(f"  times {first:11} {', '.join(told)}")
    return "".join(f"\n{line}" for line in lines)
