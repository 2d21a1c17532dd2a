# Control. How these cases are read and run: ../script_cases.py

#### cancel a pending job
id=$(sbatch --parsable -H --wrap true); scancel $id; ended $id; sacct -n -P -j $id -o State,ExitCode; squeue -h -j $id -o '%T'

#### cancel a running job
mkfifo ready; id=$(sbatch --parsable -o out --wrap 'trap "echo TERM; exit 4" TERM; echo >ready; sleep 100 & wait')
read x <ready; scancel $id; after $id; ended $id; sacct -n -X -P -j $id -o State,ExitCode; sed -i '/^slurmstepd/d' out

#### signal to the batch script
mkfifo ready; id=$(sbatch --parsable -o out --wrap 'trap "echo USR1; exit 0" USR1; echo >ready; sleep 100 & wait')
read x <ready; scancel -b -s USR1 $id; after $id; ended $id; sacct -n -X -P -j $id -o State,ExitCode

#### signal to the steps
mkfifo ready; id=$(sbatch --parsable -o out --wrap 'srun sh -c "trap \"echo USR2; exit 0\" USR2; echo >ready; sleep 100 & wait"; echo step $?')
read x <ready; scancel -s USR2 $id; after $id

#### cancel by name
sbatch -Q -H -J by-name --wrap true; sbatch -Q -H -J by-name --wrap true; scancel -n by-name; squeue -h -n by-name

#### cancel of an unknown job
scancel 99; echo $?; scancel -s USR1 99; echo $?; scancel abc; echo $?

#### hold and release
id=$(sbatch --parsable -H -o out --wrap 'echo ran'); squeue -h -j $id -o '%T|%r'; scontrol release $id; after $id; cat out

#### hold by scontrol
id=$(sbatch --parsable -b now+1hour --wrap true); scontrol hold $id; squeue -h -j $id -o '%T|%r|%Q'; scancel $id

#### update of a pending job
id=$(sbatch --parsable -H --wrap true); scontrol update JobId=$id JobName=new TimeLimit=1:00:00 Comment=c; squeue -h -j $id -o '%j|%l|%k'; scancel $id

#### time limit of a pending job, longer and shorter | explained
id=$(sbatch --parsable -H -t 60 --wrap true)
for t in =+5 =-5 =-500 =foo =+abc =-1 +=5 -=2 =7; do scontrol update JobId=$id TimeLimit$t; echo $?; squeue -h -j $id -o %l; done; scancel $id

#### values that are none | explained
id=$(sbatch --parsable -H --wrap true)
for t in Contiguous=maybe Contiguous=true Requeue=yes Priority=abc NumTasks=abc MinMemoryCPU=abc TimeMin=abc Partition=nope Dependency=foo; do
    scontrol update JobId=$id $t; echo $?
done
for t in yes NO 1 0 Y n; do scontrol update JobId=$id Contiguous=$t; echo $?; done; scancel $id

#### priority does not free a held job
id=$(sbatch --parsable -H --wrap true); scontrol update JobId=$id Priority=100; echo $?; squeue -h -j $id -o '%r %Q'; scancel $id
id=$(sbatch --parsable -b now+1hour --wrap true); scontrol update JobId=$id Priority=0; squeue -h -j $id -o '%r %Q'; scancel $id

#### what does not suit the state of a job
id=$(sbatch --parsable -b now+1hour --wrap true); for o in suspend resume requeue requeuehold; do scontrol $o $id; echo $?; done; scancel $id; ended $id
for o in hold release suspend; do scontrol $o $id; echo $?; done; scontrol update JobId=$id Nice=5; echo $?

#### a running job is held, and freed
mkfifo ready go; id=$(sbatch --parsable -o out --wrap 'echo >ready; read x <go'); read x <ready
scontrol hold $id; echo $?; squeue -h -j $id -o '%T %Q %r'; scontrol release $id; echo $?; squeue -h -j $id -o '%T %r'
scontrol update JobId=$id TimeLimit=-5; squeue -h -j $id -o %l; scontrol update JobId=$id Partition=normal; echo $?
echo >go; ended $id; rm -f ready go

#### an array of which two elements run
mkfifo ready go; id=$(sbatch --parsable -a 0-6%2 -o /dev/null --wrap 'echo >ready; read x <go'); exec 3<>ready; read x <&3; read x <&3
show() { squeue -h -r -j $id -o '%i %T %l %P' | sort; }
held() { squeue -h -r -j $id -o '%i %Q' | sed 's/ [0-9][0-9][0-9]*$/ some/' | sort; }
for o in hold release; do for w in ${id}_[0-5] $id ${id}_0 ${id}_9 ${id}_[5-9]; do scontrol $o $w; echo $?; held; done; done
for w in ${id}_[0-5] $id ${id}_[0-9] ${id}_0 ${id}_[3-4]; do scontrol update JobId=$w Partition=nope; echo $?; done
scontrol update JobId=$id TimeLimit=30; echo $?; show; scontrol update JobId=${id}_[3-4] Partition=nope; echo $?
scontrol suspend $id; echo $?; show; scontrol resume ${id}_[0-5]; echo $?
scancel $id; ended ${id}_0; ended ${id}_1; rm -f ready go

