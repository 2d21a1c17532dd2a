"""`penstock`: the administrator's command, and the entry of every daemon."""

from __future__ import annotations

import argparse
import signal
import sys

from penstock import SLURM_VERSION, __version__


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 a clear refusal, 2 bad usage, 3 (status) something is down."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["controller"]:
        from penstock.controller.service import main as controller

        return controller(argv[1:])
    if argv[:1] == ["agent"]:
        from penstock.agent.service import main as agent

        return agent(argv[1:])
    if argv[:1] == ["launcher"]:
        from penstock.agent.launcher import main as launcher

        return launcher(argv[1:])
    if argv[:1] == ["sim"]:
        from penstock.sim.command import main as sim

        return sim(argv[1:])
    if argv[:1] == ["commands"]:
        from penstock.cli.host import main as commands

        return commands(argv[1:])
    return _administer(argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="penstock", description="A workload manager for GPU clusters that runs Slurm scripts.")
    parser.add_argument("--version", action="version", version=f"penstock {__version__} (follows Slurm {SLURM_VERSION})")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("--dir", metavar="DIR", help="the cluster's folder (default: the user's own)")
    up = verbs.add_parser("up", parents=[place], help="start a cluster on this machine, or what of it is down")
    up.add_argument("--detach", action="store_true", help="return once it is up")
    up.add_argument("--nodes", type=int, metavar="N", help="so many virtual nodes (default 1)")
    up.add_argument("--cpus", type=int, metavar="N", help="CPUs each node declares (default: measured)")
    up.add_argument("--memory", metavar="SIZE", help="memory each node declares, e.g. 16G (default: measured)")
    up.add_argument("--gpus", metavar="[TYPE:]N", help="simulated GPUs of each node")
    down = verbs.add_parser("down", parents=[place], help="stop the cluster; running jobs are ended unless --keep-jobs")
    down.add_argument("--keep-jobs", action="store_true", help="stop controller, agents and launcher only: jobs go on")
    status = verbs.add_parser("status", parents=[place], help="each process with its pid, and the nodes")
    status.add_argument("--json", action="store_true")
    verbs.add_parser("doctor", parents=[place], help="what this machine lets Penstock do, and what is missing")
    verbs.add_parser("sim", add_help=False, help="experiments on job logs with the planner of the live controller: penstock sim run --help")
    verbs.add_parser("env", parents=[place], help='lines for eval "$(penstock env)"')
    backup = verbs.add_parser("backup", parents=[place], help="a consistent copy of the state while it runs")
    backup.add_argument("file", metavar="FILE")
    restore = verbs.add_parser("restore", parents=[place], help="a cluster folder from a backup")
    restore.add_argument("file", metavar="FILE")
    restore.add_argument("--force", action="store_true", help="replace a cluster that is not empty")
    why = verbs.add_parser("why", parents=[place], help="why a job waits, when it will start, what would start sooner")
    why.add_argument("job", metavar="JOB", help="a job id: 12, or 12_3 for an array element")
    why.add_argument("--json", action="store_true")
    consolidate = verbs.add_parser(
        "consolidate", parents=[place], help="which running jobs would move so that a waiting one starts at once; --execute moves them"
    )
    consolidate.add_argument("job", metavar="JOB", nargs="?", default="", help="the waiting job (default: the first that it helps)")
    consolidate.add_argument("--execute", action="store_true", help="carry out the plan that is printed")
    consolidate.add_argument("--anyway", action="store_true", help="also if more work is lost than waiting is saved")
    consolidate.add_argument("--json", action="store_true")
    snapshot = verbs.add_parser("snapshot", parents=[place], help="the planner's whole input into a file, for `penstock sim replay FILE`")
    snapshot.add_argument("file", metavar="FILE", help="where to; compressed if it ends in .gz")
    return parser


def _administer(argv: list[str]) -> int:
    from penstock.config.folder import ClusterFolder, FolderError, default_folder
    from penstock.spec.errors import SpecError
    from penstock.store.base import StoreError
    from penstock.wire.lite import Unreachable

    options = _parser().parse_args(argv)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    folder = ClusterFolder(options.dir or _named() or default_folder())
    try:
        if options.verb == "up":
            from penstock.cluster.up import Request, up

            return up(folder, Request(options.detach, options.nodes, options.cpus, options.memory, options.gpus))
        if options.verb == "down":
            from penstock.cluster.down import down

            return down(folder, options.keep_jobs)
        if options.verb in ("backup", "restore"):
            from penstock.cluster import archive

            return (
                archive.backup(folder, options.file) if options.verb == "backup" else archive.restore(folder, options.file, options.force)
            )
        if options.verb == "snapshot":
            from penstock.cli import snapshot

            return snapshot.main(options.file, folder.path if options.dir else "")
        if options.verb == "why":
            from penstock.cli import why

            return why.main(options.job, folder.path if options.dir else "", options.json)
        if options.verb == "consolidate":
            from penstock.cli import consolidate

            named = folder.path if options.dir else ""
            return consolidate.main(options.job, named, options.execute, options.anyway, options.json)
        from penstock.cluster import report

        if options.verb == "status":
            return report.status(folder, options.json)
        return report.doctor(folder) if options.verb == "doctor" else report.environment(folder)
    except (FolderError, SpecError, StoreError, Unreachable) as error:
        print(f"penstock: error: {getattr(error, 'detail', '') or error}", file=sys.stderr)
        return 1


def _named() -> str:
    import os

    return os.environ.get("PENSTOCK_DIR", "")


if __name__ == "__main__":
    raise SystemExit(main())
