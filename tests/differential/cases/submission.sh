# Submission. How these cases are read and run: ../script_cases.py

#### default output file
script job.sh <<<'echo out; echo err >&2'
sbatch --wait job.sh

#### parsable
script job.sh <<<'true'
sbatch --parsable --wait job.sh

#### quiet
script job.sh <<<'true'
sbatch -Q --wait job.sh

#### wrap
sbatch --wait -o out --wrap 'echo $SLURM_JOB_NAME ${0##*/} $#; echo "two words"'

#### script from stdin
sbatch --wait -o out <<'E'
#!/bin/bash
#SBATCH --ntasks=2
echo $SLURM_NTASKS
E

#### arguments of the script
script job.sh <<<'echo $# "$1" "$2" ${0##*/}'
sbatch --wait -o out job.sh 'two words' --time=1

#### job name from the script's path
mkdir d; script d/train.sh <<<'echo $SLURM_JOB_NAME'
sbatch --wait -o %x.out d/train.sh

#### directives end at the first command
script job.sh <<'E'
# a comment

#SBATCH --job-name=early
##SBATCH --comment=no
echo $SLURM_JOB_NAME $SLURM_NTASKS
#SBATCH --ntasks=3
E
sbatch --wait --ntasks=1 -o out job.sh

#### command line before environment before script
script job.sh <<'E'
#SBATCH --job-name=script --comment=script
#SBATCH -o out-%x
scontrol show job $SLURM_JOB_ID | grep -oE '(JobName|Comment|TimeLimit)=[^ ]*'
E
export SBATCH_JOB_NAME=environment SBATCH_TIMELIMIT=7
sbatch --wait job.sh; sbatch --wait -J line -t 9 job.sh

#### quoted directive
script job.sh <<'E'
#SBATCH --job-name="two words" -o out
echo "$SLURM_JOB_NAME"
E
sbatch --wait job.sh

#### other interpreter
printf '#!/usr/bin/env python3\n#SBATCH -o out\nimport os\nprint(os.environ["SLURM_NTASKS"])\n' >job
sbatch -n 2 --wait job

#### change of folder
mkdir there; script job.sh <<<'pwd; echo $SLURM_SUBMIT_DIR'
sbatch --wait -D there -o out job.sh; cat there/out

#### umask and empty stdin
umask 027; script job.sh <<<'umask; wc -c; touch new; stat -c %a new'
sbatch --wait -o out job.sh

#### script is stored at submission
script job.sh <<<'echo first'
id=$(sbatch --parsable -H -o out job.sh); script job.sh <<<'echo second'
scontrol release $id; after $id

#### batch script is shown
script job.sh <<<'echo shown'
id=$(sbatch --parsable -H job.sh); scontrol write batch_script $id -; scancel $id

#### input file
echo words >words; script job.sh <<<'cat'
sbatch --wait -i words -o out job.sh

#### append and truncate
script job.sh <<<'echo run'
for mode in append append truncate append; do sbatch -Q --wait --open-mode=$mode -o out job.sh; done

#### output and error apart
script job.sh <<<'echo out; echo err >&2'
sbatch --wait -o '%x.o' -e '%x.e' job.sh

#### file name patterns | exact nodes
script job.sh <<<'true'
sbatch --wait -J n -o '%x_%j_%8j_%u_%n_%t_%%_%s_%J.out' job.sh

#### node name pattern | exact nodes
script job.sh <<<'true'
sbatch --wait -w $NODE1 -o '%N.out' job.sh

#### quiet and parsable
sbatch -Q --parsable -H -J quiet --wrap true; echo $?; sbatch -Q -H -J quiet --wrap true; echo $?; scancel -n quiet
