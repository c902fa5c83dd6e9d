"""Batch, live and shuffled: given the same catalog, a measurement is the same whichever way it was asked for."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from stream.config import load_recipe
from stream.messages import FrameMeasured, NightStatus
from stream.night.ledger import LedgerReader
from stream.night.run import NightOptions, Onlooker, run_night
from tests.batch.reduced import N_IMAGES, SETTINGS, Reduced

_SCALARS = ("time_mjd_utc", "time_bmjd_tdb", "exposure_s", "airmass", "flags", "n_aligned", "catalog_version")


@dataclass(frozen=True)
class Arrivals:
    """A live night whose frames appear in a given order, the next few once the last ones are measured."""

    source: Path
    folder: Path
    names: Sequence[str]
    at_once: int = 20
    n_workers: int = 2

    def run(self, out: Path, batch: Path) -> None:
        """Reduce them by recipe and catalogs of the batch."""
        stop, waiting = threading.Event(), list(self.names)

        def look(status: NightStatus) -> None:
            n_done = status.n_measured + status.n_rejected
            if n_done == len(self.names):
                stop.set()
            if n_done < len(self.names) - len(waiting):
                return
            for name in waiting[: self.at_once]:
                shutil.copy(self.source / name, self.folder / f".{name}")
                (self.folder / f".{name}").rename(self.folder / name)
            del waiting[: self.at_once]

        self.folder.mkdir()
        catalogs = tuple(sorted((batch / "cat").glob("*_catalog.ecsv")))
        assert len(catalogs) == len(SETTINGS.filters)
        options = NightOptions(self.folder, out, n_workers=self.n_workers, catalogs=catalogs)
        run_night(options, load_recipe(batch / "night.toml"), stop=stop, onlooker=Onlooker(on_status=look))


def measurements(out: Path) -> dict[str, FrameMeasured]:
    reader = LedgerReader(out)
    try:
        outcomes = reader.outcomes_since(0)
    finally:
        reader.close()
    measured = [outcome for outcome in outcomes if isinstance(outcome, FrameMeasured)]
    assert len(measured) == len(outcomes)
    return {outcome.path: outcome for outcome in measured}


@pytest.fixture(scope="module")
def nights(reduced: Reduced, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, FrameMeasured]]:
    root, frames = tmp_path_factory.mktemp("other_ways"), reduced.frames
    in_order = sorted(path.name for path in frames.glob("*.fit"))
    in_order.sort(key=lambda name: name[7:])  # the running number: keys take turns
    shuffled = random.Random(3).sample(in_order, len(in_order))
    Arrivals(frames, root / "live", in_order).run(root / "live_out", reduced.out)
    Arrivals(frames, root / "shuffled", shuffled, n_workers=1).run(root / "shuffled_out", reduced.out)
    outs = {"batch": reduced.out, "live_out": root / "live_out", "shuffled_out": root / "shuffled_out"}
    return {name: measurements(out) for name, out in outs.items()}


@pytest.mark.parametrize("way", ["live_out", "shuffled_out"])
def test_the_same_frames_and_flags_and_values_within_a_thousandth_of_their_error(
    nights: dict[str, dict[str, FrameMeasured]], way: str
) -> None:
    batch, other = nights["batch"], nights[way]
    assert len(batch) == N_IMAGES * len(SETTINGS.filters)
    assert batch.keys() == other.keys()
    for path, first in batch.items():
        second = other[path]
        for name in _SCALARS:
            np.testing.assert_equal(getattr(first, name), getattr(second, name), err_msg=f"{path} {name}")
        compare_sources(path, first, second)


def compare_sources(path: str, first: FrameMeasured, second: FrameMeasured) -> None:
    columns = first.columns()
    assert columns == second.columns()
    one, two = first.source_table(), second.source_table()
    np.testing.assert_array_equal(one[columns.index("flags")], two[columns.index("flags")], err_msg=path)
    for name in columns:
        if not name.endswith("_flux"):
            continue
        row, error_row = columns.index(name), columns.index(f"{name}_err")
        np.testing.assert_array_equal(np.isnan(one[row]), np.isnan(two[row]), err_msg=path)
        error = one[error_row]
        measured = np.isfinite(one[row])
        assert measured.any(), path
        assert np.all(np.abs(one[row] - two[row])[measured] <= 1e-3 * error[measured]), (path, name)
        assert np.all(np.abs(error - two[error_row])[measured] <= 1e-3 * error[measured]), (path, name)


def test_the_way_of_arrival_really_differed(nights: dict[str, dict[str, FrameMeasured]]) -> None:
    orders = {
        name: [path for path, _ in sorted(outcomes.items(), key=lambda item: item[1].sequence)]
        for name, outcomes in nights.items()
    }
    assert len({tuple(order) for order in orders.values()}) == len(orders)
