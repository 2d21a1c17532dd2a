"""The agent's machine as sequence diagrams: what happens on the left, what it asks for on the right."""

from __future__ import annotations

from penstock.agent.backlog import MAX_BACKLOG
from penstock.agent.crew import FORK_TIMEOUT_MS, IDLE_SHEPHERD_MS
from penstock.agent.events import (
    CloseController,
    Connect,
    ControllerDown,
    ControllerUp,
    FoldersFound,
    Forget,
    ForkFailed,
    FromController,
    Inspect,
    Inspected,
    ReportLoad,
    SaveEpoch,
    SendController,
    SendShepherd,
    ShepherdDown,
    ShepherdSays,
    ShepherdUp,
    StartShepherd,
    Tick,
)
from penstock.agent.link import SETTLE_MS, SILENCE_MS
from penstock.agent.reconcile import INSPECT_AGAIN_MS, LAUNCH_GIVE_UP_MS, Reconcile
from penstock.agent.shepherd.protocol import SHEPHERD_PROTOCOL, Announce, Dismiss, Idle, Refused
from penstock.agent.steps import RESEND_MS
from penstock.wire.messages import (
    AckEnded,
    Assign,
    Ended,
    ExitRecord,
    Hello,
    LaunchStep,
    Ping,
    QueryUsage,
    SignalDone,
    SignalRun,
    Started,
    StepEnded,
    Terminate,
    UsageReport,
    Welcome,
)

FACTS = Hello(1, "n1", "host", "boot", "0", 4, 1000)
DONE = ExitRecord(wait_status=0, end_ms=5)
BAD = ExitRecord(wait_status=9, cause="ShepherdKilled")


class Play:
    """A machine with a clock that stands unless it is moved."""

    def __init__(self, *, connected: bool = True) -> None:
        self.machine = Reconcile(FACTS)
        self.now_ms = 1_000_000
        if connected:
            self(Tick(), ControllerUp(), FromController(Welcome(1, "c")))

    def __call__(self, *events: object) -> list[object]:
        out = []
        for event in events:
            out += self.machine.handle(event, self.now_ms)
        return out

    def says(self, message: object) -> list[object]:
        """The controller says something."""
        return self(FromController(message))

    def later(self, ms: int) -> list[object]:
        self.now_ms += ms
        return self(Tick())

    def idle(self, number: int) -> list[object]:
        """A fresh shepherd comes."""
        return self(ShepherdUp(number, Announce(SHEPHERD_PROTOCOL, 100 + number, "b")))

    def running(self, job_id: int = 1, number: int = 1) -> Play:
        self.says(assign(job_id))
        self.idle(number)
        self(ShepherdSays(number, Started(job_id, 0, 50)))
        return self


def assign(job_id: int = 1, *, attempt: int = 0, epoch: int = 1, uid: int = 5) -> Assign:
    return Assign(job_id, attempt, epoch, uid, uid, "u", True, 1, 0)


def step(step_id: int = 0, job_id: int = 1) -> LaunchStep:
    return LaunchStep(job_id, 0, step_id, ("true",), b"", {}, (0,), 0, 1, 1, 0)


def test_a_job_from_assign_to_oblivion():
    play = Play()
    assert play.says(assign()) == [StartShepherd()]
    assert play.idle(1) == [SendShepherd(1, assign())]
    assert play(ShepherdSays(1, Started(1, 0, 50))) == [SendController(Started(1, 0, 50))]
    assert play(ShepherdSays(1, Ended(1, 0, DONE))) == [SendController(Ended(1, 0, DONE))]
    assert play.says(AckEnded(1, 0)) == [SendShepherd(1, AckEnded(1, 0))]
    assert play(ShepherdSays(1, Idle(1, 0))) == []
    assert play.machine.runs == {}


def test_the_next_job_of_the_user_takes_the_standing_shepherd():
    play = Play().running()
    play(ShepherdSays(1, Ended(1, 0, DONE)))
    play.says(AckEnded(1, 0))
    assert play.says(assign(2)) == []  # the shepherd is about to be idle: none is asked for
    assert play(ShepherdSays(1, Idle(1, 0))) == [SendShepherd(1, assign(2))]


def test_a_job_of_another_user_gets_another_shepherd():
    play = Play().running()
    play(ShepherdSays(1, Ended(1, 0, DONE)))
    play.says(AckEnded(1, 0))
    play(ShepherdSays(1, Idle(1, 0)))
    assert play.says(assign(2, uid=6)) == [StartShepherd()]
    assert play.idle(2) == [SendShepherd(2, assign(2, uid=6))]


def test_a_repeated_assign_is_answered_with_what_is_known():
    play = Play().running()
    assert play.says(assign()) == [SendController(Started(1, 0, 50))]
    play(ShepherdSays(1, Ended(1, 0, DONE)))
    assert play.says(assign()) == [SendController(Ended(1, 0, DONE))]
    play.says(AckEnded(1, 0))
    assert play.says(assign()) == []


def test_an_assign_of_a_former_controller_is_ignored_and_its_welcome_closes():
    play = Play()
    assert play.says(Welcome(7, "c")) == [SaveEpoch(7)]
    assert play.says(assign(epoch=6)) == []
    assert play.says(Welcome(6, "c")) == [CloseController()]


