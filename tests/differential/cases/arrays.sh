# Arrays. How these cases are read and run: ../script_cases.py

#### array with a step
script job.sh <<<'echo $SLURM_ARRAY_TASK_ID of $SLURM_ARRAY_TASK_COUNT'
sbatch --wait -a 1-7:3 -o out-%a job.sh

#### array output names
script job.sh <<<'true'
sbatch --wait -a 2,5 job.sh; sbatch --wait -a 0-1 -o 'x-%A-%a-%4a' job.sh

#### array with a limit
script job.sh <<<'squeue -h -r -t R -n limited -o %i | wc -l'
sbatch --wait -J limited -a 0-3%1 -o out-%a job.sh

#### array variables
script job.sh <<<'env | grep ^SLURM_ARRAY | sort'
sbatch --wait -a 3-9:2,20 -o out-%a job.sh

#### array with a failing element
script job.sh <<<'exit $SLURM_ARRAY_TASK_ID'
sbatch --wait -a 0-2 -o out job.sh; echo $?

#### pending array in squeue
id=$(sbatch --parsable -H -a 0-4,8%2 --wrap true); squeue -h -j $id -o '%i|%F|%K|%T|%r'; squeue -h -r -j ${id}_3 -o %i; scancel ${id}_[0-3]; squeue -h -j $id -o %i; scancel $id
