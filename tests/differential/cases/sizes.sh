#### nodes by name say how many
for w in "" -n2 -n5 -c2 --ntasks-per-node=2 -N1-2 --switches=1 --gpus-per-node=2 --gpus=3; do
    sbatch -Q --wait -w "$NODE0,$NODE1" $w -o out --wrap 'env | grep -E "^SLURM_(NNODES|NTASKS|NPROCS|JOB_CPUS_PER_NODE|TASKS_PER_NODE)=" | sort'
    echo "$w: $?"; cat out
done

#### nodes by name without a task are left out | exact nodes
for w in "-w $NODE3,$NODE1 -n1" "-w $NODE0,$NODE1,$NODE2 -n2" "-N2 -n1 -w $NODE2"; do
    sbatch -Q --wait $w -o out --wrap 'echo $SLURM_JOB_NODELIST'; echo $?; cat out
    sbatch -H $w --wrap true | tr -dc '0-9\n' | xargs scancel; salloc -Q $w true
done
sbatch -w "$NODE0,$NODE1" -N1 --wrap true; echo $?
sbatch -w "$NODE0,$NODE1,$NODE2" -N1-2 --wrap true; echo $?

#### GPUs in total take as many nodes as they need
for w in --gpus=2 --gpus=3 --gpus=h100:3 "--gpus=3 -n2" "--gpus=3 -n12" "--gpus=3 -N1-3" "--gpus=2 -N1-3" "--gpus=3 --ntasks-per-node=8" "--gpus=5"; do
    sbatch -Q --wait --mincpus=8 $w -o out --wrap 'env | grep -E "^SLURM_(NNODES|NTASKS|NPROCS|JOB_CPUS_PER_NODE|TASKS_PER_NODE|GPUS.*)=" | sort'
    echo "$w: $?"; cat out
done

#### GPUs in total bring CPUs and memory
for w in "--cpus-per-gpu=3 --gpus=2 --exclusive" "--mem-per-gpu=5000 --gpus=2" "--cpus-per-gpu=4 --gpus=4"; do
    sbatch -Q --wait $w -o out --wrap 'env | grep -E "^SLURM_(NNODES|JOB_CPUS_PER_NODE|TASKS_PER_NODE|GPUS.*|.*_PER_GPU)=" | sort'
    echo "$w: $?"; cat out
done

#### GPUs in two forms that agree
for w in "--gpus-per-node=2 --gpus=4" "--gpus-per-node=2 --gpus=2" "--gres=gpu:h100:2 --gpus=h100:4" "--gpus-per-node=2 --gpus=4 -N1-3" \
    "--gpus-per-node=2 --gpus=4 -n1" "--gpus-per-node=2 --gpus=4 -n16" "--gpus-per-task=2 --gpus=4" "--gpus-per-task=1 --gpus-per-node=2 -n4" \
    "--gpus-per-task=1 --gpus-per-node=2 --gpus=4" "--gres=gpu:1 --gpus-per-task=1 -n2"; do
    sbatch -Q --wait $w -o out --wrap 'env | grep -E "^SLURM_(NNODES|NTASKS|NPROCS|JOB_CPUS_PER_NODE|TASKS_PER_NODE|GPUS.*)=" | sort'
    echo "$w: $?"; cat out
done

#### GPUs in forms that contradict each other | explained
for w in "--gpus-per-node=2 --gpus=5" "--gres=gpu:1 --gpus=4 -N2" "--gpus-per-node=2 --gpus=4 -N3" "--gpus=3 -N4" "--gpus=2 -w $NODE0,$NODE1,$NODE2" \
    "--gpus-per-task=1 --gpus=4 -n2" "--gpus-per-task=2 --gpus=5" "--gpus-per-task=2 --gpus-per-node=3 -n2" \
    "--gpus-per-task=1 --gpus-per-node=2 -n4 --ntasks-per-node=3" "--gres=gpu:h100:1 --gpus=2" "--gpus=9" "--gpus=3 -n1"; do
    sbatch $w --wrap true; echo "$w: $?"
    salloc $w true >/dev/null 2>&1; echo $?