def test_an_end_is_repeated_until_it_is_acknowledged_also_on_the_next_connection():
    play = Play().running()
    play(ShepherdSays(1, Ended(1, 0, DONE)))
    assert SendController(Ended(1, 0, DONE)) not in play.later(RESEND_MS - 1)
    assert SendController(Ended(1, 0, DONE)) in play.later(1)
    play(ControllerDown())
    assert play(ControllerUp())[0].message.runs[0].record == DONE
    assert play.says(Welcome(1, "c", forget=((1, 0),))) == [SendShepherd(1, AckEnded(1, 0))]


def test_a_run_that_the_controller_does_not_know_is_ended():
    play = Play().running()
    play(ControllerDown(), ControllerUp())
    (command,) = play.says(Welcome(1, "c", kill=((1, 0),)))
    assert isinstance(command.message, Terminate) and command.shepherd == 1


def test_a_lost_shepherd_is_looked_after_before_anything_is_told():
    play = Play().running()
    assert play(ShepherdDown(1)) == [Inspect((1, 0))]
    assert play(Inspected((1, 0), "ended", BAD)) == [SendController(Ended(1, 0, BAD))]
    assert play.says(AckEnded(1, 0)) == [Forget((1, 0))]


def test_a_shepherd_that_dies_before_it_began_is_replaced():
    play = Play()
    play.says(assign())
    play.idle(1)
    assert play(ShepherdDown(1)) == [Inspect((1, 0))]
    assert play(Inspected((1, 0), "absent")) == [StartShepherd()]
    assert play.idle(2) == [SendShepherd(2, assign())]


def test_a_run_that_began_is_never_given_to_a_second_shepherd():
    play = Play().running()
    play(ShepherdDown(1))
    (command,) = play(Inspected((1, 0), "absent"))
    assert command.message.record.cause == "ShepherdKilled"


def test_a_shepherd_that_lives_but_lost_its_connection_comes_back():
    play = Play().running()
    play(ShepherdDown(1))
    assert play(Inspected((1, 0), "locked")) == []
    assert Inspect((1, 0)) in play.later(INSPECT_AGAIN_MS)
    back = Announce(SHEPHERD_PROTOCOL, 50, "b", 5, (1, 0))
    assert play(ShepherdUp(2, back)) == [SendController(Started(1, 0, 50))]
    assert play(ShepherdSays(2, Ended(1, 0, DONE))) == [SendController(Ended(1, 0, DONE))]


def test_what_was_asked_of_an_absent_shepherd_reaches_it_when_it_is_back():
    play = Play().running()
    play(ShepherdDown(1), Inspected((1, 0), "locked"))
    assert play.says(Terminate(1, 0, "Cancelled")) == []
    assert play.says(SignalRun(4, 1, 0, 10, "all")) == []
    back = play(ShepherdUp(2, Announce(SHEPHERD_PROTOCOL, 50, "b", 5, (1, 0))))
    assert back[1:] == [SendShepherd(2, Terminate(1, 0, "Cancelled")), SendShepherd(2, SignalRun(4, 1, 0, 10, "all"))]


def test_too_much_asked_of_an_absent_shepherd_is_refused():
    play = Play().running()
    play(ShepherdDown(1), Inspected((1, 0), "locked"))
    for number in range(MAX_BACKLOG):
        assert play.says(SignalRun(number, 1, 0, 10, "all")) == []
    (command,) = play.says(SignalRun(99, 1, 0, 10, "all"))
    assert command.message.signal_id == 0 and "too many" in command.message.error


def test_a_new_agent_learns_from_folders_and_from_shepherds():
    play = Play(connected=False)
    assert play(FoldersFound(((1, 0), (2, 0)))) == [Inspect((1, 0)), Inspect((2, 0))]
    play(Inspected((1, 0), "locked"), Inspected((2, 0), "ended", DONE))
    assert play(ShepherdUp(1, Announce(SHEPHERD_PROTOCOL, 50, "b", 5, (1, 0), steps=(3,), ended_steps=((2, DONE),)))) == []
    assert play(Tick()) == [Connect()]
    hello = play(ControllerUp())[0].message
    assert [(run.job_id, run.record, run.steps) for run in hello.runs] == [(1, None, (3,)), (2, DONE, ())]
    assert SendController(StepEnded(1, 0, 2, DONE)) in play.says(Welcome(1, "c"))


def test_a_new_agent_waits_a_moment_for_the_shepherds_of_the_runs_it_found():
    play = Play(connected=False)
    play(FoldersFound(((1, 0),)), Inspected((1, 0), "locked"))
    assert play(Tick()) == []
    assert Connect() not in play.later(SETTLE_MS - 1)
    assert Connect() in play.later(1)


def test_terminate_before_assign_wins():
    play = Play()
    (command,) = play.says(Terminate(1, 0, "Cancelled"))
    assert command.message.record.cause == "Cancelled"
    assert play.says(assign()) == [command]
    play.says(AckEnded(1, 0))
    assert play.says(assign()) == [] and play.says(Terminate(1, 0, "Cancelled")) == []


