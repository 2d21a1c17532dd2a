What a job asks of its nodes and of the cluster: features, licences, deadlines. The nodes carry red,big / red / blue,big / blue beside f1,f2.

#### features choose a node | exact nodes
for c in 'red&big' 'blue,big' '(red|blue)&big&red' '[red]&big'; do
    sbatch -Q --wait -N1 -C "$c" -o out --wrap 'scontrol show hostnames $SLURM_JOB_NODELIST' && cat out
done

#### features of all four nodes | exact nodes
for c in '[red*2&blue*2]' '[(red|blue)*4]'; do
    sbatch -Q --wait -C "$c" -o out --wrap 'echo $SLURM_NNODES; scontrol show hostnames $SLURM_JOB_NODELIST' && cat out
done

#### features as shown
for c in 'red&big' 'red,big' '[red|blue]' 'red*2' '(red|blue)&big'; do
    job=$(sbatch -H --parsable -C "$c" --wrap true)
    squeue -h -j "$job" -o %f; scontrol show job "$job" | grep -o 'Features=[^ ]*'; scancel "$job"
done

#### preferred features | explained
job=$(sbatch -H --parsable -C red --prefer=blue --wrap true)
scontrol show job "$job" | grep -o 'Prefer=[^ ]*'; scancel "$job"
sbatch --prefer=nosuch --wrap true

#### bad constraints | explained
for c in 'nosuch' 'red|nosuch' '!red' 'red&&big' '&red' '[red' 'red]' '(red' '()' '((red|blue)&big)' 'red*0' 'red*x' '[red|blue]*2' '[red&big]' 'a b' \
    '[red*2|blue*2]' '[red|blue]&[big|red]' '[red*2&blue]'; do
    sbatch -C "$c" --wrap true; echo $?
done

#### constraints that no set of nodes meets | explained
sbatch -N1 -C 'red*2' --wrap true; echo $?
sbatch -N3 -C '[red|blue]' --wrap true; echo $?
sbatch -N4 -C '[red*1&big*1]' --wrap true; echo $?
sbatch -C 'red*3' --wrap true; echo $?

#### contiguous nodes as shown
job=$(sbatch -H --parsable -N2 --contiguous --wrap true)
scontrol show job "$job" | grep -o 'Contiguous=1'; scancel "$job"
sbatch -Q --wait -N4 --contiguous -o out --wrap 'echo $SLURM_NNODES' && cat out

#### licences as shown
job=$(sbatch -H --parsable -L fluent:2,matlab --wrap true)
squeue -h -j "$job" -o %W; scontrol show job "$job" | grep -o ' Licenses=[^ ]*'; scancel "$job"
scontrol show licenses -o | sed 's/Used=[0-9]* Free=[0-9]* //'

#### bad licences | explained
for l in fluent:5 nosuch fluent:x fluent:-1 fluent:1:2 'fluent*2' fluent=2 fluent@server:1; do
    sbatch -L "$l" --wrap true; echo $?
done

#### licences that ask for nothing
for l in fluent:0 ,; do sbatch -Q --wait -L "$l" -o /dev/null --wrap true; echo $?; done

#### a job waits for licences
touch hold
first=$(sbatch --parsable -t 5 -L serial -o /dev/null --wrap 'while [ -e hold ]; do sleep 0.05; done')
second=$(sbatch --parsable -t 5 -L serial -o /dev/null --wrap true)
for _ in $(seq 100); do [ "$(squeue -h -j "$second" -o %r)" = Licenses ] && break; sleep 0.1; done
squeue -h -j "$first,$second" -S i -o '%T %r'
rm hold; ended "$second"; sacct -n -X -P -j "$first,$second" -o State

#### deadlines that can be kept
sbatch -Q --wait --deadline=now+10minutes -t 5 -o out --wrap 'scontrol show job $SLURM_JOB_ID | grep -oE " TimeLimit=[0-9:]+"' && cat out
sbatch -Q --wait --deadline=now+150 -t 5 --time-min=1 -o out --wrap 'scontrol show job $SLURM_JOB_ID | grep -oE " TimeLimit=[0-9:]+"' && cat out
sbatch -Q --wait --deadline=now+150 -t UNLIMITED -o out --wrap 'scontrol show job $SLURM_JOB_ID | grep -oE " TimeLimit=[0-9:]+"' && cat out

#### deadline that cannot be kept
job=$(sbatch --parsable --deadline=now+2minutes -t 5 -o /dev/null --wrap true)
ended "$job"; sacct -n -X -P -j "$job" -o State

#### bad deadlines and least limits | explained
sbatch --deadline=2020-01-01 --wrap true; echo $?
sbatch --deadline=now+10minutes --begin=now+1hour -t1 --wrap true; echo $?
sbatch --time-min=5 -t3 --wrap true; echo $?
sbatch --time-min=abc --wrap true; echo $?

#### update of what a job asks for | explained
job=$(sbatch -H --parsable -t 10 --wrap true)
scontrol update jobid="$job" features='red&big' licenses=matlab timemin=3 contiguous=yes; echo $?
scontrol show job "$job" | grep -oE 'Features=[^ ]*|TimeMin=[^ ]*| Licenses=[^ ]*|Contiguous=1'
scontrol update jobid="$job" features=nosuch; echo $?
scontrol update jobid="$job" licenses=nosuch; echo $?
scontrol update jobid="$job" timemin=20; echo $?
scontrol show job "$job" | grep -oE 'Features=[^ ]*'; scancel "$job"

#### GPUs of the job lie on as many nodes as they need
for w in '--gpus=8' '--gpus=7' '--gpus=8 -c 2' '--gpus=8 --cpus-per-gpu=2' '--gpus=8 --mem-per-gpu=200' '--gpus=8 --exclusive'; do
    sbatch -Q --wait -t 5 $w -o out --wrap 'echo $SLURM_NNODES $SLURM_TASKS_PER_NODE ${SLURM_NTASKS-none} $SLURM_JOB_CPUS_PER_NODE
        scontrol show job $SLURM_JOB_ID | grep -oE "(NumNodes|NumCPUs|NumTasks|CPUs/Task|MinCPUsNode)=[^ ]*"' && cat out
done

#### more GPUs than there are | explained
sbatch --gpus=9 --wrap true; echo $?
sbatch --gpus=3 -n1 --wrap true; echo $?

#### tasks that nobody counted
for w in '-N2 --exclusive' '-N2 --exclusive -c 3' '-N2 --mincpus=4' '-N2 -c 2' '-N1 --gpus=2 --cpus-per-gpu=2' '-N2 --exclusive -n 3'; do
    sbatch -Q --wait -t 5 $w -o out --wrap 'echo $SLURM_TASKS_PER_NODE ${SLURM_NTASKS-none} $SLURM_JOB_CPUS_PER_NODE' && cat out
done
salloc -Q -N2 --exclusive sh -c 'echo $SLURM_TASKS_PER_NODE; srun -Q echo task'
