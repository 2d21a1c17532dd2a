# Environments. How these cases are read and run: ../script_cases.py

#### one task
script job.sh <<'E'
slurm_env >batch.env
E
sbatch --wait --output=out  job.sh

#### tasks and CPUs
script job.sh <<'E'
slurm_env >batch.env
E
sbatch --wait --output=out -n 4 -c 2 --mem-per-cpu=50 job.sh

#### two nodes
script job.sh <<'E'
slurm_env >batch.env
E
sbatch --wait --output=out -N 2 --ntasks-per-node=2 --mem=200 job.sh

#### array element
script job.sh <<'E'
slurm_env >batch.env
E
sbatch --wait --output=out -a 4-4 job.sh

#### names and limits
script job.sh <<'E'
slurm_env >batch.env
E
sbatch --wait --output=out -J named -t 5 --nice=3 --comment=c job.sh

#### GPUs | exact nodes
script job.sh <<'E'
slurm_env >batch.env
E
sbatch --wait --output=out -w $NODE2 --gres=gpu:h100:1 job.sh

#### task of a step
script job.sh <<'E'
srun -n 1 bash -c slurm_env >batch.env
E
sbatch --wait --output=out -n 2 job.sh

#### second task of two nodes
script job.sh <<'E'
srun bash -c '[ $SLURM_PROCID = 1 ] && slurm_env || true' >batch.env
E
sbatch --wait --output=out -N 2 -n 2 job.sh

#### step with CPUs
script job.sh <<'E'
srun --exact -n 2 -c 2 bash -c '[ $SLURM_PROCID = 0 ] && slurm_env || true' >batch.env
E
sbatch --wait --output=out -n 4 job.sh

#### export NONE
script job.sh <<'E'
export -n HOME; env | grep -E '^(SLURM|SBATCH|MINE)' | sort >batch.env
E
sbatch --wait --output=out --export=NONE job.sh

#### export of a list
export MINE=1 OTHER=2; sbatch --wait -o out --export=MINE,NEW=3 --wrap 'echo ${MINE-unset} ${OTHER-unset} ${NEW-unset}'

#### export ALL and a value
export MINE=1 OTHER=2; sbatch --wait -o out --export=ALL,MINE=9,NEW=3 --wrap 'echo ${MINE-unset} ${OTHER-unset} ${NEW-unset}'

#### odd values survive
export MINE=$'two\nlines "quoted" $x' EMPTY=; sbatch --wait -o out --wrap 'printf "%s|" "$MINE" "${EMPTY-unset}"'
