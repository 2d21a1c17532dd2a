"""The table: a line a row with both figures, their ratio, the bar and whether it is reached, and below it what was counted."""

from dataclasses import dataclass

from rows import Figure, Row

HEADER = ("", "unit", "Slurm", "Penstock", "ratio", "bar", "")


@dataclass(frozen=True)
class Outcome:
    """A figure, or why there is none."""

    row: Row
    system: str
    figure: Figure | None = None
    problem: str = ""

    def text(self) -> str:
        if self.figure is None:
            return self.problem.split(":", 1)[0]
        return f"{self.figure.value:,.{self.row.digits}f} {self.row.unit}"

    def explain(self) -> str:
        if self.figure is None:
            return self.problem
        return self.figure.evidence + "".join(f"; FAULT: {fault}" for fault in self.figure.faults)


def value(outcome: Outcome | None) -> str:
    if outcome is None:
        return "-"
    return f"{outcome.figure.value:,.{outcome.row.digits}f}" if outcome.figure else outcome.text()


def verdict(row: Row, slurm: Outcome | None, penstock: Outcome | None) -> str:
    """reached, missed, FAULT (the count does not agree), or nothing where there is no bar or no figure to compare with."""
    if not row.bar or penstock is None or penstock.figure is None:
        return ""
    if penstock.figure.faults:
        return "FAULT"
    theirs = slurm.figure.value if slurm and slurm.figure else None
    if theirs is None and "Slurm" in row.bar.split(",")[0]:
        return ""
    return "reached" if row.judge(penstock.figure.value, theirs) else "missed"


def print_table(rows: list[Row], outcomes: list[Outcome], notes: list[str]) -> None:
    by_key = {(outcome.row.key, outcome.system): outcome for outcome in outcomes}
    table, explained = [HEADER], []
    for row in rows:
        slurm, penstock = by_key.get((row.key, "Slurm")), by_key.get((row.key, "Penstock"))
        if slurm is None and penstock is None:
            continue
        ratio = ""
        if slurm and penstock and slurm.figure and penstock.figure and slurm.figure.value:
            ratio = f"{penstock.figure.value / slurm.figure.value:.2f}"
        table.append((row.title, row.unit, value(slurm), value(penstock), ratio, row.bar, verdict(row, slurm, penstock)))
        explained += [f"  {row.key:<14} {outcome.system:<9} {outcome.explain()}" for outcome in (slurm, penstock) if outcome]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEADER))]
    print()
    for line in table:
        cells = [
            cell.rjust(width) if 2 <= column <= 4 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    print("\n" + "\n".join(explained))
    print("\n" + "\n".join(notes))