done

#### tasks a GPU
for w in "--gpus=2" "--gpus=4 -N2" "--gpus=3 -N2" "--gpus-per-node=2 -N2" "-N2" "-n6 -N2" "--gpus=4 --gpus-per-node=2"; do
    sbatch -Q --wait --ntasks-per-gpu=2 $w -o out --wrap 'env | grep -E "^SLURM_(NNODES|NTASKS.*|JOB_CPUS_PER_NODE|TASKS_PER_NODE|GPUS|GPUS_PER.*)=" | sort
        scontrol show job $SLURM_JOB_ID | grep -m1 -oE "^ .*NtasksPerN[^ ]*"'
    echo "$w: $?"; cat out
done
sbatch --ntasks-per-gpu=2 --gpus-per-task=1 --wrap true; echo $?
sbatch --ntasks-per-gpu=2 --ntasks-per-node=2 --gpus=1 --wrap true; echo $?

#### more tasks than the GPUs may have
sbatch --ntasks-per-gpu=2 --gpus=2 -n5 --wrap true >/dev/null 2>&1; echo $?

#### tasks of a whole node
for w in "" -N2 -n3 -n9 "-n12 -N3" -c3 "-n3 -c4" "--ntasks-per-node=2 -N2" --mem=100 "--gpus-per-task=1 -n3" "-n20"; do
    sbatch -Q --wait --exclusive $w -o out --wrap 'env | grep -E "^SLURM_(NNODES|NTASKS|JOB_CPUS_PER_NODE|TASKS_PER_NODE)=" | sort'
    echo "$w: $?"; cat out
done

#### tasks of the least CPUs
for w in "" -N2 -n2 -c2 -n1 "-n2 -N2" --ntasks-per-node=1; do
    sbatch -Q --wait --mincpus=4 $w -o out --wrap 'env | grep -E "^SLURM_(NNODES|NTASKS|JOB_CPUS_PER_NODE|TASKS_PER_NODE)=" | sort'
    echo "$w: $?"; cat out
done

#### a range of nodes as it waits
for w in "" -N2 -N1-3 "-w $NODE0,$NODE1"; do
    job=$(sbatch -H --parsable $w --wrap true); scontrol show job "$job" | grep -oE "NumNodes=[^ ]*"; scancel "$job"
done

#### days without hours
for t in 1- 0- 1-0; do
    job=$(sbatch -H --parsable -t $t --wrap true); scontrol show job "$job" | grep -oE "TimeLimit=[^ ]*"; scancel "$job"
done
for t in 1: :1 1-2: -; do sbatch -t $t --wrap true >/dev/null 2>&1; echo $?; done

#### sizes that change while a job waits
changed() { # changed KEY=VALUE OPTION...: what the job has that was changed before it started
    key=$1; shift
    job=$(sbatch -H --parsable "$@" -o out --wrap 'env | grep -E "^SLURM_(NNODES|NTASKS|JOB_CPUS_PER_NODE|GPUS_ON_NODE|CPUS_PER_TASK)=" | sort')
    scontrol update jobid="$job" "$key"; echo "$key: $?"
    scontrol release "$job"; ended "$job"; cat out
}
changed TresPerJob=gres:gpu:3 --gpus=1 --mincpus=8
changed TresPerNode=gres:gpu:2 --gpus-per-node=1
changed Gres=gpu:1 -n2 -N2
changed MinCPUsNode=4 -n1
changed NumCPUs=4 -n1
changed OverSubscribe=no -n1

#### sizes that cannot change | explained
job=$(sbatch -H --parsable --gpus=1 --wrap true)
for key in TresPerNode=gres:gpu:2 NumCPUs=x OverSubscribe=maybe Gres=foo; do scontrol update jobid="$job" "$key" 2>/dev/null; echo "$key: $?"; done
scancel "$job"
