"""Files of catalogs are written by a process of their own: nobody waits for it, and what goes wrong is told."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stream.measure.catalog import load_catalog, with_version
from stream.messages import Catalog
from stream.night import catalog_files
from stream.night.catalog_files import CatalogWriter, leave_picture
from stream.night.ledger import Ledger
from tests.night.ledger_rows import RECIPE, make_catalog
from tests.night.processes import is_alive
from tests.night.waiting import wait_until

pytestmark = pytest.mark.clock


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """A catalog in the ledger of a night in `tmp_path`."""
    made = with_version(make_catalog())
    ledger = Ledger(tmp_path, RECIPE)
    ledger.save_catalog(made)
    ledger.close()
    (tmp_path / "log").mkdir()
    return made


def leave(catalog: Catalog, out: Path) -> list[Path]:
    """Leave a picture as a worker does; what lies in the folder then."""
    picture = np.random.default_rng(3).normal(100.0, 5.0, catalog.frame_shape).astype(np.float32)
    leave_picture(catalog, picture, out / "cat")
    return list((out / "cat").iterdir())


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_an_earlier_run_left_is_drawn_beside_the_night(tmp_path: Path, catalog: Catalog) -> None:
    (left,) = leave(catalog, tmp_path)
    left.with_name(".stacked-another.npy").write_bytes(b"of a set that is no more")
    writer = CatalogWriter(tmp_path)
    writer.resume({catalog.key: catalog})
    assert names_in(tmp_path / "cat") == [left.name]
    began = time.monotonic()
    writer.check(began)
    assert time.monotonic() - began < 0.5  # started, not waited for
    writer.finish(30.0)
    assert names_in(tmp_path / "cat") == ["1-g_catalog.ecsv", "1-g_catalog.png"]
    assert load_catalog(tmp_path / "cat" / "1-g_catalog.ecsv") == catalog


def test_a_picture_that_cannot_be_drawn_is_one_sentence(
    tmp_path: Path, catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    other = with_version(make_catalog(key="2:r"))
    ledger = Ledger(tmp_path, RECIPE)
    ledger.save_catalog(other)
    ledger.close()
    (left,) = leave(catalog, tmp_path)
    left.write_bytes(left.read_bytes()[:300])
    leave(other, tmp_path)
    writer = CatalogWriter(tmp_path)
    for one in (catalog, other):
        writer.write(one.key, one.version)
    with caplog.at_level(logging.WARNING, "stream"):
        writer.finish(30.0)
    (sentence,) = caplog.messages
    assert sentence.startswith("the files of the catalog of 1:g were not written: ")
    assert "Traceback" not in sentence
    assert writer.is_idle
    assert {"2-r_catalog.ecsv", "2-r_catalog.png"} <= set(names_in(tmp_path / "cat"))  # by the same process


def test_a_drawing_that_hangs_is_ended_and_the_next_one_begins(
    tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(catalog_files, "_PROGRAM", (sys.executable, "-c", "import time; time.sleep(60)"))
    writer = CatalogWriter(tmp_path)
    writer.write(catalog.key, "first")
    now_s = time.monotonic()
    writer.check(now_s)
    writer.write(catalog.key, "second")
    first = writer._process
    writer.check(now_s + 0.5 * catalog_files._LONGEST_S)
    assert first is not None
    assert writer._process is first
    with caplog.at_level(logging.WARNING, "stream"):
        writer.check(now_s + catalog_files._LONGEST_S + 1.0)
    (sentence,) = caplog.messages
    assert sentence.startswith(
        "the files of the catalogs of 1:g were not all written: their process ended with status -9"
    )
    second = writer._process
    assert second is not None
    assert second.pid != first.pid
    writer.stop()
    wait_until(lambda: not is_alive(second.pid))
    assert writer.is_idle
