"""A simulated night that is reduced by ``opticam-live watch`` with its page, while frames of three keys come in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from tests.faults.test_stops import page_of
from tests.faults.whole_night import Watch, put, simulate

N_IMAGES = 150
N_FIRST = 9
"""Three of each key: two fewer than a catalog is made of."""
_EACH_S = 0.25
_CHOICE = ("--target", "1:g#2", *(word for star in (1, 3, 4) for word in ("--comparisons", f"1:g#{star}")))
"""What would be chosen automatically changes as the night grows."""


@dataclass(frozen=True)
class RealNight:
    """A night that runs, and its page.

    Attributes
    ----------
    go_on : Event
        Set by a test that wants more than the first frames.
    """

    watch: Watch
    address: str
    go_on: threading.Event

    def put_frame_without_header(self, name: str) -> None:
        """Let a frame appear that no recipe can read: its header says nothing."""
        image = np.zeros((16, 16), dtype=np.uint16)
        fits.PrimaryHDU(image).writeto(self.watch.folder.parent / name)
        put([self.watch.folder.parent / name], self.watch.folder)


@contextmanager
def reduced_while_it_is_observed(root: Path) -> Iterator[RealNight]:
    """A night of 450 frames of 128 x 128 pixels, 12 a second: nine of them at first, the others when it is to go on."""
    frames = simulate(root / "simulated", N_IMAGES)
    go_on, stopping = threading.Event(), threading.Event()
    watch = Watch(root / "frames", root / "night", options=(*_CHOICE, "--port", "0"), n_workers=1)

    def feed() -> None:
        while not go_on.wait(0.05):
            if stopping.is_set():
                return
        for first in range(N_FIRST, len(frames), 3):
            if stopping.wait(_EACH_S):
                return
            put(frames[first : first + 3], watch.folder)

    put(frames[:N_FIRST], watch.folder)
    feeding = threading.Thread(target=feed)
    with watch:
        feeding.start()
        try:
            yield RealNight(watch, page_of(watch), go_on)
        finally:
            stopping.set()
            feeding.join()
        assert watch.stop().status == 0
