# Refusals. How these cases are read and run: ../script_cases.py

#### unknown partition | explained
sbatch -p nowhere --wrap true; echo $?; srun -p nowhere true; echo $?

#### unknown option | explained
sbatch --no-such-option --wrap true; echo $?

#### no interpreter line | explained
echo true >job; sbatch job; echo $?

#### empty and blank scripts | explained
: >job; sbatch job; echo $?; printf '  \n' >job; sbatch job; echo $?

#### script with DOS line ends | explained
printf '#!/bin/sh\r\ntrue\r\n' >job; sbatch job; echo $?

#### script that is not there | explained
sbatch nowhere.sh 2>&1 | sed 's/^[^:]*: //'; echo ${PIPESTATUS[0]}

#### more memory than a node has | explained
sbatch --mem=999G --wrap true; echo $?

#### bad sizes | explained
for o in -n0 -nabc --mem=xyz -tabc -c-1; do sbatch $o --wrap true; echo $?; done

#### bad arrays | explained
for a in 5-1 a 1-2000000 -1 1-; do sbatch -a $a --wrap true; echo $?; done

#### bad dependencies | explained
for d in wrong:1 afterok:x; do sbatch -d $d --wrap true; echo $?; done

#### bad constraint and GRES | explained
sbatch -C nosuch --wrap true; echo $?; sbatch --gres=gpu:99 --wrap true; echo $?

#### GRES of an unknown name | explained
sbatch --gres=nosuch:1 --wrap true; echo $?

#### dependency on an id that was never given | explained
sbatch -d afterok:59999999 --wrap true; echo $?

#### control of an unknown job | explained
for v in hold release; do scontrol $v 99; echo $?; done; scontrol update JobId=99 Comment=x; echo $?
