"""Thirty frames a second for a minute are kept up with: a floor, not a goal."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from stream.messages import NightStatus
from stream.night.ledger import LedgerReader
from tests.night.processes import counts_of, running, stop, wait_for_outcomes
from tests.night.waiting import wait_until

pytestmark = pytest.mark.clock

KEYS = ("1:g", "2:r", "3:i")
CADENCE_S, N_IMAGES = 0.1, 600
LONGEST_QUEUE = 60  # two seconds of frames
LATE_S = 3.0


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_thirty_frames_a_second_for_a_minute(tmp_path: Path) -> None:
    frames, out = tmp_path / "frames", tmp_path / "out"
    frames.mkdir()
    with running("watch", frames, "--out", out, "--no-page") as watch:
        wait_until((out / "night.run.json").exists, 30.0, "the night to run")
        words = ("--frames", N_IMAGES, "--cadence", CADENCE_S, "--live", "--seed", 5)
        with running("simulate", frames, *map(str, words)) as simulator:
            samples = _sample_until(simulator.poll, out)
            assert simulator.wait(timeout=5.0) == 0
        counts = wait_for_outcomes(out, 3 * N_IMAGES, timeout_s=LATE_S)
        status, _, errors = stop(watch)
        assert status == 0, errors
    assert counts.by_key == dict.fromkeys(KEYS, N_IMAGES)
    assert counts.n_rejected == 0
    queues = [sample.n_queued + sample.n_waiting for sample in samples]
    settled = queues[len(queues) // 4 :]  # the catalogs are built in the first seconds
    lag = [sample.lag_s for sample in samples if math.isfinite(sample.lag_s)]
    print(f"30 frames/s: longest queue {max(settled)}, last queue {settled[-1]}, lag {lag[-1] * 1000.0:.0f} ms")  # noqa: T201
    assert max(settled) < LONGEST_QUEUE
    thirds = len(settled) // 3
    assert sum(settled[-thirds:]) / thirds <= sum(settled[:thirds]) / thirds + LONGEST_QUEUE / 10.0


def _sample_until(ended: object, out: Path) -> list[NightStatus]:
    assert callable(ended)
    samples: list[NightStatus] = []

    def sample() -> bool:
        if counts_of(out) is not None:
            reader = LedgerReader(out)
            status = reader.status()
            reader.close()
            if status is not None and (not samples or status.unix_s > samples[-1].unix_s):
                samples.append(status)
        return ended() is not None

    wait_until(sample, 150.0, "the end of the simulated minute")
    return samples
