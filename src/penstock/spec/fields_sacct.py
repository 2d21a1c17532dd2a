"""What sacct and sstat can show: name, header and width of every field (slurm.md C.14), and the default sets of C.1.

A negative width is left-justified. The key is the header in lower case. Fields that Slurm has and a Penstock cluster has no value for
(energy, block ids, CPU frequency...) are empty, as they are in a Slurm without those plug-ins.

Guarantees: DEFAULT, BRIEF and LONG name fields of the table. Assumes nothing; imported by the commands and by the views.
"""

from __future__ import annotations

WIDTHS = {
    "Account": 10,
    "AdminComment": 15,
    "AllocCPUS": 10,
    "AllocNodes": 10,
    "AllocTRES": 10,
    "AssocID": 7,
    "AveCPU": 10,
    "AveCPUFreq": 10,
    "AveDiskRead": 14,
    "AveDiskWrite": 14,
    "AvePages": 10,
    "AveRSS": 10,
    "AveVMSize": 10,
    "BlockID": 16,
    "Cluster": 10,
    "Comment": 14,
    "Constraints": 19,
    "ConsumedEnergy": 14,
    "ConsumedEnergyRaw": 17,
    "Container": 19,
    "CPUTime": 10,
    "CPUTimeRAW": 10,
    "DBIndex": -21,
    "DerivedExitCode": 15,
    "Elapsed": 10,
    "ElapsedRaw": 10,
    "Eligible": 19,
    "End": 19,
    "Exclusive": 14,
    "ExitCode": 8,
    "Extra": 14,
    "FailedNode": 8,
    "Flags": 19,
    "GID": 6,
    "Group": 9,
    "JobID": -12,
    "JobIDRaw": -12,
    "JobName": 10,
    "Layout": 9,
    "Licenses": 10,
    "MaxDiskRead": 12,
    "MaxDiskReadNode": 15,
    "MaxDiskReadTask": 15,
    "MaxDiskWrite": 12,
    "MaxDiskWriteNode": 16,
    "MaxDiskWriteTask": 16,
    "MaxPages": 8,
    "MaxPagesNode": 12,
    "MaxPagesTask": 14,
    "MaxRSS": 10,
    "MaxRSSNode": 10,
    "MaxRSSTask": 10,
    "MaxVMSize": 10,
    "MaxVMSizeNode": 14,
    "MaxVMSizeTask": 14,
    "McsLabel": 12,
    "MinCPU": 10,
    "MinCPUNode": 10,
    "MinCPUTask": 10,
    "NCPUS": 10,
    "NNodes": 8,
    "NodeList": 15,
    "NTasks": 8,
    "OriginalSLUID": 14,
    "OverSubscribe": 14,
    "Partition": 10,
    "Planned": 10,
    "PlannedCPU": 10,
    "PlannedCPURAW": 13,
    "Priority": 10,
    "QOS": 10,
    "QOSRAW": 6,
    "QOSREQ": 10,
    "Reason": 22,
    "ReqCPUFreq": 10,
    "ReqCPUFreqGov": 13,
    "ReqCPUFreqMax": 13,
    "ReqCPUFreqMin": 13,
    "ReqCPUS": 8,
    "ReqMem": 10,
    "ReqNodes": 8,
    "ReqTRES": 10,
    "Reservation": 20,
    "ReservationId": 8,
    "ReqReservation": 20,
    "Restarts": 8,
    "SegmentSize": 11,
    "SLUID": 14,
    "Start": 19,
    "State": 10,
    "StdErr": 20,
    "StdIn": 20,
    "StdOut": 20,
    "Submit": 19,
    "SubmitLine": 20,
    "Suspended": 10,
    "SystemComment": 15,
    "SystemCPU": 10,
    "Timelimit": 10,
    "TimelimitRaw": 10,
    "TotalCPU": 10,
    "TRESUsageInAve": 14,
    "TRESUsageInMax": 14,
    "TRESUsageInMaxNode": 18,
    "TRESUsageInMaxTask": 18,
    "TRESUsageInMin": 14,
    "TRESUsageInMinNode": 18,
    "TRESUsageInMinTask": 18,
    "TRESUsageInTot": 14,
    "TRESUsageOutAve": 15,
    "TRESUsageOutMax": 15,
    "TRESUsageOutMaxNode": 19,
    "TRESUsageOutMaxTask": 19,
    "TRESUsageOutMin": 15,
    "TRESUsageOutMinNode": 19,
    "TRESUsageOutMinTask": 19,
    "TRESUsageOutTot": 15,
    "UID": 6,
    "User": 9,
    "UserCPU": 10,
    "WCKey": 10,
    "WCKeyID": 10,
    "WorkDir": 20,
}
"""In Slurm's order, which decides what an abbreviation means."""

