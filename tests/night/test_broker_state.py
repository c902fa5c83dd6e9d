"""The broker's mind: whatever workers do, every frame ends in exactly one outcome."""

from __future__ import annotations

from collections import Counter, deque

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stream.config import BootstrapSettings
from stream.errors import Reason
from stream.messages import (
    AssignFrame,
    BuildCatalog,
    CatalogBuilt,
    CatalogNotBuilt,
    FrameDescribed,
    FrameMeasured,
    FrameRejected,
    FrameToMeasure,
    SaveCatalogFiles,
    StopWorker,
    UseCatalog,
)
from stream.night.broker_events import (
    ArrivalsEnded,
    CatalogGiven,
    ClockTicked,
    Commit,
    Event,
    FrameEntered,
    Instruction,
    KillWorker,
    Patience,
    Replied,
    SaveCatalog,
    Send,
    StopRequested,
    WorkerExited,
    WorkerHeard,
    WorkerJoined,
)
from stream.night.broker_state import BrokerState
from tests.night.ledger_rows import make_catalog, make_measured

KEYS = ("1:g", "2:r")
BOOTSTRAP = BootstrapSettings(n_frames=3, wait_s=10.0)


def frame_of(number: int) -> FrameToMeasure:
    return FrameToMeasure(number, f"{number}.fit")


def entered(number: int, key: str | None = "1:g", time: float | None = None) -> FrameEntered:
    return FrameEntered(frame_of(number), key, float(number) if time is None and key else time)


def sent(instructions: list[Instruction], pid: int | None = None) -> list[object]:
    return [one.message for one in instructions if isinstance(one, Send) and pid in (None, one.pid)]


def assigned(instructions: list[Instruction]) -> list[int]:
    return [message.frame.frame_id for message in sent(instructions) if isinstance(message, AssignFrame)]


def outcomes(instructions: list[Instruction]) -> list[FrameMeasured | FrameRejected]:
    return [one.outcome for one in instructions if isinstance(one, Commit)]


