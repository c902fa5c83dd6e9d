"""Where measurements go: a real ledger to commit to, and a real publisher with a subscriber, in this process."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import msgspec

from server.subscription import Subscription
from stream.config import Recipe
from stream.errors import NightError
from stream.messages import ENCODER, FROM_WORKER, FrameArrived, FrameMeasured
from stream.night.ledger import Ledger
from stream.night.night_folder import NightFolder, RunFile
from stream.night.wire import BrokerWire, make_keys

FRAMES_A_COMMIT = 3
"""Three cameras expose together, and what comes in together is committed together."""
_TOPIC = b"measured"
_PATIENCE_S = 5.0
_POLL_S = 0.5
_FRAME_BYTES = 527_040


class CommitBench:
    """A ledger that rows are added to, without end; each of them a frame of its own."""

    def __init__(self, out: Path, recipe: Recipe) -> None:
        self._ledger = Ledger(out, recipe)
        self._numbers = itertools.count(self._ledger.last_sequence + 1)

    def __enter__(self) -> CommitBench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ledger.close()

    def commit(self, messages: Sequence[FrameMeasured], n_rows: int, *, at_once: int = FRAMES_A_COMMIT) -> None:
        """Enter `n_rows` new frames and commit as many copies of `messages`, `at_once` to a transaction."""
        source = itertools.cycle(messages)
        for start in range(0, n_rows, at_once):
            batch = list(itertools.islice(source, min(at_once, n_rows - start)))
            arrivals = [_arrival(next(self._numbers), message) for message in batch]
            entered = self._ledger.enter(arrivals)
            self._ledger.commit(
                [
                    msgspec.structs.replace(message, frame_id=frame.frame_id, path=frame.path)
                    for message, frame in zip(batch, entered, strict=True)
                ]
            )


def _arrival(number: int, message: FrameMeasured) -> FrameArrived:
    return FrameArrived(
        path=f"{number:07d}{message.key.replace(':', '-')}.fit",
        size_bytes=_FRAME_BYTES,
        mtime_ns=number,
        arrived_unix_s=1.7e9 + number,
        key=message.key,
        time_mjd_utc=message.time_mjd_utc,
    )


class PublishBench:
    """The sockets of a night, and somebody who listens."""

    def __init__(self, out: Path) -> None:
        self._home = NightFolder(out)
        make_keys(self._home.path)
        self._wire = BrokerWire(self._home.path)
        endpoints = (self._wire.router_endpoint, self._wire.publisher_endpoint)
        self._home.write_run_file(RunFile(os.getpid(), str(out), *endpoints))
        self._listener = Subscription(self._home.path)
        self._listener.look()

    def __enter__(self) -> PublishBench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self._wire.close()
        self._home.close()

    def publish(self, messages: Sequence[FrameMeasured], n_messages: int) -> None:
        """Send `n_messages`, `FRAMES_A_COMMIT` at a time, and wait for each of them.

        Raises
        ------
        NightError
            If a message does not arrive.
        """
        self._connect(messages[0])
        source = itertools.cycle(messages)
        for start in range(0, n_messages, FRAMES_A_COMMIT):
            for message in itertools.islice(source, min(FRAMES_A_COMMIT, n_messages - start)):
                of_worker = FROM_WORKER.decode(ENCODER.encode(message))
                self._wire.publisher.send_multipart([_TOPIC, ENCODER.encode(of_worker)])
            self._receive(min(FRAMES_A_COMMIT, n_messages - start))

    def _connect(self, message: FrameMeasured) -> None:
        """Send until the subscriber hears: what is published before it has joined is lost; then take all of it."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self._listener.receive(0.02):
            self._wire.publisher.send_multipart([_TOPIC, ENCODER.encode(message)])
            if time.monotonic() > deadline:
                raise NightError("the subscriber of the benchmark does not hear the publisher")
        while self._listener.receive(0.02):
            pass

    def _receive(self, n_messages: int) -> None:
        deadline, heard = time.monotonic() + _PATIENCE_S, 0
        while heard < n_messages:
            heard += len(self._listener.receive(_POLL_S))
            if time.monotonic() > deadline:
                raise NightError(f"{heard} of {n_messages} published messages arrived")
