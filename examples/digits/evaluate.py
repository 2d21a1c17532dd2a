"""Pick the best network of a sweep, test it in shards, merge the shards into the accuracy table.

    evaluate.py best  FOLDER                    the name of the best network, on stdout
    evaluate.py shard FOLDER NAME RANK OF       tests every OF-th image, from image RANK on; writes FOLDER/shard-RANK.json
    evaluate.py merge FOLDER NAME OF            the table, on stdout and in FOLDER/accuracy.txt

Best is the highest validation accuracy; of equals the smaller network, then the first name.
"""

import json
import sys
from pathlib import Path

import numpy as np
from digits import load, predict


def sweep(folder: Path) -> list[tuple[str, dict]]:
    """Name and record of every network of the sweep, best first."""
    records = [(path.stem, json.loads(path.read_text())) for path in sorted(folder.glob("network-*.json"))]
    if not records:
        sys.exit(f"evaluate.py: no network-*.json in {folder}: did the sweep run?")
    return sorted(records, key=lambda item: (-item[1]["validation"], item[1]["width"], item[0]))


def shard(folder: Path, name: str, rank: int, of: int) -> None:
    images, digits = (part[rank::of] for part in load("test"))
    with np.load(folder / f"{name}.npz") as weights:
        right = predict(dict(weights), images) == digits
    counts = [[int(right[digits == digit].sum()), int((digits == digit).sum())] for digit in range(10)]
    (folder / f"shard-{rank}.json").write_text(json.dumps(counts) + "\n")
    print(f"task {rank} of {of}: {right.sum()} of {len(right)} right")


def merge(folder: Path, name: str, of: int) -> str:
    shards = [json.loads((folder / f"shard-{rank}.json").read_text()) for rank in range(of)]
    counts = np.array(shards).sum(axis=0)
    lines = ["network       width   rate   decay  validation  seconds"]
    for stem, record in sweep(folder):
        settings = f"{record['width']:>6} {record['rate']:>6} {record['decay']:>7}"
        mark = "  <- best" if stem == name else ""
        lines.append(f"{stem:<12} {settings} {record['validation']:>10.1%} {record['seconds']:>8.2f}{mark}")
    right, images = counts.sum(axis=0)
    lines += ["", "digit    " + "".join(f"{digit:>7}" for digit in range(10)) + "    all"]
    lines += ["images   " + "".join(f"{n:>7}" for n in counts[:, 1]) + f"{images:>7}"]
    lines += ["accuracy " + "".join(f"{a:>7.1%}" for a in counts[:, 0] / counts[:, 1]) + f"{right / images:>7.1%}"]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    match arguments:
        case ["best", folder]:
            print(sweep(Path(folder))[0][0])
        case ["shard", folder, name, rank, of]:
            shard(Path(folder), name, int(rank), int(of))
        case ["merge", folder, name, of]:
            table = merge(Path(folder), name, int(of))
            (Path(folder) / "accuracy.txt").write_text(table)
            print(table, end="")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
