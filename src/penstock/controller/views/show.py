"""scontrol show: jobs, nodes, partitions, steps and the configuration as text that is ready to print (slurm.md C.3).

Request fields: see ShowRequest. Times stand in the text as marks (`chunks.marked_time`); the command puts local time there. One record is
a list of lines; `-o` joins them to one line.

Guarantees: at most RECORDS_MAX records a piece. A named thing that does not exist is a SlurmError with Slurm's words, raised before
anything is yielded but PAUSE.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from penstock.controller.views import job_facts as facts
from penstock.controller.views import node_facts
from penstock.controller.views.chunks import Fields, Notes, clean, marked_time
from penstock.controller.views.file_names import std_file
from penstock.controller.views.queue_fields import tres_per
from penstock.controller.views.sinfo import user_name
from penstock.controller.views.squeue import QueueRequest, running_steps, select
from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.engine.cpus import shown
from penstock.engine.state import NO_TASK, PENDING, Job, Node, NodeAlloc, State, Step
from penstock.spec import arrays, hostlist, states
from penstock.spec.errors import ESLURM_INVALID_JOB_ID, SlurmError, SpecError
from penstock.spec.gres import format_tres
from penstock.spec.levels import format_level
from penstock.spec.quantities import format_memory
from penstock.spec.times import format_duration

RECORDS_MAX = 30
"""Records of one piece: 30 jobs take 1 to 2 ms."""
NOT_FOUND = 1
"""Error number of a named node or partition that does not exist: its text stands alone, as scontrol prints it."""


class ShowRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`names`: job ids, nodes (hostlists), partitions, steps; empty: all. `details`: -d, `oneliner`: -o."""

    names: list[str] = []
    details: bool = False
    oneliner: bool = False


Lines = list[str]


def _join(lines: Lines, oneliner: bool) -> str:
    return " ".join(lines) + "\n" if oneliner else "\n   ".join(lines) + "\n\n"


def pieces(texts: Iterator[str]) -> Iterator[bytes]:
    """Records joined to pieces of RECORDS_MAX."""
    buffer: list[str] = []
    for text in texts:
        buffer.append(text)
        if len(buffer) == RECORDS_MAX:
            yield "".join(buffer).encode("utf-8", "surrogateescape")
            buffer.clear()
    if buffer:
        yield "".join(buffer).encode("utf-8", "surrogateescape")


def show_job(state: State, notes: Notes, fields: Fields, uid: int) -> Iterator[bytes]:
    request = msgspec.convert(fields, ShowRequest)
    jobs = yield from select(state, QueueRequest(jobs=request.names, states=["all"]))
    if request.names and not jobs:
        raise SlurmError(ESLURM_INVALID_JOB_ID)
    if not jobs:
        yield b"No jobs in the system\n"
    yield from pieces(_join(job_lines(state, notes, job, request.details), request.oneliner) for job in jobs)


