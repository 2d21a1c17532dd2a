"""What sinfo can show: letters, long names, headers, and the default formats of slurm.md C.1.

Guarantees: every value of LETTERS and NAMES is a key of FIELDS; NODE_FIELDS are those whose value differs from node to node, which
makes sinfo print a line per group of equal nodes. Assumes nothing; imported by the command and by the view.
"""

from __future__ import annotations

from penstock.spec.outputfmt import CUT, OVERFLOW, TIME

FIELDS: dict[str, tuple[str, int]] = {
    "allocmem": ("ALLOCMEM", CUT),
    "allocnodes": ("ALLOCNODES", CUT),
    "available": ("AVAIL", CUT),
    "cluster": ("CLUSTER", CUT),
    "comment": ("COMMENT", CUT),
    "cores": ("CORES", CUT),
    "cpus": ("CPUS", CUT),
    "cpusload": ("CPU_LOAD", CUT),
    "cpusstate": ("CPUS(A/I/O/T)", CUT),
    "defaulttime": ("DEFAULTTIME", OVERFLOW),
    "disk": ("TMP_DISK", CUT),
    "extra": ("EXTRA", CUT),
    "features": ("AVAIL_FEATURES", CUT),
    "featuresact": ("ACTIVE_FEATURES", CUT),
    "freemem": ("FREE_MEM", CUT),
    "gres": ("GRES", CUT),
    "gresused": ("GRES_USED", CUT),
    "groups": ("GROUPS", CUT),
    "maxcpuspernode": ("MAX_CPUS_PER_NODE", CUT),
    "memory": ("MEMORY", CUT),
    "nodeaddr": ("NODE_ADDR", CUT),
    "nodeai": ("NODES(A/I)", CUT),
    "nodeaiot": ("NODES(A/I/O/T)", CUT),
    "nodehost": ("HOSTNAMES", CUT),
    "nodelist": ("NODELIST", OVERFLOW),
    "nodes": ("NODES", CUT),
    "oversubscribe": ("OVERSUBSCRIBE", CUT),
    "partition": ("PARTITION", CUT),
    "partitionname": ("PARTITION", CUT),
    "port": ("PORT", CUT),
    "preemptmode": ("PREEMPT_MODE", CUT),
    "priorityjobfactor": ("PRIO_JOB_FACTOR", CUT),
    "prioritytier": ("PRIO_TIER", CUT),
    "reason": ("REASON", CUT),
    "reservation": ("RESERVATION", CUT),
    "root": ("ROOT", CUT),
    "size": ("JOB_SIZE", CUT),
    "socketcorethread": ("S:C:T", CUT),
    "sockets": ("SOCKETS", CUT),
    "statecompact": ("STATE", CUT),
    "statelong": ("STATE", CUT),
    "statecomplete": ("STATECOMPLETE", CUT),
    "threads": ("THREADS", CUT),
    "time": ("TIMELIMIT", OVERFLOW),
    "timestamp": ("TIMESTAMP", TIME),
    "user": ("USER", CUT),
    "userlong": ("USER", CUT),
    "version": ("VERSION", CUT),
    "weight": ("WEIGHT", CUT),
}

LETTERS = {
    "a": "available",
    "A": "nodeai",
    "b": "featuresact",
    "B": "maxcpuspernode",
    "c": "cpus",
    "C": "cpusstate",
    "d": "disk",
    "D": "nodes",
    "e": "freemem",
    "E": "reason",
    "f": "features",
    "F": "nodeaiot",
    "g": "groups",
    "G": "gres",
    "h": "oversubscribe",
    "H": "timestamp",
    "i": "reservation",
    "I": "priorityjobfactor",
    "l": "time",
    "L": "defaulttime",
    "m": "memory",
    "M": "preemptmode",
    "n": "nodehost",
    "N": "nodelist",
    "o": "nodeaddr",
    "O": "cpusload",
    "p": "prioritytier",
    "P": "partition",
    "r": "root",
    "R": "partitionname",
    "s": "size",
    "S": "allocnodes",
    "t": "statecompact",
    "T": "statelong",
    "u": "user",
    "U": "userlong",
    "v": "version",
    "V": "cluster",
    "w": "weight",
    "X": "sockets",
    "Y": "cores",
    "Z": "threads",
    "z": "socketcorethread",
}

NAMES = {field: field for field in FIELDS} | {"features_act": "featuresact", "freememory": "freemem", "shared": "oversubscribe"}

DEFAULT = "%9P %.5a %.10l %.6D %.6t %N"
LONG = "%9P %.5a %.10l %.10s %.4r %.8h %.10g %.6D %.11T %.11i %N"
SUMMARY = "%9P %.5a %.10l %.16F %N"
NODES = "%N %.6D %.9P %6t"
NODES_LONG = "%N %.6D %.9P %.11T %4c %.8z %.6m %.8d %.6w %.8f %20E"
REASONS = "%20E %9u %19H %N"
REASONS_LONG = "%20E %12U %19H %6t %N"

NODE_FIELDS = frozenset(
    (
        "allocmem",
        "comment",
        "cores",
        "cpus",
        "cpusload",
        "disk",
        "extra",
        "features",
        "featuresact",
        "freemem",
        "gres",
        "gresused",
        "memory",
        "nodeaddr",
        "nodehost",
        "port",
        "reason",
        "reservation",
        "socketcorethread",
        "sockets",
        "statecompact",
        "statelong",
        "statecomplete",
        "threads",
        "timestamp",
        "user",
        "userlong",
        "version",
        "weight",
    )
)
"""With -e, nodes are grouped by all of these that are shown; without it, only by GROUPING."""

GROUPING = frozenset(("gres", "gresused", "nodeaddr", "nodehost", "reason", "reservation", "statecompact", "statelong", "statecomplete"))
GROUPING |= {"timestamp", "user", "userlong", "features", "featuresact", "version", "comment", "extra", "port"}
"""Fields whose values cannot be shown as `min+`: nodes that differ in them are on different lines."""

SORT_DEFAULT = "#P,-t"
SORT_NODES = "N"
SORT_REASONS = "-H,N"
