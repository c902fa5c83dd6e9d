"""Files of a simulated night against its truth, against the real camera's, and against themselves when repeated."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from astropy.io import fits
from photutils.aperture import CircularAnnulus, CircularAperture, aperture_photometry
from photutils.centroids import centroid_2dg, centroid_sources

from simulator.night import FrameFactory, generate_flats, generate_observations, simulate_night
from simulator.scenarios import SCENARIOS
from simulator.settings import NightSettings
from simulator.sky import VARIABLE
from simulator.truth import load_truth
from stream.errors import ConfigurationError
from stream.instruments import OPTICAM_MX
from stream.timestamps import SECONDS_PER_DAY
from tests.conftest import real_frames


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty frames of each key that drift and rotate."""
    folder = tmp_path_factory.mktemp("night")
    simulate_night(folder, NightSettings(n_images=30, scenarios=("drift", "rotation"), cadence_s=2.0))
    return folder


def test_a_frame_is_what_the_camera_writes(night: Path) -> None:
    names = sorted(path.name for path in night.glob("*.fit"))
    assert len(names) == 90
    assert names[0] == "231122g200143431o.fit"
    path = night / names[0]
    assert path.stat().st_size % 2880 == 0
    with fits.open(path) as hdus:
        assert len(hdus) == 1
        assert hdus[0].data.dtype == np.uint16
        assert hdus[0].data.shape == (512, 512)
        assert hdus[0].header["FILENAME"] == names[0]
        hdus.verify("exception")
    raw = fits.getheader(path, do_not_scale_image_data=True)
    assert (raw["BITPIX"], raw["BZERO"], raw["BSCALE"]) == (16, 32768, 1)


def test_pixels_survive_the_file(tmp_path: Path) -> None:
    from simulator.writer import HeaderTemplate, encode_pixels

    settings = NightSettings(binning=16)
    counts = np.linspace(0, 65535, 128 * 128).astype(np.uint16).reshape(128, 128)
    path = tmp_path / "ramp.fit"
    path.write_bytes(HeaderTemplate(settings, "g").encode(path.name, settings.start_unix_ms) + encode_pixels(counts))
    np.testing.assert_array_equal(fits.getdata(path), counts)


def test_headers_have_the_keywords_and_comments_of_the_real_frames(night: Path) -> None:
    for real_path, name in zip(sorted(real_frames("opticam_mx").glob("*.fit")), ("g", "r", "i"), strict=True):
        real = fits.getheader(real_path)
        ours = fits.getheader(next(iter(night.glob(f"231122{name}*.fit"))))
        assert [(card.keyword, card.comment) for card in ours.cards] == [
            (card.keyword, card.comment) for card in real.cards
        ]
        differing = {card.keyword for card in real.cards if str(ours[card.keyword]) != str(card.value)}
        assert differing <= {
            *("NAXIS1", "NAXIS2", "EXPOSURE", "CCDXBIN", "CCDYBIN", "BINNING", "FILENAME", "FILTER"),
            *("UT", "RA", "DEC", "AIRMASS", "COMMENT"),
        }
        assert [type(ours[keyword]) for keyword in ours] == [type(real[keyword]) for keyword in real]


def test_the_instrument_understands_headers_and_finds_the_time_of_the_truth(night: Path) -> None:
    truth = load_truth(night)
    for key, name in (("1:g", "g"), ("2:r", "r"), ("3:i", "i")):
        times = truth.column("time_mjd_utc", key)[:, 0]
        for index in (0, 29):
            file_name = truth.summary.settings.file_name(name, index)
            facts = OPTICAM_MX().describe(dict(fits.getheader(night / file_name)), file_name)
            assert facts.key == key
            assert facts.exposure_s == truth.summary.exposure_s == 0.5
            assert facts.binning == 4
            assert facts.time_resolution_s == 0.001
            assert facts.pointing is not None
            assert truth.summary.ra_dec_deg is not None
            assert facts.pointing.ra_deg == pytest.approx(truth.summary.ra_dec_deg[0])
            assert (facts.time_mjd_utc - times[index]) * SECONDS_PER_DAY == pytest.approx(0.0, abs=2e-6)


