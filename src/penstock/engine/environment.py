"""The SLURM_* variables of jobs and steps, complete for what is supported (slurm.md C.7: man pages and env.c).

Pure text from State. What only the node knows (SLURM_TASK_PID, CUDA_VISIBLE_DEVICES, TMPDIR, HOSTNAME) is added there.
"""

from __future__ import annotations

from functools import lru_cache

from penstock.engine.state import NOT_GIVEN, Job, JobSpec, NodeAlloc, State, Step
from penstock.engine.steps import spread_tasks
from penstock.spec import arrays, hostlist

ARRAYS_KEPT = 64
"""Array texts whose variables are remembered: each element that starts asks for its own."""


@lru_cache(ARRAYS_KEPT)
def _array_variables(text: str) -> dict[str, str]:
    """What all elements of an array share. Do not write to it."""
    tasks = arrays.parse_array(text).ranges
    return {
        "SLURM_ARRAY_TASK_COUNT": str(arrays.count(tasks)),
        "SLURM_ARRAY_TASK_MIN": str(arrays.first(tasks)),
        "SLURM_ARRAY_TASK_MAX": str(arrays.last(tasks)),
        "SLURM_ARRAY_TASK_STEP": str(tasks[0][2] if tasks[0][1] > tasks[0][0] else 1),
    }


