"""The one table of configuration parameters: Slurm's names, types and defaults, when a change takes effect, and what Penstock does.

Further tables hold the keys of node and partition lines and of the companion files, and the words of SchedulerParameters. A name that is in
no table is an error, with the nearest known name. A parameter is *honoured* (its value changes what happens) or *inert*: it is read and
checked, shown by `scontrol show config`, and reported once with the reason why it does nothing here. An inert parameter whose value asks
for what happens anyway (`agrees`, or the default) is not reported.

Guarantees: `convert` returns the Python value of a text or raises SpecError; names are found in any case.
Assumes nothing about files: reading them is `penstock.config.reader`.
"""

from __future__ import annotations

from difflib import get_close_matches

from penstock.spec.arrays import MAX_INDEX
from penstock.spec.errors import SpecError
from penstock.spec.gres import parse_node_gres, parse_tres
from penstock.spec.jobids import MAX_JOB_ID
from penstock.spec.licenses import parse as parse_licenses
from penstock.spec.quantities import parse_int, parse_memory
from penstock.spec.times import parse_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Value = str | int | bool | tuple[str, ...] | None

# Types: what `convert` makes of the text.
STRING = "string"  # str
INT = "integer"  # int, 0 to 2^32 - 1
COUNT = "count"  # int, or None for UNLIMITED and INFINITE
BOOL = "boolean"  # yes/no, true/false, 1/0, up/down
MIB = "memory"  # int MiB, or None for UNLIMITED
SECONDS = "seconds"  # int, or None for INFINITE and -1
MINUTES = "minutes"  # whole minutes in the file, seconds as a value, or None for UNLIMITED
DURATION = "duration"  # a time such as 7-0, seconds as a value, or None for INFINITE
LIST = "list"  # tuple of words
GRES = "gres"  # str, checked
TRES = "tres"  # str, checked
LICENSES = "licenses"  # str, checked

# When a change takes effect.
RELOAD = "reload"  # scontrol reconfigure
RESTART = "restart"  # the next start of the controller
FIXED = "fixed"  # only before the cluster's first start

# Why a parameter does nothing.
HERE = "Penstock keeps its sockets, logs and state in the cluster's directory"
AGAIN = "given before; the last value counts"
OWN = "Penstock has one built-in implementation"
LATER = "not supported by this version"
MOVES = "only REQUEUE means something here: jobs that `penstock consolidate` may move"
TUNING = "it tunes a mechanism of Slurm's that Penstock does not have"

MAX_INT = 0xFFFF_FFFF
WEIGHT_MOST = MAX_INT
"""Of a node's Weight, in the file and by scontrol."""
CPUS_MOST = 0xFFFF
"""Of a node, as in Slurm, which counts them with 16 bits."""
MIB_MOST = 1 << 31
"""The largest amount that the planner reckons with."""
LIMIT_MOST_S = 60 * MAX_INT
"""Slurm counts limits in minutes with 32 bits."""
BOUNDS: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(("CPUs", "Procs", "Boards", "Sockets", "SocketsPerBoard", "CoresPerSocket", "ThreadsPerCore"), (1, CPUS_MOST)),
    **dict.fromkeys(("DefMemPerCPU", "DefMemPerNode", "DefMemPerGPU", "MaxMemPerCPU", "MaxMemPerNode", "TmpDisk"), (0, MIB_MOST)),
    **dict.fromkeys(("MaxTime", "DefaultTime"), (1, LIMIT_MOST_S)),
    "RealMemory": (1, MIB_MOST),
    "DefCpuPerGPU": (0, CPUS_MOST),
    "PriorityTier": (0, 0xFFFF),
    "MaxNodes": (1, MAX_INT),
    "FirstJobId": (1, MAX_JOB_ID),
    "MaxArraySize": (0, MAX_INDEX + 1),
}
"""What of a numeric type is allowed for these; for the others all that the type takes."""


