"""Several sets of measurements in one ledger: each photometer finds the newest one of its own."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from stream.config import APERTURE_LABEL, OPTIMAL_LABEL, PhotometerSettings
from stream.errors import LedgerError
from stream.night.ledger import Ledger, LedgerReader
from tests.night.ledger_rows import RECIPE, make_arrival, make_catalog, make_measured


def test_a_label_is_read_from_the_newest_set_that_has_it(tmp_path: Path) -> None:
    first = Ledger(tmp_path, RECIPE, folder=tmp_path)
    first.save_catalog(make_catalog())
    (frame,) = first.enter([make_arrival(7)])
    first.commit([make_measured(frame, 7)])
    first.close()
    other = msgspec.structs.replace(RECIPE, photometers=(PhotometerSettings(forced=False, background="mesh"),))
    second = Ledger(tmp_path, other, folder=tmp_path, remeasure=True)
    second.save_catalog(make_catalog(version="def"))
    second.close()

    reader = LedgerReader(tmp_path, label=OPTIMAL_LABEL)
    assert reader.recipe() == RECIPE
    assert reader.catalogs()["1:g"].version == "abc"
    assert (reader.counts().n_measured, reader.counts().n_pending) == (1, 0)
    np.testing.assert_array_equal(reader.source_fluxes("1:g", OPTIMAL_LABEL).flux, [[1007.0, 2007.0, 3007.0]])
    reader.close()
    for newest in (LedgerReader(tmp_path), LedgerReader(tmp_path, label="aperture")):
        assert newest.recipe() == other
        assert (newest.counts().n_measured, newest.counts().n_pending) == (0, 1)
        newest.close()


def test_an_unknown_label_is_refused_with_those_there_are(tmp_path: Path) -> None:
    Ledger(tmp_path, RECIPE, folder=tmp_path).close()
    with pytest.raises(LedgerError, match=rf"label 'optimal' is no photometer.*: {APERTURE_LABEL}, {OPTIMAL_LABEL}$"):
        LedgerReader(tmp_path, label="optimal")
