"""Every view command in the shapes that scripts parse, compared with golden files: headers, widths, order, words."""

from __future__ import annotations

import json
import shlex

import pytest

from penstock.cli import sacct, scontrol, sinfo, squeue, sstat

COMMANDS = {"squeue": squeue.main, "sinfo": sinfo.main, "sacct": sacct.main, "scontrol": scontrol.main, "sstat": sstat.main}

FORMS = {
    "squeue": "squeue",
    "squeue_long": "squeue -l",
    "squeue_all_states": "squeue -t all",
    "squeue_array": "squeue -r",
    "squeue_steps": "squeue -s",
    "squeue_start": "squeue --start",
    "squeue_letters": "squeue -t all -o '%i|%.5T|%Q|%C|%b|%m|%l|%L|%e|%S|%E|%u'",
    "squeue_all_letters": "squeue -o %all",
    "squeue_long_names": "squeue -O jobid,name:4,state:.9,tres-alloc:60,StdOut",
    "squeue_all_names": "squeue -O all -t all",
    "squeue_noheader_sorted": "squeue -h -S -i -o %i",
    "squeue_only_state": "squeue --only-job-state",
    "sinfo": "sinfo",
    "sinfo_long": "sinfo -l",
    "sinfo_summary": "sinfo -s",
    "sinfo_nodes": "sinfo -N",
    "sinfo_nodes_long": "sinfo -Nl",
    "sinfo_reasons": "sinfo -R",
    "sinfo_reasons_long": "sinfo -lR",
    "sinfo_idle": "sinfo -t idle",
    "sinfo_drain": "sinfo -t drain -N -h",
    "sinfo_one_node": "sinfo -n n1 -p main",
    "sinfo_letters": "sinfo -o '%n %G %C %O %e %t %T %m %c'",
    "sinfo_exact": "sinfo -e -o '%N %c %m %e'",
    "sinfo_gres": "sinfo -O nodelist,gres,gresused,statecomplete",
    "sinfo_all": "sinfo -o %all",
    "sacct": "sacct",
    "sacct_allocations": "sacct -X",
    "sacct_brief": "sacct -b",
    "sacct_long": "sacct -lP",
    "sacct_all_fields": "sacct -P -o ALL -S 2025-12-31",
    "sacct_widths": "sacct -o 'jobid%20,jobname%-5,state%4,elapsed' -j 2,9",
    "sacct_parsable": "sacct -p -o jobid,state -j 1,5_1",
    "sacct_delimiter": "sacct -nP --delimiter=; -o jobid,exitcode -j 1,6,11,12,13",
    "sacct_usage": (
        "sacct -P -j 1,2,6,11,12 -o JobID,State,ExitCode,DerivedExitCode,Elapsed,TotalCPU,UserCPU,SystemCPU,AveCPU,MaxRSS,"
        "ReqTRES,AllocTRES,ReqMem,NodeList,Submit,Start,End"
    ),
    "sacct_submitit": "sacct -o JobID,State,NodeList --parsable2 -j 1 -j 5",
    "sacct_array_part": "sacct -P -o jobid,state -j 5_[1,7]",
    "sacct_one_step": "sacct -nP -o jobid,state -j 1.batch,2.0",
    "sacct_state": "sacct -nX -s CD,F -S 2026-01-01 -E now -o jobid,state",
    "sacct_units": "sacct -nP -j 1 -o jobid,maxrss,reqmem --units=M",
    "scontrol_job": "scontrol show job 2",
    "scontrol_job_details": "scontrol -d show job 2",
    "scontrol_job_oneliner": "scontrol -o show job",
    "scontrol_job_array": "scontrol show JOBID=5",
    "scontrol_job_task": "scontrol sho job 5_10",
    "scontrol_licenses": "scontrol show licenses",
    "scontrol_licenses_oneliner": "scontrol -o show lic matlab",
    "scontrol_node": "scontrol show node n1",
    "scontrol_node_details": "scontrol -d show node n[2,4]",
    "scontrol_node_oneliner": "scontrol -o show nodes",
    "scontrol_partition": "scontrol show part",
    "scontrol_step": "scontrol show step",
    "scontrol_config": "scontrol show config",
    "sstat": "sstat -P -j 2",
    "sstat_fields": "sstat -j 2.0 -a -o jobid,maxrss,maxrssnode,avecpu,mincpu,ntasks,alloctres%40",
    "sstat_pids": "sstat -i 2",
}


@pytest.mark.parametrize("name", FORMS)
def test_output(name: str, cluster, golden, capfdbinary) -> None:
    cluster.answers["ping"] = "Slurmctld(primary) at box is UP\n"
    program, *arguments = shlex.split(FORMS[name])
    status = COMMANDS[program](arguments)
    out, err = capfdbinary.readouterr()
    golden(name, f"$ {FORMS[name]}\n{out.decode()}{err.decode()}status {status}\n")


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("squeue --json", "jobs"),
        ("sinfo --json", "nodes"),
        ("sacct --json -S 2025-12-31", "jobs"),
        ("scontrol show job 2 --json", "jobs"),
        ("scontrol show node --json", "nodes"),
        ("scontrol show partition --json", "partitions"),
    ],
)
def test_json(command: str, key: str, cluster, golden, capfdbinary) -> None:
    program, *arguments = shlex.split(command)
    assert COMMANDS[program](arguments) == 0
    document = json.loads(capfdbinary.readouterr().out)
    assert document["errors"] == []
    assert document["meta"]["slurm"]["cluster"] == "lab"
    golden("json_" + "_".join(command.replace("--", "").split()), json.dumps(document[key], indent=1) + "\n")
