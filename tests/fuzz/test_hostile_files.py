"""Files that nobody can trust, drawn at random: each ends measured or rejected, soon and in little memory.

Longer runs: ``make fuzz``. What they found is among the examples here.
"""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, example, given, settings

from stream.errors import FrameIncompleteError, FrameRejectedError, OpticamLiveError, Reason
from stream.instruments import OPTICAM_MX
from stream.measure import compressed, hdus
from stream.measure.calibration_frames import list_calibration_files, read_bad_pixels
from stream.measure.compressed import gzip_ends
from stream.measure.frames import list_frames, read_frame
from stream.measure.master_files import CalibrationFolders, make_masters, save_masters
from stream.messages import AssignFrame, BuildCatalog, CatalogNotBuilt, FrameRejected, FrameToMeasure
from stream.night.worker import PipelineMeasurer, answer_build, answer_frame
from tests.fuzz.hostile_files import HostileFile, hostile_files
from tests.fuzz.hostile_folder import promising
from tests.fuzz.mutations import ENDINGS, change_file, write_corpus
from tests.fuzz.parts import bomb, frame_bytes, image, parts_of
from tests.fuzz.way_of_a_file import RECIPE, WayOfAFile, strict_process
from tests.measure.fits_files import fits_bytes
from tests.measure.packed_files import header

INSTRUMENT = OPTICAM_MX()
LONGEST_S, MOST_MEMORY_MB = 5.0, 150.0


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> WayOfAFile:
    return WayOfAFile(tmp_path_factory.mktemp("way"))


def with_cards(kind: str, n_cards: int) -> bytes:
    parts = parts_of(kind)
    parts.hdus[0].cards += [b"COMMENT x".ljust(80)] * n_cards
    return parts.content()