#### an array that has ended
id=$(sbatch --parsable -H -a 0-3 --wrap true); scancel $id; ended $id; scontrol hold $id; echo $?; scontrol update JobId=${id}_[0-5] Nice=3; echo $?

#### time limits as shown
for t in 5 1:30 1:00:00 1-0 2-3:04 1-00:00:30; do id=$(sbatch --parsable -H -t $t --wrap true); squeue -h -j $id -o %l; scancel $id; done

#### memory as shown | explained
for m in 100 1G 1500M 2048K 2.5G; do id=$(sbatch --parsable -H --mem=$m --wrap true) && squeue -h -j $id -o %m && scancel $id; done

#### sizes as shown
for o in '-n 3' '-N 2' '-n 4 -c 2' '-N 2-3 -n 4' '--exclusive'; do id=$(sbatch --parsable -H $o --wrap true); squeue -h -j $id -o '%C|%D|%T'; scancel $id; done

#### job as shown by scontrol
id=$(sbatch --parsable -H -J shown -n 2 -t 10 --comment=words --wrap true)
scontrol show job $id | grep -oE '(JobId|JobName|UserId|GroupId|Priority|Nice|JobState|Reason|Dependency|Requeue|Restarts|BatchFlag|ExitCode|RunTime|TimeLimit|NumNodes|NumCPUs|NumTasks|CPUs/Task|Comment|WorkDir|StdErr|StdIn|StdOut|Command|OverSubscribe|Contiguous|Licenses|Network|MinCPUsNode)=[^ ]*'; scancel $id

#### job table of squeue
id=$(sbatch --parsable -H -J a-name-that-is-too-long --wrap true); squeue -j $id -o '%.18i %.8j %.8u %.2t %.10M %.6D %R'; squeue -h -j $id -O 'jobid:8,name:12,state,numcpus:.6'; scancel $id

#### unknown job
squeue -j 99; echo $?; scontrol show job 99; echo $?; squeue -h -j 98,99; echo $?; sacct -n -j 99; echo $?

#### hostnames
scontrol show hostnames 'a[1-3,007-009],b,c[0-1]x[2-3]'
scontrol show hostlist a1,a2,a3,b7
scontrol show hostlistsorted a3,a1,a2

#### accounting of steps
id=$(sbatch --parsable --wait -n 2 -J acc -o out --wrap 'srun -J first true; srun -J second -n 1 false; exit 0'); ended $id
sacct -P -j $id -o JobID,State,ExitCode,AllocCPUS,NTasks,NNodes; sacct -X -n -p -j $id -o jobid,state%5

#### accounting of an array
id=$(sbatch --parsable --wait -a 0-2 -J arr -o out --wrap 'exit $((SLURM_ARRAY_TASK_ID == 1))'); ended ${id}_2; ended ${id}_1; sacct -X -n -P -j $id -o JobID,State,ExitCode | sort

#### accounting table
id=$(sbatch --parsable --wait -o out --wrap true); ended $id; sacct -X -j $id -o AllocCPUS%3,State%6,ExitCode%-8

#### a running job gives a node back
script job.sh <<'E'
mkfifo ready
srun -N1 -n1 -r 1 --overlap sh -c 'echo >ready; sleep 60' 2>srun.err & step=$!
read x <ready
scontrol update JobId=$SLURM_JOB_ID NumNodes=1; echo $?
wait $step; echo $?
squeue -h -j $SLURM_JOB_ID -o '%D %C %T'
cat slurm_job_${SLURM_JOB_ID}_resize.sh slurm_job_${SLURM_JOB_ID}_resize.csh
. ./slurm_job_${SLURM_JOB_ID}_resize.sh
echo $SLURM_NNODES $SLURM_JOB_NUM_NODES $SLURM_JOB_CPUS_PER_NODE ${SLURM_NTASKS-unset} ${SLURM_TASKS_PER_NODE-unset}
srun --overlap sh -c 'echo $SLURM_NTASKS $SLURM_NNODES'
rm -f ready srun.err slurm_job_*
E
sbatch -Q --wait -N2 -n2 -o out job.sh; echo $?

#### sizes that a running job cannot have | explained
mkfifo ready go; id=$(sbatch --parsable -N2 -n2 -o out --wrap 'echo >ready; read x <go'); read x <ready
for n in 3 0 1-2 2; do scontrol update JobId=$id NumNodes=$n; echo $?; squeue -h -j $id -o '%D %T'; done; echo >go; ended $id; rm -f ready go; ls
