"""First come, first served, and what grows out of it.

fifo          Jobs start in the order of submission; the first that does not fit stops all behind it. No job is ever overtaken, and the
              cluster idles while a large job waits. What papers on GPU scheduling usually call FIFO.
greedy        Whoever fits starts, in the order of submission. Nothing is promised to a job that does not fit: large jobs can starve.
easy          The first blocked job has a reservation at the earliest instant that time limits allow; others may overtake it if they do not
              delay that start. Lifka, "The ANL/IBM SP scheduling system", JSSPP 1995. Guarantee: the first blocked job's start never moves
              later as long as jobs keep their limits, so nobody starves.
conservative  Every job has a reservation; nobody overtakes a job that came before it at that job's cost. Mu'alem and Feitelson,
              "Utilization, predictability, workloads, and user runtime estimates in scheduling the IBM SP2 with backfilling", TPDS 2001.
easy-moves    easy, and every five minutes running jobs may move (``core.consolidation``), each beginning anew without a checkpoint, where
              the first blocked job then starts at once and, by time limits, more waiting is saved than work is lost.
"""

from __future__ import annotations

from penstock.core.backfill import EVERY
from penstock.core.cycle import Budget
from penstock.core.policies.policy import Policy

FIFO = Policy("fifo", "strict first come, first served: nothing overtakes", Budget(reservations=0, strict=True))
GREEDY = Policy("greedy", "whoever fits starts; no reservations, large jobs can starve", Budget(reservations=0))
EASY = Policy("easy", "backfill behind one reservation (Lifka 1995)", Budget(reservations=1))
EASY_MOVES = Policy(
    "easy-moves", "easy, and running jobs move and begin anew where that saves more than it loses", EASY.budget, moves_s=300
)
CONSERVATIVE = Policy("conservative", "backfill behind a reservation for every blocked job", Budget(reservations=EVERY))