class NightMachine(RuleBasedStateMachine):
    """Workers that answer, die, fall silent and answer late, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.state = BrokerState(BOOTSTRAP, Patience(silence_s=5.0, frame_s=20.0, build_s=40.0))
        self.at_s = 0.0
        self.n_frames = 0
        self.n_pids = 0
        self.ended = False
        self.inbox: dict[int, deque[AssignFrame | BuildCatalog]] = {}
        self.ghosts: dict[int, deque[AssignFrame | BuildCatalog]] = {}
        self.catalogs: dict[int, dict[str, str]] = {}
        self.true_key: dict[int, str] = {}
        self.committed: Counter[int] = Counter()
        self.saved: Counter[str] = Counter()

    def tell(self, event: Event) -> None:
        for one in self.state.handle(event, self.at_s):
            match one:
                case Commit(outcome):
                    self.committed[outcome.frame_id] += 1
                case SaveCatalog(catalog):
                    self.saved[catalog.key] += 1
                case KillWorker(pid):
                    self.ghosts[pid] = self.inbox.pop(pid)
                case Send(pid, UseCatalog(catalog)):
                    self.catalogs[pid][catalog.key] = catalog.version
                case Send(pid, AssignFrame() | BuildCatalog() as message):
                    if isinstance(message, AssignFrame) and message.key:
                        assert self.catalogs[pid][message.key] == message.catalog_version
                    self.inbox[pid].append(message)
                    assert len(self.inbox[pid]) <= 2

    def answer(self, pid: int, task: AssignFrame | BuildCatalog, good: bool) -> None:
        match task:
            case BuildCatalog(key, frames) if good:
                rejected = (FrameRejected(frames[0].frame_id, frames[0].path, Reason.NO_STARS, "no stars"),)
                self.tell(Replied(pid, CatalogBuilt(make_catalog(key), rejected if len(frames) > 2 else ())))
            case BuildCatalog(key, frames):
                rejected = (FrameRejected(frames[0].frame_id, frames[0].path, Reason.NO_STARS, "no stars"),)
                self.tell(Replied(pid, CatalogNotBuilt(key, "clouds", rejected if len(frames) > 2 else ())))
            case AssignFrame(frame, ""):
                if good:
                    key = self.true_key[frame.frame_id]
                    self.tell(Replied(pid, FrameDescribed(frame.frame_id, key, float(frame.frame_id))))
                else:
                    rejection = FrameRejected(frame.frame_id, frame.path, Reason.NOT_FITS, "not FITS")
                    self.tell(Replied(pid, rejection))
            case AssignFrame(frame, key):
                self.tell(Replied(pid, make_measured(frame, frame.frame_id, key)))

    @initialize()
    def first_worker(self) -> None:
        self.join()

    @precondition(lambda self: not self.ended)
    @rule(key=st.sampled_from([*KEYS, None]), true_key=st.sampled_from(KEYS), time=st.floats(0.0, 100.0))
    def enter(self, key: str | None, true_key: str, time: float) -> None:
        self.n_frames += 1
        self.true_key[self.n_frames] = true_key
        self.tell(entered(self.n_frames, key, time if key else None))

    @precondition(lambda self: len(self.inbox) < 4)
    @rule()
    def join(self) -> None:
        self.n_pids += 1
        self.inbox[self.n_pids] = deque()
        self.catalogs[self.n_pids] = {}
        self.tell(WorkerJoined(self.n_pids, 2))

    @precondition(lambda self: any(self.inbox.values()))
    @rule(data=st.data(), good=st.booleans())
    def reply(self, data: st.DataObject, good: bool) -> None:
        pid = data.draw(st.sampled_from([pid for pid, tasks in self.inbox.items() if tasks]))
        self.answer(pid, self.inbox[pid].popleft(), good)

    @precondition(lambda self: self.inbox)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        pid = data.draw(st.sampled_from(list(self.inbox)))
        self.ghosts[pid] = self.inbox.pop(pid)
        self.tell(WorkerExited(pid))

    @precondition(lambda self: any(self.ghosts.values()))
    @rule(data=st.data(), good=st.booleans())
    def reply_late(self, data: st.DataObject, good: bool) -> None:
        pid = data.draw(st.sampled_from([pid for pid, tasks in self.ghosts.items() if tasks]))
        self.answer(pid, self.ghosts[pid].popleft(), good)

    @rule(data=st.data(), seconds=st.floats(0.0, 8.0))
    def wait(self, data: st.DataObject, seconds: float) -> None:
        self.at_s += seconds
        for pid in list(self.inbox):
            if data.draw(st.booleans()):
                self.tell(WorkerHeard(pid))
        self.tell(ClockTicked())

    @rule()
    def end(self) -> None:
        self.ended = True
        self.tell(ArrivalsEnded())

    @invariant()
    def no_frame_has_two_outcomes_and_none_is_lost(self) -> None:
        assert all(n == 1 for n in self.committed.values())
        assert all(n == 1 for n in self.saved.values())
        assert len(self.committed) + self.state.n_open == self.n_frames
        counts = self.state.counts()
        assert counts.n_waiting + counts.n_queued + counts.n_in_work == self.state.n_open
        assert counts.n_workers == len(self.inbox)

    def teardown(self) -> None:
        self.end()
        self.join()
        for _ in range(20 * (self.n_frames + 5)):
            busy = next((pid for pid, tasks in self.inbox.items() if tasks), None)
            if busy is None:
                break
            self.answer(busy, self.inbox[busy].popleft(), good=True)
        assert self.state.is_finished
        assert self.committed == Counter(range(1, self.n_frames + 1))


TestNightMachine = NightMachine.TestCase
TestNightMachine.settings = settings(max_examples=150, stateful_step_count=60, deadline=None, derandomize=True)


def with_catalog(n_workers: int = 1) -> BrokerState:
    state = BrokerState(BOOTSTRAP)
    state.handle(CatalogGiven(make_catalog()), 0.0)
    for pid in range(1, n_workers + 1):
        state.handle(WorkerJoined(pid, 2), 0.0)
    return state


def test_the_newest_goes_before_the_backlog_and_the_backlog_is_oldest_first() -> None:
    state = with_catalog(0)
    for number in (1, 2, 3, 4, 5):
        state.handle(entered(number), 0.0)
    order = assigned(state.handle(WorkerJoined(1, 2), 0.0))
    while state.n_open:
        reply = Replied(1, make_measured(frame_of(order[5 - state.n_open]), 0))
        order += assigned(state.handle(reply, 0.0))
    assert order == [5, 1, 2, 3, 4]


def test_a_catalog_is_built_from_the_oldest_frames_and_those_that_waited_are_measured() -> None:
    state = BrokerState(BOOTSTRAP)
    state.handle(WorkerJoined(1, 2), 0.0)
    assert sent(state.handle(entered(7), 0.0)) == []
    assert sent(state.handle(entered(5), 0.0)) == []
    assert state.awaited() == ("2 of 3 frames for the catalog of 1:g",)
    (build,) = sent(state.handle(entered(6), 0.0))
    assert build == BuildCatalog("1:g", (frame_of(5), frame_of(6), frame_of(7)))
    assert state.awaited() == ("the catalog of 1:g is being built",)
    instructions = state.handle(Replied(1, CatalogBuilt(make_catalog())), 1.0)
    assert instructions[0] == SaveCatalog(make_catalog())
    assert sent(instructions)[:2] == [SaveCatalogFiles("1:g", "abc"), UseCatalog(make_catalog())]
    assert assigned(instructions) == [7, 5]


def test_a_catalog_is_built_from_fewer_frames_after_a_while() -> None:
    state = BrokerState(BOOTSTRAP)
    state.handle(WorkerJoined(1, 2), 0.0)
    state.handle(entered(1), 1.0)
    state.handle(WorkerHeard(1), 10.9)
    assert sent(state.handle(ClockTicked(), 10.9)) == []
    assert sent(state.handle(ClockTicked(), 11.0)) == [BuildCatalog("1:g", (frame_of(1),))]


def test_an_attempt_is_repeated_only_with_frames_that_it_did_not_have() -> None:
    state = BrokerState(BOOTSTRAP)
    state.handle(WorkerJoined(1, 2), 0.0)
    for number in (1, 2, 3):
        state.handle(entered(number), 0.0)
    failed = CatalogNotBuilt("1:g", "no stars on them", (FrameRejected(1, "1.fit", Reason.NO_STARS, "1.fit: none"),))
    instructions = state.handle(Replied(1, failed), 0.0)
    assert [outcome.frame_id for outcome in outcomes(instructions)] == [1]
    assert sent(instructions) == []
    state.handle(WorkerHeard(1), 60.0)
    assert sent(state.handle(ClockTicked(), 60.0)) == []
    assert state.awaited() == ("2 of 3 frames for the catalog of 1:g (no stars on them)",)
    (build,) = sent(state.handle(entered(4), 60.0))
    assert isinstance(build, BuildCatalog)
    assert {frame.frame_id for frame in build.frames} == {2, 3, 4}
    state.handle(ArrivalsEnded(), 61.0)
    instructions = state.handle(Replied(1, CatalogNotBuilt("1:g", "clouds", ())), 61.0)
    sentences = [outcome.sentence for outcome in outcomes(instructions) if isinstance(outcome, FrameRejected)]
    assert sentences[0] == "2.fit: there is no catalog of 1:g to measure it against: clouds"
    assert state.is_finished


def test_a_frame_that_kills_its_worker_takes_no_innocent_one_with_it() -> None:
    state, guilty, pid = with_catalog(0), 3, 0
    for number in range(1, 8):
        state.handle(entered(number), 0.0)
    held: list[int] = []
    results: list[FrameMeasured | FrameRejected] = []
    while state.n_open:
        if not held:
            pid += 1
            held = assigned(state.handle(WorkerJoined(pid, 2), 0.0))
        if held[0] == guilty:
            instructions, held = state.handle(WorkerExited(pid), 0.0), []
        else:
            instructions = state.handle(Replied(pid, make_measured(frame_of(held.pop(0)), 0)), 0.0)
            held += assigned(instructions)
        results += outcomes(instructions)
    assert {outcome.frame_id for outcome in results if isinstance(outcome, FrameMeasured)} == {1, 2, 4, 5, 6, 7}
    (rejected,) = [outcome for outcome in results if isinstance(outcome, FrameRejected)]
    assert (rejected.frame_id, rejected.reason) == (guilty, Reason.CRASHED_WORKER)
    assert rejected.sentence == "3.fit: 2 workers died over this frame"
    assert pid == 3


@pytest.mark.parametrize(("heard_s", "now_s"), [(0.0, 5.1), (61.0, 61.1)], ids=["silent", "stuck"])
def test_a_worker_that_is_given_up_is_killed_and_its_frame_handed_out_again(heard_s: float, now_s: float) -> None:
    state = with_catalog(1)
    assert assigned(state.handle(entered(1), 0.0)) == [1]
    state.handle(WorkerHeard(1), heard_s)
    assert state.handle(ClockTicked(), now_s) == [KillWorker(1)]
    assert assigned(state.handle(WorkerJoined(2, 2), now_s)) == [1]
    late = state.handle(Replied(1, make_measured(frame_of(1), 0)), now_s)
    assert [outcome.frame_id for outcome in outcomes(late)] == [1]
    assert outcomes(state.handle(Replied(2, make_measured(frame_of(1), 0)), now_s)) == []
    assert state.counts().n_in_work == 0


def test_a_refused_file_is_never_opened() -> None:
    state = with_catalog(1)
    event = FrameEntered(frame_of(1), None, None, refusal="1.fit is not a regular file")
    instructions = state.handle(event, 0.0)
    (outcome,) = outcomes(instructions)
    assert isinstance(outcome, FrameRejected)
    assert (outcome.reason, outcome.sentence) == (Reason.UNREADABLE, "1.fit is not a regular file")
    assert sent(instructions) == []


def test_nothing_is_handed_out_after_a_stop() -> None:
    state = with_catalog(2)
    state.handle(entered(1), 0.0)
    assert sent(state.handle(StopRequested(), 0.0)) == [StopWorker(), StopWorker()]
    assert sent(state.handle(entered(2), 0.0)) == []
    assert len(outcomes(state.handle(Replied(1, make_measured(frame_of(1), 0)), 0.0))) == 1
    assert state.n_open == 1
