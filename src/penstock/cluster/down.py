"""`penstock down`: stop the cluster. The queue stays; jobs that run are ended first, unless they are to go on."""

from __future__ import annotations

from penstock.cluster.processes import alive, find, stop
from penstock.config.folder import ClusterFolder

SHEPHERD_TIMEOUT_S = 5.0


def down(folder: ClusterFolder, keep_jobs: bool) -> int:
    """0, also when nothing ran. Shepherds are ended last: killed ones are found dead by the next `up`, which ends their jobs by the
    rules of a power cut."""
    folder.unwant()
    processes = find(folder.path)
    services = [process for process in processes if process.role != "shepherd"]
    killed = stop([process for process in services if process.role in ("controller", "commands")])
    killed += stop([process for process in services if process.role == "agent"])
    killed += stop([process for process in services if process.role == "launcher"])
    shepherds = [process for process in find(folder.path) if process.role == "shepherd"]
    if shepherds and not keep_jobs:
        stop(shepherds, SHEPHERD_TIMEOUT_S)
        shepherds = [process for process in shepherds if alive(process.pid)]
    if not keep_jobs:
        folder.unregister()
    print(f"penstock is down in {folder.path}" + (f"; {len(shepherds)} shepherds go on with their jobs" if shepherds else ""))
    for process in killed:
        print(f"  {process.role} pid {process.pid} did not stop in time and was killed")
    return 0
