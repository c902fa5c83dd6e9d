"""A process that watches a folder once, as somebody who may not do everything, and prints what arrived."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import msgspec

from stream.errors import FrameRejectedError
from stream.instruments import OPTICAM_MX
from stream.measure.frames import read_frame
from stream.night.watcher import Arrival, Watcher, WatchSettings

NOBODY = 65534


def main(folder: Path) -> None:
    """Print a line of JSON: the sentence of each rejection by name, empty for a frame, and what is complained about."""
    if not os.geteuid():  # root may read everything
        os.setuid(NOBODY)
    found: dict[str, str] = {}
    ended = threading.Event()

    def deliver(arrivals: list[Arrival], is_last: bool) -> None:
        for arrival in arrivals:
            found[arrival.message.path] = arrival.refusal or _sentence(folder, arrival.message.path)
        if is_last:
            ended.set()

    settings = WatchSettings(finite=True, hold_s=0.01, odd_hold_s=0.01)
    watcher = Watcher(folder, OPTICAM_MX(), exclude=(), deliver=deliver, known={}, settings=settings)
    watcher.start()
    if not ended.wait(20.0):
        raise TimeoutError(f"the watcher did not end: {watcher.failure}")
    watcher.stop()
    sys.stdout.buffer.write(msgspec.json.encode([found, list(watcher.complaints())]))


def _sentence(folder: Path, name: str) -> str:
    try:
        read_frame(folder / name, name, OPTICAM_MX())
    except FrameRejectedError as rejection:
        return rejection.sentence
    return ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
