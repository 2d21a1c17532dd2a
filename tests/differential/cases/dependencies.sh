# Dependencies. How these cases are read and run: ../script_cases.py

#### afterok runs in order
a=$(sbatch --parsable -o out --open-mode=append --wrap 'echo a'); sbatch --wait -d afterok:$a -o out --open-mode=append --wrap 'echo b'

#### afterok of a failure is never satisfied
a=$(sbatch --parsable -o out --wrap 'exit 1'); sbatch --wait -d afterok:$a --kill-on-invalid-dep=yes --wrap true; echo $?

#### afternotok and afterany
a=$(sbatch --parsable -o out --wrap 'exit 1'); sbatch --wait -d afternotok:$a,afterany:$a -o two --wrap 'echo b'; echo $?

#### any of two
a=$(sbatch --parsable -o out --wrap 'exit 1'); sbatch --wait -d "afterok:$a?afterany:$a" -o two --wrap 'echo b'; echo $?

#### aftercorr
a=$(sbatch --parsable -a 1-2 -o out --wrap true); sbatch --wait -d aftercorr:$a -a 1-2 -o two-%a --wrap 'echo $SLURM_ARRAY_TASK_ID'

#### singleton
for i in 1 2 3; do sbatch -Q -J one -d singleton -o out --open-mode=append --wrap "echo $i"; done; sbatch -Q --wait -J one -d singleton -o last --wrap true

#### dependency as shown
a=$(sbatch --parsable -H --wrap true); b=$(sbatch --parsable -d afterok:$a --wrap true); squeue -h -j $b -o '%E|%T|%r'; scancel $a $b