def job_lines(state: State, notes: Notes, job: Job, details: bool) -> Lines:
    spec, request = job.spec, job.spec.request
    waiting = job.state == PENDING
    expected = notes.expected_start_ms(job.id) if waiting else 0
    start = facts.start_ms(job, expected, notes.now_ms)
    head = [f"JobId={job.id}"]
    if job.array_job_id:
        index = arrays.format_ranges(job.pending_tasks) if job.pending_tasks else str(job.array_task_id)
        head += [f"ArrayJobId={job.array_job_id}", f"ArrayTaskId={index}"]
        if spec.array_limit:
            head.append(f"ArrayTaskThrottle={spec.array_limit}")
    requeue = state.config.job_requeue if spec.requeue is None else spec.requeue
    lines = [
        " ".join([*head, f"JobName={clean(spec.name)}"]),
        f"UserId={spec.user}({spec.uid}) GroupId={spec.group}({spec.gid}) MCS_label=N/A",
        f"Priority={job.priority} Nice={spec.nice} Account={clean(spec.account) or '(null)'} QOS={clean(spec.qos) or 'normal'}"
        + (f" WCKey={clean(spec.wckey)}" if spec.wckey else ""),
        f"JobState={facts.state_word(job)} Reason={_reason(job, notes)} Dependency={clean(facts.dependency_text(job, state))}",
        f"Requeue={int(requeue)} Restarts={job.attempt} BatchFlag={int(not spec.interactive)} Reboot=0 "
        f"ExitCode={facts.exit_pair(job.wait_status)}",
    ]
    if details:
        lines.append(f"DerivedExitCode={job.derived_exit}:0")
    limit = format_duration(spec.time_limit_s) if spec.time_limit_s else "UNLIMITED"
    end = facts.end_ms(job, start)
    submitted = marked_time(job.submit_ms)
    eligible = "Unknown" if job.hold and not job.allocs else marked_time(job.eligible_ms or job.submit_ms)
    lines += [
        f"RunTime={format_duration(facts.elapsed_s(job, notes.now_ms))} TimeLimit={limit} "
        f"TimeMin={format_duration(spec.time_min_s) if spec.time_min_s else 'N/A'}",
        f"SubmitTime={submitted} EligibleTime={eligible}",
        f"AccrueTime={'Unknown' if job.hold and not job.allocs else marked_time(job.accrue_ms or job.eligible_ms or job.submit_ms)}",
        *([f"ResizeTime={marked_time(job.resized.at_ms)}"] if job.resized is not None else []),
        f"StartTime={marked_time(start)} EndTime={marked_time(end)} Deadline={marked_time(spec.deadline_ms, 'N/A')}",
        f"SuspendTime={marked_time(job.suspend_ms, 'None')} SecsPreSuspend={_before_suspension(job)} "
        f"LastSchedEval={marked_time(notes.now_ms if waiting else job.start_ms)} Scheduler=Backfill",
        f"Partition={clean(facts.partition_text(job))} AllocNode:Sid={clean(spec.alloc_node) or 'N/A'}:{spec.alloc_sid}",
        f"ReqNodeList={hostlist.compress(request.required_nodes) or '(null)'} "
        f"ExcNodeList={hostlist.compress(request.excluded_nodes) or '(null)'}",
        f"NodeList={facts.nodes_of(job.allocs)}" + (f" SchedNodeList={sched}" if waiting and (sched := notes.sched_nodes(job.id)) else ""),
    ]
    if job.allocs and not spec.interactive:
        lines.append(f"BatchHost={job.allocs[0].node}")
    nodes = facts.node_count(job)
    bounded = request.nodes_max and ("nodes_min" in spec.asked or request.nodes_max > nodes)
    node_text = f"{nodes}-{max(request.nodes_max, nodes)}" if waiting and bounded else str(nodes)
    per_node = facts.tasks_per_node(job)
    least_cpus = max(max(per_node, 1) * request.cpus_per_task, request.cpus_per_node)
    memory = ("CPU", request.memory_per_cpu_mib) if request.memory_per_cpu_mib else ("Node", max(request.memory_per_node_mib, 0))
    lines += [
        f"NumNodes={node_text} NumCPUs={facts.cpu_count(job)} NumTasks={facts.task_count(job)} "
        f"CPUs/Task={request.cpus_per_task} ReqB:S:C:T=0:0:*:*",
        f"ReqTRES={facts.tres_text(facts.requested_tres(request))}",
        f"AllocTRES={facts.tres_text(facts.allocated_tres(job.allocs)) or '(null)'}",
        f"Socks/Node=* NtasksPerN:B:S:C={per_node}:0:*:* CoreSpec=*",
    ]
    if details:
        lines += [_alloc_line(state, alloc) for alloc in job.allocs]
    lines += [
        f"MinCPUsNode={least_cpus} MinMemory{memory[0]}={format_memory(memory[1])} MinTmpDiskNode=0",
        f"Features={clean(request.constraint) or '(null)'} DelayBoot=00:00:00",
    ]
    if request.prefer:
        lines.append(f"Prefer={clean(request.prefer)}")
    if spec.reservation:
        lines.append(f"Reservation={clean(spec.reservation)}")
    lines += [
        f"OverSubscribe={'NO' if request.exclusive else 'OK'} Exclusive={'YES' if request.exclusive else 'NO'} "
        f"Contiguous={int(request.contiguous)} "
        f"Licenses={clean(spec.licenses) or '(null)'} LicensesAlloc={_licenses_held(job)} Network=(null)",
        f"Command={clean(spec.command) or '(null)'}",
        f"SubmitLine={clean(spec.submit_line) or '(null)'}",
        f"WorkDir={clean(spec.work_dir)}",
    ]
    for label, text in (
        ("AdminComment", job.admin_comment),
        ("SystemComment", job.system_comment),
        ("Comment", spec.comment),
        ("Extra", job.extra),
        ("ReasonDetail", job.detail),
    ):
        if text:
            lines.append(f"{label}={clean(text)}")
    if not spec.interactive:
        lines += [f"{label}={clean(std_file(job, which))}" for label, which in (("StdErr", "err"), ("StdIn", "in"), ("StdOut", "out"))]
    if request.segment:
        lines.append(f"SegmentSize={request.segment}")
    if request.switches:
        lines.append(f"Switches={request.switches}@{format_duration(spec.switch_wait_s)}")
    if request.level:
        lines.append(f"Topology={format_level(request.level, request.level_wait_s)}")
    if spec.kill_on_invalid_dep is not None:
        lines.append(f"KillOnInvalidDependent={'Yes' if spec.kill_on_invalid_dep else 'No'}")
    if spec.cpus_per_gpu:
        lines.append(f"CpusPerTres=gres/gpu:{spec.cpus_per_gpu}")
    if spec.ntasks_per_gpu:
        lines.append(f"NtasksPerTRES={spec.ntasks_per_gpu}")
    if spec.mem_per_gpu_mib:
        lines.append(f"MemPerTres=gres/gpu:{spec.mem_per_gpu_mib}")
    for label, counts in (
        ("TresPerJob", request.gres_total),
        ("TresPerNode", request.gres_per_node),
        ("TresPerTask", request.gres_per_task),
    ):
        if counts:
            lines.append(f"{label}={tres_per(counts)}")
    if spec.mail_type:
        lines.append(f"MailUser={clean(spec.mail_user) or spec.user} MailType={','.join(spec.mail_type)}")
    return lines


