"""The highest pixel of every measurement, from the frame to the light curve of a notebook."""

from __future__ import annotations

from contextlib import closing

import numpy as np
from astropy.table import Table

from stream.instruments import OPTICAM_MX
from stream.measure.frames import read_frame
from stream.night.night_reader import NightReader
from tests.batch.reduced import LABEL, N_IMAGES, Reduced


def test_the_highest_pixel_of_every_measurement_is_a_column(reduced: Reduced) -> None:
    with closing(NightReader(reduced.out, label=LABEL)) as reader:
        catalog = reader.catalogs()["1:g"]
        messages = {message.path: message for message in reader.outcomes_since(0)}
        ids = reader.source_fluxes("1:g", LABEL).frame_ids
        peaks = reader.peak_counts("1:g", np.append(ids[[5, 2]], 10**6))
        assert reader.peak_counts("2:r", ids[:0]).shape == (0, reader.catalogs()["2:r"].n_sources)
    tables = [
        Table.read(reduced.out / "lcs" / LABEL / f"1-g_source_{number}.csv", format="ascii.csv", comment="#")
        for number in range(1, catalog.n_sources + 1)
    ]
    for row in (0, N_IMAGES - 1):
        name = str(tables[0]["frame"][row])
        pixels = read_frame(reduced.frames / name, name, OPTICAM_MX()).electrons()  # of a gain of 1
        x, y, *_ = messages[name].source_table()  # type: ignore[union-attr]
        for number, table in enumerate(tables):
            column, line = round(x[number]), round(y[number])
            if 3 < column < pixels.shape[1] - 4 and 3 < line < pixels.shape[0] - 4 and table["flags"][row] == 0:
                highest = pixels[line - 1 : line + 2, column - 1 : column + 2].max()
                assert table["peak_adu"][row] >= highest
                assert table["peak_adu"][row] in pixels[line - 9 : line + 10, column - 9 : column + 10]
    np.testing.assert_array_equal(peaks[:2], [[table["peak_adu"][row] for table in tables] for row in (5, 2)])
    assert np.isnan(peaks[2]).all()
