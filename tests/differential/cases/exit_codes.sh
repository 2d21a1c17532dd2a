# Exit codes. How these cases are read and run: ../script_cases.py

#### exit code of the script
script job.sh <<<'exit 7'
sbatch --wait -o out job.sh; echo $?

#### script killed by a signal
script job.sh <<<'kill -9 $$'
sbatch --wait -o out job.sh; echo $?

#### exit codes in the accounting
for text in 'exit 0' 'exit 3' 'kill -15 $$' 'srun -Q false; true'; do
id=$(sbatch --parsable --wait -o out --wrap "$text"); ended $id; sacct -n -P -j $id -o JobID,State,ExitCode,AllocCPUS,NTasks
done

#### missing command
script job.sh <<<'no-such-command'
sbatch --wait -o out job.sh; echo $?; sed -i 's/.*: line/line/' out