def _reason(job: Job, notes: Notes) -> str:
    return facts.reason_text(job, notes.reason(job) if job.state == PENDING else "").replace(" ", "_")


def _before_suspension(job: Job) -> int:
    return max(0, job.suspend_ms - job.start_ms - job.suspended_total_ms) // 1000 if job.suspend_ms else 0


def _alloc_line(state: State, alloc: NodeAlloc) -> str:
    """A row of an older program has no CPU_IDs: CPUs= says how many there are."""
    cpus = f"CPU_IDs={shown(alloc.cpu_ids)}" if alloc.cpu_ids else f"CPUs={alloc.cpus}"
    gres = gres_of(state, alloc.node, alloc.gpus, alloc.shards)
    return f"  Nodes={alloc.node} {cpus} Mem={alloc.memory_mib} GRES={gres}"


def gres_of(state: State, node: str, gpus: tuple[str, ...], shards: int = 0) -> str:
    """`gpu:h100:2(IDX:0-1)` of GPUs that one job holds on a node, `shard:3(3/4,0/4)` of parts of one."""
    known = state.nodes.get(node)
    if not gpus or known is None:
        return ""
    held = node_facts.Occupancy()
    if shards:
        held.shards[gpus[0]] = shards
    else:
        held.gpus.update(gpus)
    whole, _, parts = node_facts.gres_used_text(known, held).partition(",shard:")
    if shards:
        return f"shard:{parts}"
    texts = whole.removeprefix("gpu").split(",gpu")  # an index list has commas too
    return ",".join([f"gpu{text}" for text in texts if "(IDX:N/A)" not in text])


def _licenses_held(job: Job) -> str:
    return ",".join([f"{name}:{count}" for name, count in job.licenses]) if job.active and job.licenses else "(null)"


def show_licenses(state: State, notes: Notes, fields: Fields, uid: int) -> Iterator[bytes]:
    """All licences, or the named ones; a name that does not exist shows nothing, as in Slurm."""
    request = msgspec.convert(fields, ShowRequest)
    used: dict[str, int] = {}
    for job in list(state.jobs.values()):
        if job.active:
            for name, count in job.licenses:
                used[name] = used.get(name, 0) + count
    if not state.config.licenses:
        yield b"No licenses configured in Slurm.\n"
    for name, total in state.config.licenses:
        if not request.names or name in request.names:
            taken = used.get(name, 0)
            lines = [f"LicenseName={name}", f"Total={total} Used={taken} Free={max(0, total - taken)} Reserved=0 Remote=no"]
            yield ((" " if request.oneliner else "\n    ").join(lines) + "\n").encode("utf-8", "surrogateescape")


