"""Slurm's numbers and texts."""

import pytest

from penstock.spec import errors
from penstock.spec.error_texts import TEXTS


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errors.ESLURM_INVALID_PARTITION_NAME, "Invalid partition name specified"),
        (errors.ESLURM_INVALID_JOB_ID, "Invalid job id specified"),
        (errors.ESLURM_REQUESTED_TOPO_CONFIG_UNAVAILABLE, "Requested topology configuration is not available"),
        (errors.ESLURM_MAX_JOB_COUNT, "MaxJobCount limit reached"),
        (2, "No such file or directory"),
        (0, "No error"),
        (99999, "Unknown error 99999"),
    ],
)
def test_texts(code, text):
    assert errors.strerror(code) == text


def test_every_constant_has_a_text():
    codes = {name: value for name, value in vars(errors).items() if name.startswith(("ESLURM", "SLURM")) and isinstance(value, int)}
    assert len(codes) > 80
    assert [name for name, code in codes.items() if code not in TEXTS] == []
    assert len(set(codes.values())) == len(codes)


def test_an_error_carries_number_and_text():
    error = errors.SlurmError(2017)
    assert (error.code, str(error)) == (2017, "Invalid job id specified")
    assert str(errors.SlurmError(2000, "invalid partition specified: foo")) == "invalid partition specified: foo"