class Parameter:
    """One row: Slurm's name, the type, the default as it stands in a file ("" = not set), when a change counts, why it is inert ("" = it
    is honoured), and the values that agree with what happens anyway."""

    __slots__ = ("agrees", "default", "inert", "name", "reload", "type")

    def __init__(self, name: str, type: str, default: str, *, reload: str, inert: str, agrees: tuple[str, ...]) -> None:
        self.name = name
        self.type = type
        self.default = default
        self.reload = reload
        self.inert = inert
        self.agrees = agrees

    @property
    def honoured(self) -> bool:
        return not self.inert

    def value(self, text: str) -> Value:
        """The typed value; SpecError for what is none, or beyond BOUNDS."""
        value = convert(self.type, text, self.name)
        low, high = BOUNDS.get(self.name, (0, 0))
        if high and isinstance(value, int) and not low <= value <= high:
            if self.type == DURATION:
                low, high = -(-low // 60), high // 60
            unit = " minutes" if self.type == DURATION else " MiB" if self.type == MIB else ""
            raise SpecError(f"invalid {self.name}={text[:64]}: expected {low} to {high}{unit}")
        return value

    def default_value(self) -> Value:
        """The typed default; for a parameter that is not set None, "" or () by its type."""
        if self.default:
            return convert(self.type, self.default, self.name)
        return () if self.type == LIST else "" if self.type in (STRING, GRES, TRES, LICENSES) else None

    def is_silent(self, text: str) -> bool:
        """Whether this value needs no warning."""
        return self.honoured or text.strip().lower() in (self.default.lower(), *self.agrees)


def _table(rows: str, type: str, inert: str = "", reload: str = RELOAD) -> list[Parameter]:
    """Rows written as `Name[=default][|agreeing value...]`, blanks between."""
    made = []
    for row in rows.split():
        first, *agrees = row.split("|")
        name, _, default = first.partition("=")
        made.append(Parameter(name, type, default, reload=reload, inert=inert, agrees=tuple(map(str.lower, agrees))))
    return made


def _keyed(*groups: list[Parameter]) -> dict[str, Parameter]:
    table: dict[str, Parameter] = {}
    for group in groups:
        for row in group:
            assert row.name.lower() not in table, f"{row.name} has two rows"
            table[row.name.lower()] = row
    return table


SLURM_CONF: Mapping[str, Parameter] = _keyed(
    # Honoured.
    _table("ClusterName", STRING, reload=FIXED),
    _table("FirstJobId=1", INT, reload=FIXED),
    _table("MaxArraySize=1001 MaxJobCount=10000 MaxBatchRequeue=5 MaxStepCount=40000 MaxTasksPerNode=512 ReturnToService=0", INT),
    _table("JobFileAppend=0 JobRequeue=1 KillOnBadExit=0", BOOL),
    _table("InactiveLimit=0 KillWait=30 WaitTime=0 MinJobAge=300 SlurmdTimeout=300", SECONDS),
    _table("OverTimeLimit=0", MINUTES),
    _table("DefMemPerCPU=0 DefMemPerNode=0 DefMemPerGPU=0 MaxMemPerCPU=0 MaxMemPerNode=0", MIB),
    _table("DefCpuPerGPU=0", INT),
    _table("MailProg=/bin/mail", STRING),
    _table("SchedulerParameters", LIST),
    _table("Licenses", LICENSES),
    _table("GresTypes", LIST),
    _table("TopologyPlugin=topology/flat", STRING),
    # Inert, because something of Penstock's own does the work.
    _table("SlurmctldHost SlurmctldAddr ControlMachine ControlAddr BackupController BackupAddr", STRING, HERE, RESTART),
    _table("SlurmctldPort=6817 SlurmdPort=6818 SrunPortRange", STRING, HERE, RESTART),
    _table("StateSaveLocation=/var/spool SlurmdSpoolDir=/var/spool/slurmd TmpFS=/tmp", STRING, HERE, RESTART),
    _table("SlurmctldLogFile SlurmdLogFile SlurmSchedLogFile SlurmctldDebug=info SlurmdDebug=info LogTimeFormat=iso8601_ms", STRING, HERE),
    _table("SlurmctldPidFile SlurmdPidFile SlurmctldSyslogDebug SlurmdSyslogDebug DebugFlags", STRING, HERE),
    _table("SlurmSchedLogLevel=0", INT, HERE),
    _table("SlurmUser=root SlurmdUser=root", STRING, "the daemons run as whoever starts them", RESTART),
    _table("AuthType=auth/munge AuthAltTypes AuthAltParameters AuthInfo CredType=cred/munge CryptoType", STRING, OWN, RESTART),
    _table(
        "AccountingStorageType=accounting_storage/none|accounting_storage/slurmdbd AccountingStorageHost=localhost", STRING, OWN, RESTART
    ),
    _table("AccountingStorageBackupHost AccountingStorageExternalHost AccountingStorageLoc AccountingStoragePass", STRING, OWN, RESTART),
    _table("AccountingStorageUser AccountingStoragePort AccountingStorageParameters AccountingStoreJobComment", STRING, OWN, RESTART),
    _table("SchedulerType=sched/backfill", STRING, OWN, RESTART),
    _table("SelectType=select/cons_tres|select/cons_res SelectTypeParameters=CR_Core_Memory|cr_cpu_memory", STRING, OWN, RESTART),
    _table("ProctrackType=proctrack/cgroup|proctrack/linuxproc|proctrack/pgid", STRING, OWN, RESTART),
    _table("TaskPlugin=task/cgroup,task/affinity|task/cgroup|task/none|task/affinity TaskPluginParam", STRING, OWN, RESTART),
    _table("JobAcctGatherType=jobacct_gather/cgroup|jobacct_gather/linux|jobacct_gather/none JobAcctGatherParams", STRING, OWN, RESTART),
    _table("JobAcctGatherFrequency=task=30|30", STRING, OWN),
    _table("MpiDefault=none SwitchType=switch/none", STRING, OWN, RESTART),
    _table("PreemptMode=OFF|REQUEUE", STRING, MOVES),
    _table("JobCompType=jobcomp/none PreemptType=preempt/none", STRING, LATER, RESTART),
    _table("PriorityType=priority/multifactor|priority/basic", STRING, OWN, RESTART),
    _table("JobContainerType NamespaceType", STRING, LATER, RESTART),
    # Inert, because the feature is not there yet.
    _table("AccountingStorageEnforce=none AccountingStorageTRES AccountingStoreFlags", LIST, LATER),
    _table("EnforcePartLimits=NO", STRING, LATER),
    _table("MaxJobId=67043327 MaxNodeCount=0 MaxDBDMsgs=0", INT, LATER),
    _table("PriorityWeightAge=0 PriorityWeightAssoc=0 PriorityWeightFairshare=0 PriorityWeightJobSize=0", INT, LATER),
    _table("PriorityWeightPartition=0 PriorityWeightQOS=0", INT, LATER),
    _table("PriorityWeightTRES PrioritySiteFactorParameters PrioritySiteFactorPlugin PriorityParameters", STRING, LATER),
    _table("PriorityDecayHalfLife=7-0 PriorityCalcPeriod=5 PriorityMaxAge=7-0", DURATION, LATER),
    _table("PriorityUsageResetPeriod=NONE PriorityFlags", STRING, LATER),
    _table("PriorityFavorSmall=NO", BOOL, LATER),
    _table("PreemptExemptTime=00:00:00", DURATION, LATER),
    _table("PreemptParameters", LIST, LATER),
    _table(
        "Prolog Epilog PrologSlurmctld EpilogSlurmctld TaskProlog TaskEpilog SrunProlog SrunEpilog ResvProlog ResvEpilog", STRING, LATER
    ),
    _table("PrologFlags=none|alloc|contain", STRING, LATER),
    _table("PrologEpilogTimeout=65534 PrologTimeout=65534 EpilogTimeout=65534", SECONDS, LATER),
    _table("HealthCheckProgram HealthCheckNodeState=ANY", STRING, LATER),
    _table("HealthCheckInterval=0 HealthCheckTimeout=60", SECONDS, LATER),
    _table("SlurmctldParameters SlurmdParameters LaunchParameters ReconfigFlags DependencyParameters ScronParameters", LIST, LATER),
    _table("PrivateData=none", LIST, LATER),
    _table("PropagateResourceLimits=ALL PropagateResourceLimitsExcept", LIST, LATER),
    _table("JobSubmitPlugins CliFilterPlugins PlugStackConfig UnkillableStepProgram RebootProgram", STRING, LATER),
    _table("UnkillableStepTimeout=60 BatchStartTimeout=10 CompleteWait=0 SlurmctldTimeout=120 MessageTimeout=10", SECONDS, TUNING),
    _table("SuspendProgram ResumeProgram ResumeFailProgram SuspendExcNodes SuspendExcParts SuspendExcStates PowerAction", STRING, LATER),
    _table("SuspendRate=60 ResumeRate=300", INT, LATER),
    _table("SuspendTime=INFINITE|-1 SuspendTimeout=30 ResumeTimeout=60", SECONDS, LATER),
    _table("TopologyParam SwitchParameters LicenseParameters MailDomain RequeueExit RequeueExitHold", STRING, LATER),
    _table("JobCompHost JobCompLoc JobCompParams JobCompPass JobCompUser JobCompPort JobCompPassScript", STRING, LATER),
    _table("MetricsType MetricsAuthUsers MetricsParameters", STRING, LATER),
    _table(
        "AcctGatherEnergyType AcctGatherProfileType AcctGatherInterconnectType AcctGatherFilesystemType AcctGatherInfinibandType",
        STRING,
        LATER,
    ),
    _table("AcctGatherNodeFreq=0", SECONDS, LATER),
    _table("TLSType TLSParameters CertmgrType CertmgrParameters CertgenType CertgenParameters", STRING, LATER),
    _table("SlurmctldPrimaryOnProg SlurmctldPrimaryOffProg InteractiveStepOptions SallocDefaultCommand GpuFreqDef", STRING, LATER),
    _table("ResvOverRun=0", MINUTES, LATER),
    _table("TrackWCKey=NO DisableRootJobs=NO", BOOL, LATER),
    _table("RestrictedCoresPerGPU=0", INT, LATER),
    # Inert: known names of Slurm's that mean nothing here.
    _table("BcastParameters BcastExclude SbcastParameters BurstBufferType BurstBufferParameters CommunicationParameters", STRING, TUNING),
    _table("CpuFreqDef CpuFreqGovernors CoreSpecPlugin FederationParameters HashPlugin HttpParserType UrlParserType", STRING, TUNING),
    _table(
        "MCSParameters MCSPlugin MpiParams NodeFeaturesPlugins PluginDir PrEpParameters PrEpPlugins RoutePlugin RoutePart", STRING, TUNING
    ),
    _table(
        "SerializerParameters SerializerType SlurmrestdParameters SlurmstepdParameters SlurmctldPlugstack X11Parameters", STRING, TUNING
    ),
    _table("PowerParameters PowerPlugin ExtSensorsType LaunchType SchedulerAuth DataParserParameters", STRING, TUNING),
    _table("JobCredentialPrivateKey JobCredentialPublicCertificate", STRING, TUNING),
    _table("EioTimeout=60 EpilogMsgTime=2000 ExtSensorsFreq=0 FastSchedule=1 FairShareDampeningFactor=1 GetEnvTimeout=2", INT, TUNING),
    _table("GroupUpdateForce=1 GroupUpdateTime=600 KeepAliveTime=0 PropagatePrioProcess=0 SchedulerTimeSlice=30", INT, TUNING),
    _table("TCPTimeout=2 TreeWidth=16 VSizeFactor=0", INT, TUNING),
    _table("AllowSpecResourcesUsage=NO UsePAM=NO", BOOL, TUNING),
)

NODE_LINE: Mapping[str, Parameter] = _keyed(
    _table("NodeName NodeAddr NodeHostname State=UNKNOWN Reason", STRING),
    _table("CPUs=0 Boards=0 Sockets=0 SocketsPerBoard=0 CoresPerSocket=0 ThreadsPerCore=0 Weight=1", INT),
    _table("RealMemory=1 TmpDisk=0", MIB),
    _table("MemSpecLimit=0", MIB, LATER),
    _table("Features Feature", LIST),
    _table("Gres", GRES),
    _table("Procs=0", INT),
    _table("Port BcastAddr Arch OS", STRING, HERE),
    _table("CpuBind CpuSpecList Parameters Topology CertToken InstanceId InstanceType Comment Extra", STRING, LATER),
    _table("CoreSpecCount=0 RestrictedCoresPerGPU=0", INT, LATER),
    _table("SuspendTime=INFINITE", SECONDS, LATER),
)

PARTITION_LINE: Mapping[str, Parameter] = _keyed(
    _table("PartitionName Nodes State=UP Topology", STRING),
    _table("Default=NO", BOOL),
    _table("MaxTime=UNLIMITED DefaultTime=NONE", DURATION),
    _table("PriorityTier=1", INT),
    _table("MaxNodes=UNLIMITED", COUNT),
    _table("DefMemPerCPU=0 DefMemPerNode=0 DefMemPerGPU=0 MaxMemPerCPU=0 MaxMemPerNode=0", MIB),
    _table("DefCpuPerGPU=0", INT),
    _table("AllowGroups=ALL AllowAccounts=ALL", LIST),
    _table("PreemptMode=OFF|REQUEUE", STRING, MOVES),
    _table("AllowQos=ALL DenyAccounts DenyQos AllocNodes=ALL", LIST, LATER),
    _table("Priority PriorityJobFactor=1 MinNodes=0", INT, LATER),
    _table("MaxCPUsPerNode=UNLIMITED MaxCPUsPerSocket=UNLIMITED", COUNT, LATER),
    _table("OverSubscribe=NO Shared=NO Exclusive=NO QOS=N/A Alternate CpuBind SelectTypeParameters=NONE", STRING, LATER),
    _table("Hidden=NO RootOnly=NO DisableRootJobs=NO ReqResv=NO LLN=NO ExclusiveUser=NO ExclusiveTopo=NO PowerDownOnIdle=NO", BOOL, LATER),
    _table("GraceTime=0 SuspendTime=INFINITE SuspendTimeout=30 ResumeTimeout=60", SECONDS, LATER),
    _table("OverTimeLimit=0", MINUTES, LATER),
    _table("TRESBillingWeights JobDefaults", STRING, LATER),
)

DOWN_LINE: Mapping[str, Parameter] = _keyed(_table("DownNodes State=DOWN Reason", STRING))
NODE_SET_LINE: Mapping[str, Parameter] = _keyed(_table("NodeSet Feature Nodes", STRING))

GRES_CONF: Mapping[str, Parameter] = _keyed(
    _table("Name Type Count File MultipleFiles NodeName", STRING),
    _table("AutoDetect=off|nvml|nvidia|full", STRING, "the agent detects GPUs by itself"),
    _table("Cores CPUs Flags Links", STRING, LATER),
)

CGROUP_CONF: Mapping[str, Parameter] = _keyed(
    _table("CgroupMountpoint=/sys/fs/cgroup CgroupPlugin=autodetect|cgroup/v1|cgroup/v2", STRING, OWN),
    _table("ConstrainCores=NO ConstrainDevices=NO ConstrainRAMSpace=NO|yes ConstrainSwapSpace=NO", BOOL, OWN),
    _table("AllowedRAMSpace=100 AllowedSwapSpace=0 MaxRAMPercent=100 MaxSwapPercent=100 MinRAMSpace=30 MemorySwappiness", STRING, LATER),
    _table("CgroupAutomount=NO EnableControllers=NO IgnoreSystemd=NO IgnoreSystemdOnFailure=NO SignalChildrenProcesses=NO", BOOL, OWN),
    _table("AllowedKmemSpace ConstrainKmemSpace MaxKmemPercent MinKmemSpace TaskAffinity AllowedDevicesFile", STRING, TUNING),
    _table("CgroupReleaseAgentDir CgroupSlice CgroupJobIdPaths SystemdTimeout EnableExtraControllers", STRING, TUNING),
)

# The words of SchedulerParameters. Honoured ones first; what follows only tunes Slurm's passes, which Penstock does not make.
SCORE_PREFIX = "score_"
SCORES = ("best_fit", "fragmentation", "remainders", "scarce_types", "stranding", "whole_nodes")
"""Placement scores, each with a weight in per cent: a word of ours, for which Slurm has none."""
SCORE_MOST = 1000
SCHEDULER_NUMBERS = {
    "requeue_delay": (0, MAX_INT),
    "max_switch_wait": (0, MAX_INT),
    "bf_window": (1, 43_200),
    "bf_resolution": (1, 3_600),
    "bf_max_job_test": (1, 1_000_000),
    "bf_max_job_user": (0, 1_000_000),
    "bf_max_job_part": (0, 1_000_000),
    "bf_reservations": (0, 1_000_000),
    **{SCORE_PREFIX + name: (0, SCORE_MOST) for name in SCORES},
}
"""Honoured words that have a number, and what is allowed: slurm.conf(5), but for the scores and bf_reservations, which are Penstock's own
(Slurm reads over them). bf_reservations is how many of the blocked jobs of each partition get a reservation: 1 is EASY, more is towards
conservative backfill. What is not set has no bound here: the window is endless, the grid a second, the whole queue is looked at."""
SCHEDULER_HONOURED = ("kill_invalid_depend", *SCHEDULER_NUMBERS)
SCHEDULER_AGREES = ("bf_continue",)
"""Words that ask for what happens anyway."""
_INERT_WORDS = """
allow_zero_lic assoc_limit_stop batch_sched_delay bb_array_stage_cnt bf_allow_magnetic_slot bf_busy_nodes
bf_hetjob_immediate bf_hetjob_prio bf_interval bf_job_part_count_reserve bf_licenses bf_max_job_array_resv bf_max_job_assoc
bf_max_job_start bf_max_job_user_part bf_max_time bf_min_age_reserve bf_min_prio_reserve
bf_node_space_size bf_one_resv_per_job bf_running_job_reserve bf_topopt_enable bf_topopt_iterations
bf_window_linear bf_yield_interval bf_yield_rpc_cnt bf_yield_sleep build_queue_timeout correspond_after_task_cnt cpu_bind_default
default_gbytes default_queue_depth defer defer_batch delay_boot disable_hetjob_steps disable_job_shrink disable_user_top
enable_expedited_requeue enable_hetjob_steps enable_job_state_cache enable_user_top extra_constraints hetjob_immediate
ignore_constraint_validation ignore_numa ignore_prefer_validation inventory_interval max_array_tasks max_depend_depth max_rpc_cnt
max_sched_time max_script_size max_submit_line_size no_backup_scheduling nohold_on_prolog_fail pack_serial_at_end
partition_job_depth preempt_reorder_count preempt_send_user_signal preempt_strict_order preempt_youngest_first reduce_completing_frag
salloc_wait_nodes sbatch_wait_nodes sched_interval sched_max_job_start sched_min_interval spec_cores_first step_retry_count
step_retry_time time_min_as_soft_limit whole_hetjob whole_pack
"""
SCHEDULER_INERT = tuple(_INERT_WORDS.split())


def convert(type: str, text: str, name: str) -> Value:
    """The typed value of a text; SpecError names the parameter and what is allowed."""
    text = text.strip()
    upper = text.upper()
    if type in (STRING, GRES, TRES, LICENSES):
        if type == LICENSES and text:
            found, _ = parse_licenses(text, name)
            if len(found) < len([word for word in text.replace(";", ",").split(",") if word]):
                raise SpecError(f"invalid {name}={text[:64]}: each licence once, with a count of 1 or more")
        if type == GRES and text:
            parse_node_gres(text, name)
        if type == TRES and text:
            parse_tres(text)
        return text
    if type == LIST:
        return tuple(word.strip() for word in text.split(",") if word.strip())
    if type == BOOL:
        if upper in ("YES", "TRUE", "1", "UP", "Y", "T"):
            return True
        if upper in ("NO", "FALSE", "0", "DOWN", "N", "F"):
            return False
        raise SpecError(f"invalid {name}={text[:64]}: expected YES or NO")
    if upper in ("UNLIMITED", "INFINITE", "-1", "NONE") and type in (COUNT, MIB, SECONDS, MINUTES, DURATION):
        return None
    if type == MIB:
        return parse_memory(text, name)
    if type == MINUTES:
        return parse_int(text, name, 0, MAX_INT) * 60
    if type == DURATION:
        return parse_duration(text, name)
    return parse_int(text, name, 0, MAX_INT)


def find(table: Mapping[str, Parameter], name: str, more: Iterable[str] = ()) -> Parameter:
    """The row of a name in any case; SpecError with the nearest known name. `more` are names that are known elsewhere."""
    row = table.get(name.lower())
    if row is None:
        raise SpecError(f"unknown parameter {name[:64]!r}{nearest(name, [*(known.name for known in table.values()), *more])}")
    return row


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean MaxArraySize?)`, or nothing when no name is near."""
    by_lower = {word.lower(): word for word in known}
    close = get_close_matches(name.lower()[:64], by_lower, 1, 0.6)
    return f" (did you mean {by_lower[close[0]]}?)" if close else ""
