"""From State to what agents are told. Each message can be made again at any time from State and the blobs: that is what makes
every effect idempotent and a reconnecting agent an ordinary case. Nothing here changes State.
"""

from __future__ import annotations

from penstock.engine.environment import batch_variables, job_variables, node_variables, step_node_variables, step_variables
from penstock.engine.request import parse_rlimits
from penstock.engine.state import Job, Node, State, Step
from penstock.engine.step_devices import wish_of
from penstock.engine.steps import StepRequest, ranks_of
from penstock.engine.topology import topology_variables
from penstock.spec.patterns import fill
from penstock.wire.messages import Assign, LaunchStep, TaskIo


def gpu_indices(node: Node) -> dict[str, int]:
    """UUID to today's index."""
    return {gpu.uuid: gpu.index for gpu in node.gpus}


def pattern_names(job: Job, node: str, rank: int, step: str = "batch") -> dict[str, str]:
    """What the letters of a file name pattern stand for, outside a task."""
    array = job.array_job_id and job.array_task_id >= 0
    names = {
        "A": str(job.array_job_id if array else job.id),
        "a": str(job.array_task_id) if array else "4294967294",
        "b": str(job.array_task_id % 10) if array else "4",
        "j": str(job.id),
        "J": f"{job.id}.{step}" if step != "batch" else str(job.id),
        "N": node,
        "n": str(rank),
        "r": str(job.attempt),
        "s": step,
        "t": "0",
        "u": job.spec.user,
        "x": job.spec.name,
    }
    return names


def output_name(job: Job, pattern: str, default: str, names: dict[str, str]) -> str:
    """An absolute file name from a pattern; relative ones lie in the job's working directory."""
    text = fill(pattern or default, names)
    return text if text.startswith("/") or not text else f"{job.spec.work_dir.rstrip('/')}/{text}"


def standard_files(job: Job, node: str = "") -> tuple[str, str, str]:
    """(stdin, stdout, stderr) of the batch script; an empty stderr joins stdout."""
    names = pattern_names(job, node or (job.allocs[0].node if job.allocs else ""), 0)
    array = job.array_job_id and job.array_task_id >= 0
    stdout = output_name(job, job.spec.std_out, "slurm-%A_%a.out" if array else "slurm-%j.out", names)
    stderr = output_name(job, job.spec.std_err, "", names) if job.spec.std_err else ""
    stdin = output_name(job, job.spec.std_in, "/dev/null", names)
    return stdin, stdout, "" if stderr == stdout else stderr


def assign(state: State, job: Job, rank: int, script: bytes, environment: bytes, directory: str, now_ms: int) -> Assign:
    """The message that makes the job's run true on its node number `rank`."""
    spec = job.spec
    alloc = job.allocs[rank]
    variables = job_variables(state, job, directory) | node_variables(job, rank, gpu_indices(state.nodes[alloc.node]))
    variables |= topology_variables(state, job, alloc.node)
    batch = rank == 0 and not spec.interactive
    stdin, stdout, stderr = standard_files(job) if batch else ("/dev/null", "", "")
    if batch:
        variables |= batch_variables(job)
    limit_s = 0
    if job.end_limit_ms:
        limit_s = max(1, -(-(job.end_limit_ms - now_ms) // 1000))
    return Assign(
        job_id=job.id,
        attempt=job.attempt,
        epoch=state.counters.epoch,
        uid=spec.uid,
        gid=spec.gid,
        user=spec.user,
        batch=batch,
        cpus=alloc.cpus,
        memory_mib=alloc.memory_mib,
        gpus=alloc.gpus,
        time_limit_s=limit_s,
        kill_wait_s=state.config.kill_wait_s,
        warn_signal=spec.signal,
        warn_before_s=spec.signal_before_s,
        warn_batch_only=spec.signal_batch,
        script=script if batch else b"",
        argv=spec.argv if batch else (),
        environment=environment,
        variables=variables,
        login_environment=spec.login_environment,
        work_dir=spec.work_dir,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        append=spec.append,
        umask=spec.umask,
        rlimits=dict(spec.rlimits),
    )


def launch_step(state: State, job: Job, step: Step, request: StepRequest, environment: bytes, directory: str, rank: int) -> LaunchStep:
    """The message that starts the step's tasks on its node number `rank`."""
    alloc = step.allocs[rank]
    indices = gpu_indices(state.nodes[alloc.node])
    variables = job_variables(state, job, directory)
    variables |= step_variables(job, step, request.cpus_per_task or 0)
    variables |= step_node_variables(alloc, rank, indices) | topology_variables(state, job, alloc.node)
    if request.export:
        variables["SLURM_EXPORT_ENV"] = request.export
    ranks = ranks_of(step.allocs, request.distribution)[rank]
    table = []
    for line in request.multi_prog:
        number, _, words = line.partition("\x1f")
        if int(number) in ranks:
            table.append((int(number), tuple(words.split("\x1f"))))
    memory_mib = alloc.memory_mib
    if not memory_mib:
        memory_mib = next((held.memory_mib for held in job.allocs if held.node == alloc.node), 0)
    return LaunchStep(
        job_id=job.id,
        attempt=job.attempt,
        step_id=step.step_id,
        argv=request.argv,
        environment=environment,
        variables=variables,
        ranks=ranks,
        node_rank=rank,
        ntasks=step.ntasks,
        cpus=alloc.cpus,
        memory_mib=memory_mib,
        gpus=alloc.gpus,
        gpus_per_task=sum(wish_of(request.gpus_per_task).values()),
        multi_prog=tuple(table),
        work_dir=request.work_dir or job.spec.work_dir,
        io=TaskIo(
            address=request.address,
            key=bytes.fromhex(request.key),
            stdin=request.stdin,
            stdout=request.stdout,
            stderr=request.stderr,
            append=request.append,
            pty=request.pty,
            rows=request.rows,
            columns=request.columns,
            unbuffered=request.unbuffered,
        ),
        umask=job.spec.umask if request.umask is None else request.umask,
        rlimits=parse_rlimits(request.rlimits),
        time_limit_s=request.time_limit_s or 0,
        kill_wait_s=state.config.kill_wait_s,
        step_name=step.name,
        wait_for_children=request.wait_for_children,
    )