def tasks_on(job: Job) -> list[int]:
    """SLURM_TASKS_PER_NODE, from which MPI takes its slots. As the planner laid the tasks out where they are bound to nodes or GPUs; else
    -n in rounds over the CPUs that the nodes gave, which may be more than the tasks need (--exclusive, --mincpus, --cpus-per-gpu), and
    without -n as many as those CPUs carry."""
    spec = job.spec
    request = spec.request
    if request.ntasks_per_node or request.gres_per_task or spec.ntasks_per_gpu:
        return [max(1, alloc.ntasks) for alloc in job.allocs]
    room = [max(1, alloc.cpus // request.cpus_per_task) for alloc in job.allocs]
    if "ntasks" not in spec.asked:
        return room
    return spread_tasks(room, spec.ntasks_typed or request.ntasks, len(room), len(room)) or room


def job_variables(state: State, job: Job, directory: str) -> dict[str, str]:
    """Variables equal on every node of the job; `directory` is the cluster's, so that commands inside find it."""
    spec = job.spec
    nodelist = hostlist.compress([alloc.node for alloc in job.allocs])
    count = str(len(job.allocs))
    variables = {
        "SLURM_JOB_ID": str(job.id),
        "SLURM_JOBID": str(job.id),
        "SLURM_JOB_NAME": spec.name,
        "SLURM_JOB_PARTITION": job.partition,
        "SLURM_JOB_UID": str(spec.uid),
        "SLURM_JOB_USER": spec.user,
        "SLURM_JOB_GID": str(spec.gid),
        "SLURM_JOB_GROUP": spec.group,
        "SLURM_JOB_NODELIST": nodelist,
        "SLURM_NODELIST": nodelist,
        "SLURM_JOB_NUM_NODES": count,
        "SLURM_NNODES": count,
        "SLURM_JOB_CPUS_PER_NODE": hostlist.compress_counts([alloc.cpus for alloc in job.allocs]),
        "SLURM_TASKS_PER_NODE": hostlist.compress_counts(tasks_on(job)),
        "SLURM_JOB_START_TIME": str(job.start_ms // 1000),
        "SLURM_CLUSTER_NAME": state.config.cluster_name,
        "SLURM_SUBMIT_DIR": spec.work_dir if not spec.submit_dir else spec.submit_dir,
        "SLURM_SUBMIT_HOST": spec.alloc_node,
        "SLURM_RESTART_COUNT": str(job.attempt),
        "SLURM_CONF": f"{directory}/slurm.conf",
        "PENSTOCK_DIR": directory,
    }
    end_ms = job.end_limit_ms
    variables["SLURM_JOB_END_TIME"] = str(end_ms // 1000 if end_ms else job.start_ms // 1000 + 365 * 86_400)
    if spec.account:
        variables["SLURM_JOB_ACCOUNT"] = spec.account
    if spec.qos:
        variables["SLURM_JOB_QOS"] = spec.qos
    if spec.wckey:
        variables["SLURM_WCKEY"] = spec.wckey
    if job.licenses:
        variables["SLURM_JOB_LICENSES"] = ",".join([f"{name}:{count}" for name, count in job.licenses])
    if spec.reservation:
        variables["SLURM_JOB_RESERVATION"] = spec.reservation
    if spec.export and spec.export != "ALL":
        variables["SLURM_EXPORT_ENV"] = spec.export
    if spec.login_environment:
        variables["SLURM_GET_USER_ENV"] = "1"
    if spec.open_mode:
        variables["SLURM_OPEN_MODE"] = spec.open_mode[0]
    if job.array_job_id and job.array_task_id >= 0:
        variables |= {"SLURM_ARRAY_JOB_ID": str(job.array_job_id), "SLURM_ARRAY_TASK_ID": str(job.array_task_id)}
        variables |= _array_variables(spec.array)
    variables |= asked_variables(spec)
    return variables


def asked_variables(spec: JobSpec) -> dict[str, str]:
    """Echoes of the request: each exists only when the user asked for it."""
    request = spec.request
    asked = spec.asked
    variables = {}
    if "ntasks" in asked or request.ntasks > 1:
        variables["SLURM_NTASKS"] = variables["SLURM_NPROCS"] = str(spec.ntasks_typed or request.ntasks or 1)
    elif "ntasks_per_node" in asked or "nodes_min" in asked:
        total = request.ntasks or request.nodes_min * max(1, request.ntasks_per_node)
        if "ntasks_per_node" in asked:
            variables["SLURM_NTASKS"] = variables["SLURM_NPROCS"] = str(total)
    if "ntasks_per_node" in asked:
        variables["SLURM_NTASKS_PER_NODE"] = str(request.ntasks_per_node)
    if spec.ntasks_per_gpu:
        variables["SLURM_NTASKS_PER_GPU"] = str(spec.ntasks_per_gpu)
        variables["SLURM_NTASKS"] = variables["SLURM_NPROCS"] = str(request.ntasks or request.nodes_min * request.ntasks_per_node)
    if "cpus_per_task" in asked:
        variables["SLURM_CPUS_PER_TASK"] = str(request.cpus_per_task)
    if request.segment:
        variables["SLURM_JOB_SEGMENT_SIZE"] = str(request.segment)
    if spec.cpus_per_gpu:
        variables["SLURM_CPUS_PER_GPU"] = str(spec.cpus_per_gpu)
    if spec.mem_per_gpu_mib:
        variables["SLURM_MEM_PER_GPU"] = str(spec.mem_per_gpu_mib)
    elif spec.mem_per_node_mib != NOT_GIVEN:
        variables["SLURM_MEM_PER_NODE"] = str(spec.mem_per_node_mib)
    elif spec.mem_per_cpu_mib != NOT_GIVEN:
        variables["SLURM_MEM_PER_CPU"] = str(spec.mem_per_cpu_mib)
    elif request.memory_per_cpu_mib:
        variables["SLURM_MEM_PER_CPU"] = str(request.memory_per_cpu_mib)
    elif request.memory_per_node_mib > 0:
        variables["SLURM_MEM_PER_NODE"] = str(request.memory_per_node_mib)
    echoes = {"SLURM_GPUS": spec.gpus, "SLURM_GPUS_PER_NODE": spec.gpus_per_node, "SLURM_GPUS_PER_TASK": spec.gpus_per_task}
    for name, text in echoes.items():  # srun reads the last: each task of a step gets GPUs of its own
        if text:
            variables[name] = ",".join(item.removeprefix("gpu:") for item in text.split(","))
    return variables


def node_variables(job: Job, rank: int, gpu_indices: dict[str, int]) -> dict[str, str]:
    """What differs from node to node; `gpu_indices` maps UUIDs of that node to today's index."""
    alloc = job.allocs[rank]
    variables = {
        "SLURMD_NODENAME": alloc.node,
        "SLURM_NODEID": str(rank),
        "SLURM_CPUS_ON_NODE": str(alloc.cpus),
    }
    if alloc.gpus:
        variables["SLURM_GPUS_ON_NODE"] = str(len(alloc.gpus))
        variables["SLURM_JOB_GPUS"] = ",".join(str(i) for i in sorted(gpu_indices[uuid] for uuid in alloc.gpus))
    if alloc.shards:
        variables["SLURM_SHARDS_ON_NODE"] = str(alloc.shards)
    return variables


def batch_variables(job: Job) -> dict[str, str]:
    """What the batch script has beside the job's and the node's."""
    return {
        "ENVIRONMENT": "BATCH",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_GTIDS": "0",
        "SLURM_TASK_PID": "",
        "SLURM_PRIO_PROCESS": "0",
        "SLURM_UMASK": f"{job.spec.umask:04o}",
    }


def step_variables(job: Job, step: Step, cpus_per_task: int) -> dict[str, str]:
    """Variables of a step that are equal for all its tasks; they are set over the job's."""
    nodelist = hostlist.compress([alloc.node for alloc in step.allocs])
    layout = hostlist.compress_counts([alloc.ntasks for alloc in step.allocs])
    count = str(len(step.allocs))
    variables = {
        "SLURM_STEP_ID": str(step.step_id),
        "SLURM_STEPID": str(step.step_id),
        "SLURM_STEP_NODELIST": nodelist,
        "SLURM_STEP_NUM_NODES": count,
        "SLURM_STEP_NUM_TASKS": str(step.ntasks),
        "SLURM_STEP_TASKS_PER_NODE": layout,
        "SLURM_NTASKS": str(step.ntasks),
        "SLURM_NPROCS": str(step.ntasks),
        "SLURM_NNODES": count,
        "SLURM_TASKS_PER_NODE": layout,
        "SLURM_UMASK": f"{job.spec.umask:04o}",
        "SLURM_MPI_TYPE": "none",
        "SLURM_JOB_NAME": job.spec.name,
    }
    if cpus_per_task:
        variables["SLURM_CPUS_PER_TASK"] = str(cpus_per_task)
    return variables


def step_node_variables(alloc: NodeAlloc, rank: int, gpu_indices: dict[str, int]) -> dict[str, str]:
    """A step's view of one of its nodes."""
    variables = {"SLURMD_NODENAME": alloc.node, "SLURM_NODEID": str(rank), "SLURM_CPUS_ON_NODE": str(alloc.cpus)}
    if alloc.gpus:
        variables["SLURM_GPUS_ON_NODE"] = str(len(alloc.gpus))
        variables["SLURM_STEP_GPUS"] = ",".join(str(i) for i in sorted(gpu_indices[uuid] for uuid in alloc.gpus))
    if alloc.shards:
        variables["SLURM_SHARDS_ON_NODE"] = str(alloc.shards)
    return variables
