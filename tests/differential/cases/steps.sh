# Steps. How these cases are read and run: ../script_cases.py

#### labels | any order
sbatch --wait -n 4 -o out --wrap 'srun -l sh -c "echo rank \$SLURM_PROCID"'

#### steps are numbered
sbatch --wait -o out --wrap 'for i in 1 2 3; do srun sh -c "echo \$SLURM_STEP_ID"; done'

#### ranks on two nodes | any order
sbatch --wait -N 2 -n 4 --ntasks-per-node=2 -o out --wrap 'srun sh -c "echo \$SLURM_PROCID \$SLURM_LOCALID \$SLURM_NODEID"'

#### exit code of a step is the largest | any order
sbatch --wait -n 3 -o out --wrap 'srun -Q sh -c "exit \$SLURM_PROCID"; echo $?'

#### task killed by a signal
sbatch --wait -o out --wrap 'srun sh -c "kill -9 \$\$"; echo $?'

#### task that cannot be found
sbatch --wait -o out --wrap 'srun /no/such/program; echo $?'

#### step output to files
sbatch --wait -n 2 -o out --wrap 'srun -o "o-%t-%s" -e "e-%t" sh -c "echo out; echo err >&2"'

#### stdin goes to all tasks | any order
sbatch --wait -n 2 -o out --wrap 'printf "a\nb\n" | srun cat'

#### stdin to one task | any order
sbatch --wait -n 3 -o out --wrap 'echo word | srun -l --input=1 cat'

#### multi-prog | any order
printf '0 echo first %%t of %%o\n1-2 echo others %%t %%o\n' >programs
sbatch --wait -n 3 -o out --wrap 'srun -l --multi-prog programs'

#### steps side by side | any order
sbatch --wait -n 2 -o out --wrap 'for i in 1 2; do srun --exact -n 1 sh -c "echo $i" & done; wait'

#### a bad exit kills the others
sbatch --wait -n 2 -o /dev/null --wrap 'srun -Q -K1 sh -c "[ \$SLURM_PROCID = 0 ] && exit 5; sleep 100"; echo $? >code'

#### srun as a job | any order
srun -n 2 sh -c 'echo $SLURM_NTASKS $SLURM_STEP_ID'

#### srun as a failing job
srun sh -c 'exit 9'; echo $?

#### srun reads stdin
echo typed | srun cat

#### srun with more tasks than the job
sbatch --wait -n 1 -o out --wrap 'srun -n 2 hostname; echo $?'; sed -i 's/.*srun: /srun: /' out

#### salloc with a command
salloc -n 2 sh -c 'echo $SLURM_NTASKS; srun sh -c "echo task"'; echo $?

#### salloc passes the exit code
salloc -Q sh -c 'exit 6'; echo $?
