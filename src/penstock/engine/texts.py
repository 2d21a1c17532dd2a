"""How long the texts of a request may be: what is shown in a queue, kept with every job and searched by is short.

The numbers are Slurm's own where it has them (its controller refuses longer ones with "Pathname of a file, directory or other parameter too
long"); every other text is bounded by STRING_MAX_BYTES.
"""

from __future__ import annotations

from penstock.spec import errors as err
from penstock.spec.errors import SlurmError
from penstock.spec.request_values import PATH_MAX_CHARACTERS, STRING_MAX_BYTES

SHORT_MAX = 1_024
"""Names, comments, features, one word of an administrator."""
NODES_MAX = 65_536
"""A node list."""
DEPENDENCY_MAX = 131_072

SHORT = (
    *("name", "account", "partition", "qos", "wckey", "reservation", "comment", "constraint", "prefer", "licenses", "mail_user"),
    *("alloc_node", "jobname", "admincomment", "extra", "mailuser", "features", "availablefeatures", "activefeatures", "reason"),
    "topology",
)
"""Keys of requests, and of `scontrol update`."""
PATHS = ("std_in", "std_out", "std_err", "stdin", "stdout", "stderr", "work_dir", "workdir", "submit_dir")
LIMITS = {
    **dict.fromkeys(SHORT, SHORT_MAX),
    **dict.fromkeys(PATHS, PATH_MAX_CHARACTERS),
    **dict.fromkeys(("nodelist", "exclude"), NODES_MAX),
    "dependency": DEPENDENCY_MAX,
}


def check_length(key: str, text: str) -> None:
    """SlurmError for a text that is longer than its key allows."""
    limit = LIMITS.get(key.lower(), STRING_MAX_BYTES)
    if len(text) > limit:
        detail = f"{key} has {len(text)} characters, {limit} are allowed"
        raise SlurmError(err.ESLURM_PATHNAME_TOO_LONG, detail=detail)