def test_terminate_of_a_waiting_run_starts_nothing():
    play = Play()
    play.says(assign())
    play.says(Terminate(1, 0, "Cancelled"))
    assert play.idle(1) == []


def test_without_a_launcher_a_run_fails_in_the_end():
    play = Play()
    play.says(assign())
    assert play(ForkFailed("no memory")) == []
    assert StartShepherd() in play.later(1000)
    ends = [c for c in play.later(LAUNCH_GIVE_UP_MS) if isinstance(c, SendController) and isinstance(c.message, Ended)]
    assert ends[0].message.record.cause == "LaunchFailed" and "no memory" in ends[0].message.record.detail


def test_a_shepherd_that_never_comes_is_asked_for_again():
    play = Play()
    play.says(assign())
    assert StartShepherd() not in play.later(FORK_TIMEOUT_MS - 1)
    assert StartShepherd() in play.later(1)


def test_a_refused_assign_is_looked_into():
    play = Play()
    play.says(assign())
    play.idle(1)
    assert play(ShepherdSays(1, Refused(1, 0))) == [Inspect((1, 0))]
    assert play(Inspected((1, 0), "ended", DONE)) == [SendController(Ended(1, 0, DONE))]


def test_steps_wait_for_their_shepherd_and_are_told_until_acknowledged():
    play = Play()
    play.says(assign())
    assert play.says(step()) == []
    assert play.idle(1) == [SendShepherd(1, assign()), SendShepherd(1, step())]
    play(ShepherdSays(1, Started(1, 0, 50)))
    assert play.says(step()) == []
    assert play(ShepherdSays(1, StepEnded(1, 0, 0, DONE))) == [SendController(StepEnded(1, 0, 0, DONE))]
    assert SendController(StepEnded(1, 0, 0, DONE)) in play.later(RESEND_MS)
    assert play.says(AckEnded(1, 0, 0)) == [SendShepherd(1, AckEnded(1, 0, 0))]
    assert play.says(step()) == []
    assert SendController(StepEnded(1, 0, 0, DONE)) not in play.later(RESEND_MS)


def test_a_step_of_no_run_is_refused_and_that_is_told_until_acknowledged():
    play = Play()
    (command,) = play.says(step(job_id=9))
    assert command.message.record.cause == "LaunchFailed"
    assert command in play.later(RESEND_MS)
    play.says(AckEnded(9, 0, 0))
    assert command not in play.later(RESEND_MS)


def test_a_terminated_step_is_not_started_by_a_late_launch():
    play = Play().running()
    (command,) = play.says(Terminate(1, 0, "Cancelled", step_id=4))
    assert command.message.record.cause == "Cancelled"
    assert play.says(step(4)) == [command]


def test_the_end_of_a_run_ends_its_steps():
    play = Play().running()
    play.says(step())
    play(ShepherdDown(1))
    first, second = play(Inspected((1, 0), "ended", BAD))
    assert (first.message.step_id, first.message.record.cause) == (0, "ShepherdKilled") and second.message == Ended(1, 0, BAD)


def test_signals_and_questions_about_strangers_are_answered():
    play = Play()
    assert play.says(SignalRun(1, 8, 0, 10, "all")) == [SendController(SignalDone(1, "job 8 does not run on this node"))]
    assert play.says(QueryUsage(2, 8)) == [SendController(UsageReport(2, ()))]


def test_pings_silence_and_back_off():
    play = Play()
    assert play.later(5_000)[:2] == [SendController(Ping(play.now_ms)), ReportLoad()]
    assert play.later(SILENCE_MS) == [CloseController()]
    play(ControllerDown())
    waits = []
    for _ in range(7):
        waited = 0
        while Connect() not in play.later(250):
            waited += 250
        waits.append(waited + 250)
        play(ControllerDown())
    assert waits == [250, 500, 1000, 2000, 4000, 5000, 5000]


def test_an_idle_shepherd_is_dismissed_after_a_while():
    play = Play()
    play.idle(1)
    assert SendShepherd(1, Dismiss()) in play.later(IDLE_SHEPHERD_MS)
    assert play.says(assign()) == [StartShepherd()]


def test_launches_that_the_backlog_dropped_are_asked_for_again_once_the_shepherd_is_there():
    play = Play().running()
    play(ShepherdDown(1))
    for number in range(MAX_BACKLOG + 2):
        play.says(step(number))
    out = play(ShepherdUp(2, Announce(SHEPHERD_PROTOCOL, 7, "b", 5, (1, 0))))
    assert [command.message.step_id for command in out if isinstance(command, SendShepherd)] == list(range(2, MAX_BACKLOG + 2))
    assert out[-1] == CloseController()
    play(ControllerDown())
    (said,) = [c.message for c in play(ControllerUp()) if isinstance(c, SendController) and isinstance(c.message, Hello)]
    assert said.runs[0].steps == tuple(range(2, MAX_BACKLOG + 2))
    assert play.says(step(0)) == [SendShepherd(2, step(0))]
    assert play.says(step(2)) == []
