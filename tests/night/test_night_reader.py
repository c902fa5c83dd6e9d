from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from stream.errors import Reason
from stream.messages import FrameRejected
from stream.night.ledger import Ledger
from stream.night.night_reader import NightReader
from tests.night.ledger_rows import RECIPE, make_arrival, make_catalog, make_measured


def test_columns_of_a_night_in_order_of_time(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, RECIPE, folder=tmp_path)
    ledger.save_catalog(make_catalog())
    frames = ledger.enter([make_arrival(number) for number in (2, 0, 1, 3)] + [make_arrival(9, "2:r")])
    ledger.commit([make_measured(frame, number) for frame, number in zip(frames, (2, 0, 1), strict=False)])
    ledger.commit([FrameRejected(frames[3].frame_id, frames[3].path, Reason.NO_STARS, "no stars", key="1:g")])
    ledger.close()
    reader = NightReader(tmp_path)
    try:
        conditions = reader.conditions("1:g")
        assert conditions.frame_ids.tolist() == [frames[1].frame_id, frames[2].frame_id, frames[0].frame_id]
        assert len(conditions) == 3
        assert (np.diff(conditions["time_mjd_utc"]) > 0.0).all()
        assert len(reader.conditions("7:x")) == 0
        times = reader.header_times()
        assert {key: len(time) for key, time in times.items()} == {"1:g": 4, "2:r": 1}
        assert (np.diff(times["1:g"]) > 0.0).all()
        assert reader.frame_paths() == {frame.frame_id: frame.path for frame in frames}
    finally:
        reader.close()


def test_an_unknown_number_is_nan(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, RECIPE, folder=tmp_path)
    ledger.save_catalog(make_catalog())
    (frame,) = ledger.enter([make_arrival(0)])
    measured = make_measured(frame, 0)
    ledger.commit([msgspec.structs.replace(measured, fwhm_px=float("nan"))])
    ledger.close()
    reader = NightReader(tmp_path)
    try:
        assert np.isnan(reader.conditions("1:g")["fwhm_px"]).all()
    finally:
        reader.close()