FIELDS: dict[str, tuple[str, int]] = {name.lower(): (name, width) for name, width in WIDTHS.items()}
FIELDS |= {"reserved": ("Reserved", 10), "resvcpu": ("ResvCPU", 10), "resvcpuraw": ("ResvCPURAW", 10)}
"""Reserved and ResvCPU are the names of Planned and PlannedCPU before 23.02."""

TIME_FIELDS = frozenset(("eligible", "end", "start", "submit"))

DEFAULT = "jobid,jobname,partition,account,alloccpus,state,exitcode"
BRIEF = "jobid,state,exitcode"
LONG = (
    "jobid,jobidraw,jobname,partition,maxvmsize,maxvmsizenode,maxvmsizetask,avevmsize,maxrss,maxrssnode,maxrsstask,averss,"
    "maxpages,maxpagesnode,maxpagestask,avepages,mincpu,mincpunode,mincputask,avecpu,ntasks,alloccpus,elapsed,state,exitcode,"
    "avecpufreq,reqcpufreqmin,reqcpufreqmax,reqcpufreqgov,reqmem,consumedenergy,maxdiskread,maxdiskreadnode,maxdiskreadtask,"
    "avediskread,maxdiskwrite,maxdiskwritenode,maxdiskwritetask,avediskwrite,reqtres,alloctres,tresusageinave,tresusageinmax,"
    "tresusageinmaxnode,tresusageinmaxtask,tresusageinmin,tresusageinminnode,tresusageinmintask,tresusageintot,tresusageoutmax,"
    "tresusageoutmaxnode,tresusageoutmaxtask,tresusageoutave,tresusageouttot"
)

_STAT_TEXT = (
    "JobID AllocTRES MaxVMSize MaxVMSizeNode MaxVMSizeTask AveVMSize MaxRSS MaxRSSNode MaxRSSTask AveRSS MaxPages MaxPagesNode "
    "MaxPagesTask AvePages MinCPU MinCPUNode MinCPUTask AveCPU NTasks AveCPUFreq ReqCPUFreqMin ReqCPUFreqMax ReqCPUFreqGov "
    "ConsumedEnergy MaxDiskRead MaxDiskReadNode MaxDiskReadTask AveDiskRead MaxDiskWrite MaxDiskWriteNode MaxDiskWriteTask "
    "AveDiskWrite TRESUsageInAve TRESUsageInMax TRESUsageInMaxNode TRESUsageInMaxTask TRESUsageInMin TRESUsageInMinNode "
    "TRESUsageInMinTask TRESUsageInTot TRESUsageOutAve TRESUsageOutMax TRESUsageOutMaxNode TRESUsageOutMaxTask TRESUsageOutMin "
    "TRESUsageOutMinNode TRESUsageOutMinTask TRESUsageOutTot"
)
_STAT_NAMES = _STAT_TEXT.split()
STAT_DEFAULT = ",".join(_STAT_NAMES).lower()
STAT_PIDS = "jobid,nodelist,pids"
STAT_FIELDS: dict[str, tuple[str, int]] = {name.lower(): (name, WIDTHS[name]) for name in _STAT_NAMES}
STAT_FIELDS |= {
    "avediskread": ("AveDiskRead", 12),
    "avediskwrite": ("AveDiskWrite", 12),
    "consumedenergyraw": ("ConsumedEnergyRaw", 17),
    "nodelist": ("Nodelist", 20),
    "pids": ("Pids", 20),
    "reqcpufreq": ("ReqCPUFreq", 10),
    "sluid": ("SLUID", 14),
}
