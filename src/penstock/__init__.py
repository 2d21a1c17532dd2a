"""Penstock: a workload manager for GPU clusters."""

__version__ = "0.1.0"
SLURM_VERSION = "26.05.5"
"""The Slurm release whose command-line behaviour is followed; `sbatch --version` prints it in Slurm's form because tools parse it."""
