"""From merged options to the submit request: the contract between the commands and the engine.

The request is one flat object of text, integers, booleans and lists of text. An absent key was not given; the controller fills in the
defaults. The decoded twin is `penstock.engine.request.SubmitRequest`: same keys, same types, a test holds them together.

key                 type   meaning and unit
------------------  -----  -----------------------------------------------------------------------------------------------------------------
name                text   job name: --job-name, else the script's base name, `sbatch` (stdin), `wrap`, or the command of salloc/srun
partition           text   comma list, as typed
account qos wckey reservation comment constraint
                    text   as typed; recorded and shown, validated by the controller where it can
nodes_min           int    1 or more; `-N 2` gives min and max, `-N 2-4` both, absent means "as many as the tasks need"
nodes_max           int    not below nodes_min
ntasks              int    1 or more
cpus_per_task       int    1 or more
ntasks_per_node     int    1 or more; with ntasks it is a maximum
mem_per_node_mib    int    MiB a node, 0 = all memory of the node; excludes mem_per_cpu_mib
mem_per_cpu_mib     int    MiB a CPU, 0 = no limit is asked for
gres                list   per node: `name:count` or `name:type:count`, count decimal (suffixes k m g t p are expanded)
gpus                list   of the job: `gpu:count` or `gpu:type:count`
gpus_per_node       list   same form, per node
gpus_per_task       list   same form, per task (ntasks or gpus is given too)
exclusive           bool   whole nodes
oversubscribe       bool   --oversubscribe was given: recorded and shown
nodelist exclude    text   hostlists, as typed (files are read by the command); syntax checked, bounded
time_limit_s        int    seconds, a multiple of 60 (rounded up); 0 = unlimited asked for; absent = the partition's default
time_min_s          int    same form
begin_s             int    epoch seconds
hold                bool   priority 0
nice                int    added to the niceness (--nice without a value: 100)
dependency          text   as typed, syntax checked; who and when are judged by the controller
kill_on_invalid_dep bool   yes/no
array               text   as typed, e.g. `0-9:2%4`; syntax checked, MaxArraySize is judged by the controller
requeue             bool   --requeue / --no-requeue; absent = JobRequeue of the configuration
signal_number       int    --signal: 1 to 64
signal_lead_s       int    seconds before the end, 60 if not typed
signal_batch        bool   `B:` only the batch shell; absent = only the steps
signal_reservation  bool   `R:` also when a reservation is about to overlap
immediate_s         int    salloc, srun: give up unless allocated in that many seconds (--immediate without a value: 1)
interactive         bool   salloc, srun: no script; the allocation ends with the connection
std_out std_err std_in
                    text   patterns as typed, relative to work_dir; absent = slurm-%j.out (slurm-%A_%a.out), the same, /dev/null
open_mode           text   `append` or `truncate`; absent = JobFileAppend of the configuration
work_dir            text   absolute
command             text   absolute path of the script (shown as Command=), absent for stdin and --wrap
argv                list   arguments of the script, without the script itself
mail_type           list   canonical names, e.g. BEGIN END FAIL TIME_LIMIT_80 ARRAY_TASKS; ALL is expanded, NONE is an empty request
mail_user           text   absent = the submitting user
export              text   `ALL` (also when absent), `NONE`, `NIL` or the list as typed: shown as SLURM_EXPORT_ENV. The environment section
                           of the frame is already filtered by it.
get_user_env        bool   the node adds the user's login environment under the sent one (also set for --export=NONE and lists without ALL)
submit_line         text   the command line as typed
alloc_node          text   host name of the submitting machine
alloc_sid           int    session id of the submitting shell
umask               int    of the submitter
rlimits             list   `NAME=soft` with NAME of RLIMIT_NAMES and soft a decimal or `unlimited`; only those that are to be propagated

Frame sections of op `submit`: script bytes (empty for interactive requests), environment (`NAME=value` joined by NUL, raw bytes).

Guarantees: every number is checked against a named bound before it is sent; `InvalidOption` carries Slurm's words and exit status.
Assumes: `options.collect` merged the sources already. Only what was given is looked at, and a grammar is imported only if it is needed.
"""

from __future__ import annotations

COUNT_MAX = 2**31 - 3
"""Largest count of nodes, tasks, CPUs or devices (Slurm's INT_MAX less the two reserved values)."""
MEMORY_MAX_MIB = 2**43
"""8 EiB: a larger memory request is a mistake."""
TIME_MAX_S = 60 * (2**31 - 3)
"""Largest time limit, 4,085 years; more is written UNLIMITED."""
NICE_MAX = 2147483645
SIGNAL_LEAD_MAX_S = 65535
STRING_MAX_BYTES = 1 << 20
"""Longest text of a request: Slurm's limit of the submit line."""
ITEMS_MAX = 65536
"""Longest list of a request (arguments of a script)."""
RLIMIT_NAMES = ("CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS")
