"""Decoders that write past their memory run beside the worker: what they break is theirs alone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from stream.errors import FrameRejectedError, Reason
from stream.measure import compressed
from stream.measure.compressed import read_tiles, section_of
from stream.measure.tile_process import TileProcess, TileProcessError
from tests.fuzz.parts import base_content
from tests.night.waiting import wait_until

pytestmark = pytest.mark.clock


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Iterator[TileProcess]:
    made = TileProcess()
    monkeypatch.setattr(compressed, "_beside", made)
    yield made
    made.close()


def write(folder: Path, kind: str, damage: tuple[int, int] | None = None) -> Path:
    """Write an honest file, with one byte of its tiles exchanged."""
    content = bytearray(base_content(kind)[0])
    if damage is not None:
        place, byte = damage
        content[5760 + place] = byte
    path = folder / f"{kind}-{damage}.fits.fz"
    path.write_bytes(content)
    return path


def pid_of(beside: TileProcess) -> int:
    """Process id of the one beside, which must be there."""
    assert beside._process is not None
    return beside._process.pid


@pytest.mark.parametrize("kind", ["tiled-HCOMPRESS_1", "tiled-PLIO_1"])
def test_pixels_are_those_of_a_decoder_in_this_process(tmp_path: Path, beside: TileProcess, kind: str) -> None:
    path = write(tmp_path, kind)
    np.testing.assert_array_equal(read_tiles(path, path.name, hdu=1, plane=None), section_of(path, 1, None))
    assert pid_of(beside)


def test_other_kinds_need_no_other_process(tmp_path: Path, beside: TileProcess) -> None:
    for kind in ("tiled-RICE_1", "tiled-GZIP_1", "tiled-GZIP_2", "tiled-as_float"):
        assert read_tiles(write(tmp_path, kind), kind, hdu=1, plane=None).shape == (48, 48)
    assert beside._process is None


def test_damaged_tiles_are_rejected_and_the_next_file_is_read(tmp_path: Path, beside: TileProcess) -> None:
    honest = write(tmp_path, "tiled-HCOMPRESS_1")
    expected = read_tiles(honest, honest.name, hdu=1, plane=None)
    first = pid_of(beside)
    # The second one corrupts the heap: whoever had it lives for a while, and dies over something else.
    for damage in ((60, 255), (33, ord("5"))):
        path = write(tmp_path, "tiled-HCOMPRESS_1", damage)
        try:
            read_tiles(path, "a.fits.fz", hdu=1, plane=None)
        except FrameRejectedError as rejection:
            assert rejection.reason is Reason.UNREADABLE
            assert rejection.sentence.startswith("a.fits.fz cannot be unpacked: ")
            assert beside._process is None
        np.testing.assert_array_equal(read_tiles(honest, honest.name, hdu=1, plane=None), expected)
    assert pid_of(beside) != first


def test_a_process_that_died_is_started_again(tmp_path: Path, beside: TileProcess) -> None:
    path = write(tmp_path, "tiled-PLIO_1")
    expected = beside.read(path, 1, None)
    killed = pid_of(beside)
    os.kill(killed, signal.SIGKILL)
    np.testing.assert_array_equal(beside.read(path, 1, None), expected)
    assert pid_of(beside) != killed
    beside.close()
    assert beside._process is None


def test_a_process_that_hangs_is_given_up(tmp_path: Path, beside: TileProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "tiled-PLIO_1")
    expected = beside.read(path, 1, None)
    os.kill(pid_of(beside), signal.SIGSTOP)
    stopped = Path(f"/proc/{pid_of(beside)}/stat")
    wait_until(lambda: " T " in stopped.read_text(encoding="ascii"))
    started = beside._process
    monkeypatch.setattr(threading, "Timer", _timers(0.2, 20.0))  # the new one may take longer on a busy machine
    np.testing.assert_array_equal(beside.read(path, 1, None), expected)
    assert beside._process is not started


def _timers(*seconds: float) -> type:
    """Timers of these times, one after the other, whatever is asked for."""
    waiting = list(seconds)

    class Timer(threading.Timer):
        def __init__(self, _interval: float, function: Callable[[], None]) -> None:
            super().__init__(waiting.pop(0), function)

    return Timer


def test_what_cannot_be_unpacked_has_its_cause(tmp_path: Path, beside: TileProcess) -> None:
    with pytest.raises(TileProcessError, match=r"FileNotFoundError: .*gone\.fits\.fz"):
        beside.read(tmp_path / "gone.fits.fz", 1, None)
    assert beside._process is None
