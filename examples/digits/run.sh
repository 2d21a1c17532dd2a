#!/bin/bash
# Trains a small network on handwritten digits with 12 settings at once, then tests the best one. On any Slurm cluster; needs numpy.
#
#   ./run.sh                            waits for the end and prints the accuracy table
#   PYTHON=/path/to/python3 ./run.sh    with another Python than the first one on PATH
set -euo pipefail
cd "$(dirname "$0")"
rm -rf results
mkdir results

sweep=$(sbatch --parsable sweep.sbatch)
echo "submitted the sweep as job array $sweep; the evaluation starts when all of it has succeeded"
sbatch --wait --dependency="afterok:$sweep" --kill-on-invalid-dep=yes evaluate.sbatch || {
    echo "run.sh: the evaluation did not succeed; see $PWD/results" >&2
    exit 1
}
cat results/digits-evaluate.out