@given(hostile=hostile_files())
@example(hostile=HostileFile(".fit", promising(10**15) + bytes(3000)))  # farther than any file reaches
@example(hostile=HostileFile(".fits.gz", gzip.compress(promising(10**15))))
@example(hostile=HostileFile(".fits.gz", bomb(64 << 20, promising(10**4))))
@example(hostile=HostileFile(".fit", with_cards("plain", 100_000)))
@example(hostile=HostileFile(".fits", with_cards("cube", 900)))
@settings(max_examples=35, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_hostile_files_end_measured_or_rejected(way: WayOfAFile, hostile: HostileFile) -> None:
    with strict_process():
        way.take(hostile)


def test_what_they_take_is_bounded(way: WayOfAFile) -> None:
    figures = way.figures
    assert figures.n_files == figures.n_accepted + figures.n_rejected > 35
    assert min(figures.n_accepted, figures.n_rejected) > 4
    assert len(figures.reasons) >= 5
    assert figures.longest_s < LONGEST_S, figures.slowest
    assert figures.memory_mb < MOST_MEMORY_MB, figures.largest


def test_honest_files_of_all_kinds_are_measured(way: WayOfAFile, tmp_path: Path) -> None:
    write_corpus(tmp_path)
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        before = way.figures.n_accepted
        way.take(HostileFile(ENDINGS[content[0]], content[1:], path.name))
        assert way.figures.n_accepted == before + 1, path.name
        changed = [change_file(content, 10**6, number, mutate=lambda content, longest: b"") for number in range(9)]
        assert len(set(changed)) > 3
        assert {len(one) for one in changed} <= {0, len(content)}


@given(hostile=hostile_files())
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_hostile_calibration_frames_are_joined_or_refused(
    tmp_path_factory: pytest.TempPathFactory, hostile: HostileFile
) -> None:
    folder = tmp_path_factory.mktemp("calibration")
    for number in range(2):
        (folder / f"good{number}.fit").write_bytes(frame_bytes(number))
    path = folder / f"hostile{hostile.ending}"
    path.write_bytes(hostile.content)
    every = [CalibrationFolders(bias=folder), CalibrationFolders(dark=folder), CalibrationFolders(flat=folder)]
    with strict_process():
        for given_folders in (*every, CalibrationFolders(bad_pixels=(path,))):
            try:
                save_masters(make_masters(given_folders, RECIPE), folder / "out")
            except OpticamLiveError as error:
                assert "\n" not in str(error)


def test_a_bias_pixel_without_a_value_leaves_no_nan(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).normal(100.0, 2.0, (4, 48, 48))
    masters = []
    for place, value in ((tmp_path / "whole", 100.0), (tmp_path / "with", np.nan)):
        place.mkdir()
        pixels[1, 5, 6] = value
        for number, one in enumerate(pixels):
            (place / f"{number}.fit").write_bytes(fits_bytes(one, BITPIX=-32))
        masters.append(make_masters(CalibrationFolders(bias=place), RECIPE).masters["bias", "1"])
    assert masters[1].constant == pytest.approx(masters[0].constant, rel=0.01)
    np.testing.assert_allclose(masters[1].values, masters[0].values, atol=1.5)
    pixels[:] = np.nan
    for number, one in enumerate(pixels):
        (tmp_path / "with" / f"{number}.fit").write_bytes(fits_bytes(one, BITPIX=-32))
    with pytest.raises(OpticamLiveError, match=r"bias frames 0\.fit and 1\.fit have no pixel with a value in common"):
        make_masters(CalibrationFolders(bias=tmp_path / "with"), RECIPE)


def test_links_and_pipes_among_calibration_frames(tmp_path: Path) -> None:
    (tmp_path / "a.fit").symlink_to("x" * 300)
    os.mkfifo(tmp_path / "b.fit")
    assert list_calibration_files(tmp_path) == ()
    with pytest.raises(OpticamLiveError, match=r"bad-pixel map .*b\.fit cannot be read: b\.fit is not a regular file"):
        read_bad_pixels(tmp_path / "b.fit")


@pytest.mark.parametrize("name", ["a.fit", "a.fits.gz"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    """It may take the place of a file between the look at it and its opening."""
    os.mkfifo(tmp_path / name)
    found: list[str] = []

    def read() -> None:
        for action in (list_frames, read_frame):
            try:
                action(tmp_path / name, name, INSTRUMENT)
            except FrameRejectedError as rejection:
                found.append(rejection.sentence)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(10.0)
    assert found == [f"{name} is not a regular file"] * 2


def test_members_of_a_gzip_file_may_begin_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = frame_bytes()
    path = tmp_path / "a.fits.gz"
    path.write_bytes(b"".join(gzip.compress(content[start : start + 1000]) for start in range(0, len(content), 1000)))
    for piece_bytes in (1, 2, 7, 64, 1000):
        monkeypatch.setattr(compressed, "_PIECE_BYTES", piece_bytes)
        np.testing.assert_array_equal(read_frame(path, path.name, INSTRUMENT).pixels, image() - 32768)
        assert gzip_ends(path)


def test_frames_far_into_a_gzip_file_are_found_without_keeping_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [image(number).astype("uint16") for number in range(6)]
    content = fits.HDUList(
        [fits.PrimaryHDU(header=header()), *(fits.ImageHDU(one, name=f"X{n}") for n, one in enumerate(images))]
    )
    content.writeto(tmp_path / "a.fits")
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress((tmp_path / "a.fits").read_bytes()))
    for kept_bytes in (0, 5000, 20_000, 10**9):
        monkeypatch.setattr(hdus, "_KEPT_BYTES", kept_bytes)
        names = [peek.name for peek in list_frames(tmp_path / "a.fits.gz", "a.fits.gz", INSTRUMENT)]
        assert names == [f"a.fits.gz[{number}]" for number in range(1, 7)]
        for name, one in zip(names, images, strict=True):
            frame = read_frame(tmp_path / name, name, INSTRUMENT)
            np.testing.assert_array_equal(frame.electrons(), 2.0 * one)


def test_a_gzip_file_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "GUNZIP_LIMIT_BYTES", 10_000_000)
    path = tmp_path / "a.fits.gz"
    for start in (frame_bytes(), promising(10**4)):
        path.write_bytes(bomb(16 << 20, start))
        assert gzip_ends(path)
        with pytest.raises(FrameRejectedError, match=r"a\.fits\.gz unpacks to more than 10000000 bytes") as caught:
            read_frame(path, path.name, INSTRUMENT)
        assert caught.value.reason is Reason.UNREADABLE


def test_an_incomplete_file_that_promises_too_much_is_listed_without_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "a.fit").write_bytes(promising(2 * 10**4))
    with pytest.raises(FrameIncompleteError, match=r"a\.fit is truncated: HDU 1 lacks bytes"):
        list_frames(tmp_path / "a.fit", "a.fit", INSTRUMENT)
    with pytest.raises(FrameIncompleteError, match=r"keyword NAXIS of a\.fit is 0"):
        list_frames(tmp_path / "a.fit", "a.fit", INSTRUMENT, complete=False)
    (tmp_path / "a.fit").write_bytes(promising(1000))
    assert len(list_frames(tmp_path / "a.fit", "a.fit", INSTRUMENT, complete=False)) == 1
    (tmp_path / "a.fit").write_bytes(promising(10**15))
    with pytest.raises(FrameRejectedError, match=r"promises 2e\+30 bytes of data: no file has so many"):
        list_frames(tmp_path / "a.fit", "a.fit", INSTRUMENT, complete=False)