def show_node(state: State, notes: Notes, fields: Fields, uid: int) -> Iterator[bytes]:
    request = msgspec.convert(fields, ShowRequest)
    names = [name for text in request.names for name in _expand(text, state)] or list(state.nodes)
    for name in names:
        if name not in state.nodes:
            raise SlurmError(NOT_FOUND, f"Node {name} not found")
    held = yield from node_facts.occupancy(state)
    yield from pieces(
        _join(node_lines(state, notes, state.nodes[name], held.get(name, node_facts.EMPTY), request.details), request.oneliner)
        for name in names
        if name in state.nodes
    )


def _expand(text: str, state: State) -> list[str]:
    return list(state.nodes) if text.upper() == "ALL" else hostlist.expand(text)


def node_lines(state: State, notes: Notes, node: Node, held: node_facts.Occupancy, details: bool) -> Lines:
    load, free = notes.load(node.name)
    number = node_facts.state_number(node, held)
    features = clean(",".join(node.features)) or "(null)"
    lines = [
        f"NodeName={node.name} Arch={clean(node.arch) or 'N/A'} CoresPerSocket={node.cpus}",
        f"CPUAlloc={min(held.cpus, node.cpus)} CPUEfctv={node.cpus} CPUTot={node.cpus} "
        f"CPULoad={f'{load // 100}.{load % 100:02d}' if load >= 0 else 'N/A'}",
        f"AvailableFeatures={features}",
        f"ActiveFeatures={features}",
        f"Gres={node_facts.gres_text(node) or '(null)'}",
    ]
    if details:
        lines += ["GresDrain=N/A", f"GresUsed={node_facts.gres_used_text(node, held) or 'gpu:0'}"]
    lines += [
        f"NodeAddr={clean(node.hostname)} NodeHostName={clean(node.hostname)} Version={clean(node.version) or 'N/A'}",
        f"OS={clean(node.os)}",
        f"RealMemory={node.memory_mib} AllocMem={held.memory_mib} FreeMem={free if free >= 0 else 'N/A'} Sockets=1 Boards=1",
        f"State={states.node_state_complete(number)} ThreadsPerCore=1 TmpDisk={node.tmp_disk_mib} Weight={node.weight} Owner=N/A "
        "MCS_label=N/A",
        f"Partitions={','.join(node_facts.partitions_of(state, node.name))}",
        f"BootTime={marked_time(node.boot_ms, 'None')} SlurmdStartTime={marked_time(node.start_ms, 'None')}",
        f"LastBusyTime={marked_time(node.busy_ms or node.start_ms)} ResumeAfterTime=None",
        f"CfgTRES={format_tres(node_facts.configured_tres(node))}",
        f"AllocTRES={format_tres(node_facts.used_tres(held))}",
        "CurrentWatts=0 AveWatts=0",
    ]
    if node.reason:
        lines.append(f"Reason={clean(node.reason)} [{user_name(node.reason_uid)}@{marked_time(node.reason_ms)}]")
    simulated = sum([gpu.simulated for gpu in node.gpus])
    comment = clean(node.comment)
    if simulated:
        comment = f"{comment}; " * bool(comment) + f"{simulated} of {len(node.gpus)} GPUs are simulated"
    if comment:
        lines.append(f"Comment={comment}")
    if node.extra:
        lines.append(f"Extra={clean(node.extra)}")
    return lines


def show_partition(state: State, notes: Notes, fields: Fields, uid: int) -> Iterator[bytes]:
    request = msgspec.convert(fields, ShowRequest)
    known = {partition.name: partition for partition in state.config.partitions}
    for name in request.names:
        if name not in known:
            raise SlurmError(NOT_FOUND, f"Partition {name} not found")
    names = request.names or list(known)
    yield from pieces(_join(partition_lines(state, known[name]), request.oneliner) for name in names)