@pytest.mark.parametrize(
    ("pointing", "expected"),
    [
        ("placeholder", None),
        ("00 18 22.31 +15 04 05.0", (4.5929583, 15.0680556)),
        ("02 00 00 -10 30 00", (30.0, -10.5)),
    ],
)
def test_pointings_are_read_back(pointing: str, expected: tuple[float, float] | None) -> None:
    settings = NightSettings(binning=16, pointing=pointing)
    factory = FrameFactory(settings)
    state = factory.states(0)[0]
    header = fits.Header.fromstring(factory.content(state)[: 2880 * 3])
    found = OPTICAM_MX().describe(dict(header), state.file_name).pointing
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert (found.ra_deg, found.dec_deg) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pointing", "sentence"),
    [
        ("12 00 00 -60 00 00", "degrees below the horizon at 2023-11-22T03:02:49.000 UTC"),
        ("120", "'auto', 'placeholder' or 'HH MM SS"),
        ("a b c d e f", "three numbers are required"),
    ],
)
def test_pointings_that_cannot_be_are_refused(pointing: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        FrameFactory(NightSettings(pointing=pointing))


@pytest.mark.parametrize("start_unix_ms", [1_700_622_169_000, 1_717_243_200_000, 1_735_689_599_500])
def test_the_automatic_pointing_stays_up_for_ten_hours(start_unix_ms: int) -> None:
    settings = NightSettings(n_images=36_001, start_unix_ms=start_unix_ms, binning=16)
    factory = FrameFactory(settings)
    for index in (0, 18_000, 36_000):
        state = factory.states(index)[0]
        header = fits.Header.fromstring(factory.content(state)[: 2880 * 3])
        assert OPTICAM_MX().describe(dict(header), "x").pointing is not None
        assert 1.0 <= header["AIRMASS"] < 5.5


def test_photometry_by_photutils_finds_positions_and_fluxes_of_the_truth(night: Path) -> None:
    """Pulls over all frames, keys and sources: the errors are those that the truth predicts, no more and no less."""
    truth = load_truth(night)
    summary, pulls, offsets = truth.summary, [], []
    for key, name in (("1:g", "g"), ("2:r", "r"), ("3:i", "i")):
        x, y, electrons = (truth.column(column, key) for column in ("x", "y", "electrons"))
        sky = truth.column("sky_e_per_px", key)
        for index in range(30):
            image = fits.getdata(night / summary.settings.file_name(name, index)).astype(float)
            positions = np.column_stack([x[index], y[index]])
            aperture, annulus = CircularAperture(positions, 8.0), CircularAnnulus(positions, 16.0, 22.0)
            table = aperture_photometry(image, [aperture, annulus])
            per_px = table["aperture_sum_1"] / annulus.area
            flux = np.asarray(table["aperture_sum_0"] - per_px * aperture.area)
            noise_px = sky[index] + summary.dark_e_per_px + summary.read_noise_e[key] ** 2 + 1.0 / 12.0
            variance = electrons[index] + noise_px * aperture.area * (1.0 + aperture.area / annulus.area)
            pulls.append((flux - electrons[index]) / np.sqrt(variance))
            if index % 10 == 0:
                found = centroid_sources(
                    image - np.median(image), x[index, :4], y[index, :4], box_size=17, centroid_func=centroid_2dg
                )
                offsets.append(np.column_stack(found) - positions[:4])
    pull = np.concatenate(pulls)
    assert abs(pull.mean()) < 4.0 / np.sqrt(pull.size)
    assert pull.std() == pytest.approx(1.0, abs=4.0 / np.sqrt(2.0 * pull.size))
    assert np.abs(offsets).max() < 0.06
    assert abs(np.mean(offsets)) < 0.005


def test_signal_to_noise_is_that_of_a_good_night(night: Path) -> None:
    truth = load_truth(night)
    electrons, sky = truth.column("electrons", "2:r"), truth.column("sky_e_per_px", "2:r")
    snr = np.median(electrons / np.sqrt(electrons + 50.0 * (sky + 1.5)), axis=0)
    assert snr[0] > 300.0
    assert 30.0 < snr[-1] < 60.0


def test_summary_has_signal_sources_and_transforms(night: Path) -> None:
    summary = load_truth(night).summary
    assert summary.signal.source == VARIABLE + 1 == 2
    assert (summary.signal.rms, summary.signal.frequency_hz) == (0.02, 0.135)
    assert summary.signal.lag_rad == {"1:g": 0.0, "2:r": pytest.approx(np.pi / 2), "3:i": pytest.approx(np.pi)}
    assert len(summary.frames["file"]) == len(summary.frames["rotation_deg"]) == 90
    assert max(summary.frames["rotation_deg"]) == pytest.approx(10.0)
    assert summary.sources.x[VARIABLE] == 131.0


def test_frames_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    settings = NightSettings(n_images=7, scenarios=tuple(SCENARIOS), binning=8, seed=7)
    simulate_night(tmp_path / "one", settings)
    simulate_night(tmp_path / "three", settings, processes=3)
    simulate_night(tmp_path / "other", msgspec.structs.replace(settings, seed=8))
    one, three, other = (contents(tmp_path / name) for name in ("one", "three", "other"))
    assert len(one) == 23
    assert one == three
    assert all(one[name] != other[name] for name in one)


def test_keys_and_frames_have_noise_of_their_own(night: Path) -> None:
    corners = [
        fits.getdata(path)[:50, -60:].ravel().astype(float) for path in sorted(night.glob("*20014343[1-4]o.fit"))
    ]
    correlation = np.corrcoef(corners) - np.eye(len(corners))
    assert len(corners) == 12
    assert np.abs(correlation).max() < 5.0 / np.sqrt(len(corners[0]))


def test_a_night_that_was_interrupted_is_completed(tmp_path: Path) -> None:
    settings = NightSettings(n_images=4, binning=16)
    simulate_night(tmp_path, settings)
    before = contents(tmp_path)
    kept = tmp_path / settings.file_name("g", 0)
    inode = kept.stat().st_ino
    (tmp_path / settings.file_name("r", 2)).unlink()
    simulate_night(tmp_path, settings)
    assert contents(tmp_path) == before
    assert kept.stat().st_ino == inode


def test_frames_of_another_night_are_refused_or_replaced(tmp_path: Path) -> None:
    settings = NightSettings(n_images=3, binning=16)
    simulate_night(tmp_path, settings)
    other = msgspec.structs.replace(settings, n_images=2, seed=9)
    with pytest.raises(ConfigurationError, match=rf"{tmp_path} already holds frames of another night"):
        simulate_night(tmp_path, other)
    simulate_night(tmp_path, other, overwrite=True)
    assert len(list(tmp_path.glob("*.fit"))) == 6


def test_generate_observations_says_what_the_tutorial_says(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    generate_observations(out_directory=tmp_path / "data", circular_aperture=False, n_images=2, binning_scale=4)
    out, err = capfd.readouterr()
    assert out.splitlines() == [
        "[OPTICAM] variable source is at (131, 115)",
        "[OPTICAM] variability RMS: 0.02 %",
        "[OPTICAM] variability frequency: 0.135 Hz",
        "[OPTICAM] variability phase lags:",
        "    [OPTICAM] g-band: 0.000 radians",
        "    [OPTICAM] r-band: 1.571 radians",
        "    [OPTICAM] i-band: 3.142 radians",
    ]
    assert "Generating observations: 100%" in err
    assert len(list((tmp_path / "data").glob("*.fit"))) == 6


def test_flats_show_the_shadow_of_the_aperture(tmp_path: Path) -> None:
    generate_flats(tmp_path, n_flats=2, binning_scale=8)
    paths = sorted(tmp_path.glob("*f.fit"))
    assert len(paths) == 6
    first, second = (fits.getdata(path).astype(float) for path in paths[:2])
    assert fits.getheader(paths[0])["IMGTYPE"] == "flat"
    assert first[128, 128] == pytest.approx(20_000.0, rel=0.05)
    assert first[:5, :5].mean() < 0.1 * first[128, 128]
    centre = np.s_[100:156, 100:156]
    assert (first - second)[centre].var() / 2.0 == pytest.approx(first[centre].mean(), rel=0.15)


def test_frames_are_made_twice_as_fast_as_plain_poisson_numbers() -> None:
    """A ratio, because machines differ: a frame against one Poisson number for each of its pixels."""
    settings = NightSettings()
    factory = FrameFactory(settings)
    generator = np.random.default_rng(1)
    factory.content(factory.states(0)[0])

    def best_of(action: object) -> float:
        assert callable(action)
        durations = []
        for _ in range(7):
            started = time.process_time()
            action()
            durations.append(time.process_time() - started)
        return min(durations)

    frame_s = best_of(lambda: factory.content(factory.states(1)[0]))
    poisson_s = best_of(lambda: generator.poisson(10.0, (512, 512)))
    assert frame_s < poisson_s / 2.0


def test_the_table_of_a_long_night_is_written_piece_by_piece_and_complete(tmp_path: Path) -> None:
    simulate_night(tmp_path, NightSettings(n_images=200, binning=16))
    truth = load_truth(tmp_path)
    assert len(truth.table) == 200 * 3 * 6
    assert len(truth.summary.frames["file"]) == len(set(truth.summary.frames["file"])) == 600
    for key in ("1:g", "2:r", "3:i"):
        assert (truth.column("frame", key)[:, 0] == np.arange(200)).all()
