"""One page about one or several experiments: figures, queue and use over time, distributions, who ran where. It works without a network.

The page's frame, style and drawing code are `report.html` beside this file; what is put into it is JSON in one place. Bounded: series and
bars are as the recorder kept them, distributions are QUANTILES points each.
"""

from __future__ import annotations

import html
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penstock import __version__
from penstock.sim.experiment import Experiment
from penstock.sim.metrics import Spread, Summary

QUANTILES = 200
FRAME = Path(__file__).with_name("report.html")


def write_report(path: str, title: str, done: list[tuple[str, Experiment, Summary]]) -> None:
    """(policy, experiment that kept pictures, its summary) each; OSError where the file cannot be written."""
    data = {"runs": [_run(name, experiment, summary) for name, experiment, summary in done]}
    text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    page = FRAME.read_text(encoding="utf-8")
    for mark, value in (("@TITLE@", html.escape(title)), ("@FIGURES@", _figures(done)), ("@VERSION@", __version__), ("@DATA@", text)):
        page = page.replace(mark, value)
    Path(path).write_text(page, encoding="utf-8")


def _run(name: str, experiment: Experiment, summary: Summary) -> dict[str, object]:
    recorder, metrics = experiment.recorder, experiment.metrics
    if recorder is None:
        raise ValueError("the experiment kept no pictures")
    series, bars = recorder.series, recorder.bars
    jobs = metrics.jobs()
    return {
        "name": name,
        "device": summary.device,
        "devices": summary.devices,
        "begin": series.begin_s or 0,
        "width": series.width_s,
        "queue": [round(value, 2) for value in series.averages(0)],
        "used": [round(value, 2) for value in series.averages(1)],
        "wait": _quantiles(jobs.wait_s.astype(np.float64)),
        "jct": _quantiles(jobs.jct_s.astype(np.float64)),
        "slowdown": _quantiles(jobs.slowdown),
        "lanes": bars.lanes,
        "nodes": bars.first,
        "bars": [bar[1:] for bar in bars.trim()],
        "forgotten": bars.forgotten,
    }


def _quantiles(values: NDArray[np.float64]) -> list[float]:
    """Equally spaced quantiles from the least to the greatest value."""
    return [round(float(value), 2) for value in np.quantile(values, np.linspace(0, 1, QUANTILES))] if len(values) else []


def _figures(done: list[tuple[str, Experiment, Summary]]) -> str:
    """The rows of the table."""
    device = done[0][2].device

    def spread(value: Spread) -> list[str]:
        return [f"{seconds:,.0f}" for seconds in (value.mean, value.median, value.p95, value.p99)]

    columns = [
        *(f"wait {what} s" for what in ("mean", "median", "p95", "p99")),
        *(f"completion {what} s" for what in ("mean", "median", "p95", "p99")),
        *("bounded slowdown", "utilisation", f"{device}-hours idle while jobs wait", "fragmentation", "Jain's index", "preemptions"),
        f"{device}-hours done again",
        *("ended by limit", "makespan days", "jobs"),
    ]
    rows = []
    for name, _, summary in done:
        cells = [
            *spread(summary.wait_s),
            *spread(summary.jct_s),
            f"{summary.avebsld:.2f}",
            f"{summary.utilisation:.1%}",
            f"{summary.idle_while_pending_h:,.0f}",
            f"{summary.fragmentation:.1%}",
            f"{summary.jain:.3f}",
            str(summary.preemptions),
            f"{summary.redone_h:,.1f}",
            f"{summary.timeouts:,}",
            f"{summary.makespan_s / 86_400:.1f}",
            f"{summary.jobs:,}",
        ]
        rows.append((name, cells))
    head = "".join(f"<th scope=col>{html.escape(name)}</th>" for name, _ in rows)
    body = "".join(
        f"<tr><th scope=row>{html.escape(column)}</th>{''.join(f'<td>{cells[at]}</td>' for _, cells in rows)}</tr>"
        for at, column in enumerate(columns)
    )
    return f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody>"