def partition_lines(state: State, partition: Partition) -> Lines:
    nodes = [node for name, node in state.nodes.items() if not partition.nodes or name in partition.nodes]
    total: dict[str, int] = {}
    for node in nodes:
        for name, count in node_facts.configured_tres(node).items():
            total[name] = total.get(name, 0) + count
    total["node"] = len(nodes)
    default = format_duration(partition.default_time_s) if partition.default_time_s else "NONE"
    limit = format_duration(partition.max_time_s) if partition.max_time_s else "UNLIMITED"
    memory = f"DefMemPerCPU={partition.def_mem_per_cpu_mib}" if partition.def_mem_per_cpu_mib else "DefMemPerNode=UNLIMITED"
    if partition.def_mem_per_node_mib:
        memory = f"DefMemPerNode={partition.def_mem_per_node_mib}"
    most = f"MaxMemPerCPU={partition.max_mem_per_cpu_mib}" if partition.max_mem_per_cpu_mib else "MaxMemPerNode=UNLIMITED"
    if partition.max_mem_per_node_mib:
        most = f"MaxMemPerNode={partition.max_mem_per_node_mib}"
    return [
        f"PartitionName={partition.name}",
        f"AllowGroups={','.join(partition.allow_groups) or 'ALL'} AllowAccounts={','.join(partition.allow_accounts) or 'ALL'} AllowQos=ALL",
        f"AllocNodes=ALL Default={'YES' if partition.default else 'NO'} QoS=N/A",
        f"DefaultTime={default} DisableRootJobs=NO ExclusiveUser=NO ExclusiveTopo=NO GraceTime=0 Hidden=NO",
        f"MaxNodes={partition.max_nodes or 'UNLIMITED'} MaxTime={limit} MinNodes={partition.min_nodes} LLN=NO "
        "MaxCPUsPerNode=UNLIMITED MaxCPUsPerSocket=UNLIMITED",
        f"Nodes={hostlist.compress([node.name for node in nodes]) or '(null)'}",
        f"PriorityJobFactor=1 PriorityTier={partition.priority_tier} RootOnly=NO ReqResv=NO OverSubscribe=NO",
        f"OverTimeLimit=NONE PreemptMode={partition.preempt_mode}",
        f"State={partition.state} TotalCPUs={sum([node.cpus for node in nodes])} TotalNodes={len(nodes)} SelectTypeParameters=NONE",
        "JobDefaults=(null)",
        f"{memory} {most}",
        f"TRES={format_tres(total) if nodes else '(null)'}",
    ]


def show_step(state: State, notes: Notes, fields: Fields, uid: int) -> Iterator[bytes]:
    request = msgspec.convert(fields, ShowRequest)
    try:
        rows = yield from running_steps(state, QueueRequest(steps=True, step_ids=request.names))
    except SlurmError:
        if request.names:
            raise
        rows = []
    if request.names and not rows:
        raise SlurmError(NOT_FOUND, f"Job step {request.names[0]} not found")
    if not rows:
        yield b"No job steps in the system\n"
    rows.sort(key=lambda row: (row[1].id, row[0].step_id))
    yield from pieces(_join(step_lines(step, job), request.oneliner) for step, job in rows)


def step_lines(step: Step, job: Job) -> Lines:
    cpus = sum([alloc.cpus for alloc in step.allocs])
    tres = facts.tres_text(facts.allocated_tres(step.allocs, billing=False))
    return [
        f"StepId={facts.step_id_text(_job_name(job), step.step_id)} UserId={job.spec.uid} StartTime={marked_time(step.start_ms)} "
        "TimeLimit=UNLIMITED",
        f"State={states.job_state(step.state)} Partition={facts.partition_text(job)} NodeList={facts.nodes_of(step.allocs)}",
        f"Nodes={len(step.allocs)} CPUs={cpus} Tasks={step.ntasks} Name={clean(step.name)} Network=(null)",
        f"TRES={tres or '(null)'}",
        "ResvPorts=(null)",
        "CPUFreqReq=Default Dist=Block",
    ] + ([f"SubmitLine={clean(step.submit_line)}"] if step.submit_line else [])


def _job_name(job: Job) -> str:
    return f"{job.array_job_id}_{job.array_task_id}" if job.array_task_id != NO_TASK else str(job.id)


def show_config(state: State, notes: Notes, fields: Fields, uid: int) -> Iterator[bytes]:
    names = msgspec.convert(fields, ShowRequest).names
    if names:
        raise SpecError(f"show config takes no name: {names[0][:64]}")
    yield config_text(state.config, notes.now_ms).encode("utf-8", "surrogateescape")


def config_text(config: ClusterConfig, now_ms: int) -> str:
    lines = [f"Configuration data as of {marked_time(now_ms)}"]
    lines += [f"{name:<23} = {clean(value) or '(null)'}" for name, value in sorted(config.shown.items(), key=lambda item: item[0].lower())]
    return "\n".join(lines) + "\n"