@pytest.mark.parametrize(
    ("keyword", "value", "sentence"),
    [
        ("TFIELDS", "9" * 60, r"keyword TFIELDS of a\.fits\.fz\[1\] is 9{60}: 0 to 999 are possible"),
        ("TFIELDS", "1000", "keyword TFIELDS"),
        ("TFIELDS", "-1", "keyword TFIELDS"),
        ("TFIELDS", "'many'", "keyword TFIELDS"),
        ("NAXIS2", "9999999", r"a\.fits\.fz\[1\] has 9999999 tiles \(keyword NAXIS2\): 1 to 2304 are possible"),
        ("NAXIS2", "0", "has 0 tiles"),
    ],
)
def test_a_table_of_tiles_that_would_be_counted_for_ever_is_refused(
    tmp_path: Path, keyword: str, value: str, sentence: str
) -> None:
    parts = parts_of("tiled-RICE_1")
    parts.hdus[1].put(keyword, value.encode())
    parts.hdus[1].put("NAXIS1", b"0")
    path = tmp_path / "a.fits.fz"
    path.write_bytes(parts.content())
    with pytest.raises(OpticamLiveError, match=f"bad-pixel map .* cannot be read: .*{sentence}"):
        read_bad_pixels(path)
    for complete in (True, False):
        with pytest.raises(FrameRejectedError, match=sentence) as caught:
            list_frames(path, path.name, INSTRUMENT, complete=complete)
        assert caught.value.reason is Reason.BAD_KEYWORD


def test_a_frame_that_takes_all_memory_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*_given: object) -> None:
        raise MemoryError

    measurer = PipelineMeasurer(tmp_path, RECIPE, tmp_path)
    measurer._read_frame = greedy  # type: ignore[assignment]
    answer = answer_frame(measurer, AssignFrame(FrameToMeasure(1, "a.fit"), "", ""))
    assert isinstance(answer, FrameRejected)
    assert (answer.reason, answer.sentence) == (Reason.UNREADABLE, "a.fit takes more memory than a worker may have")
    monkeypatch.setattr("stream.night.bootstrap.read_frame", greedy)
    built = answer_build(measurer, BuildCatalog("1:g", (FrameToMeasure(1, "a.fit"),)))
    assert isinstance(built, CatalogNotBuilt)
    assert [one.sentence for one in built.rejected] == [answer.sentence]
