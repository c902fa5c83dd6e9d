"""Files of one frame and of several: every kind of pixel and of packing gives what astropy reads."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import FrameIncompleteError, FrameRejectedError, OpticamLiveError, Reason
from stream.frame_names import FRAME_SUFFIXES, PACKED_SUFFIXES, FrameName, file_of, parse_frame_name
from stream.instruments import OPTICAM_MX, Instrument, load_instrument
from stream.measure.frames import Frame, list_frames, read_frame
from stream.measure.hdus import NOT_FRAMES
from stream.timestamps import parse_time_stamp
from tests.measure.packed_files import counts, header, write, write_extensions

ROOT = Path(__file__).resolve().parents[2]
INSTRUMENT = msgspec.structs.replace(OPTICAM_MX(), plane_interval_s=2.0)
START_MJD = parse_time_stamp("2023-11-22T03:02:49").mjd_utc


def names_in(path: Path, instrument: Instrument = INSTRUMENT) -> list[str]:
    return [peek.name for peek in list_frames(path, path.name, instrument)]


def read(path: Path, name: str, instrument: Instrument = INSTRUMENT) -> Frame:
    return read_frame(path.parent / name, name, instrument)


def seconds_after_start(frame: Frame) -> float:
    return (frame.facts.time_mjd_utc - START_MJD) * 86400.0


ENDINGS = [".fits", ".fit", ".fts", ".FITS", ".fits.gz", ".fit.gz", ".fits.fz", ".FITS.FZ"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_every_kind_of_pixel_in_every_kind_of_file(tmp_path: Path, ending: str, dtype: str) -> None:
    image = np.abs(counts(dtype="int32")).astype(dtype) if dtype.startswith("uint") else counts(dtype=dtype)
    path = tmp_path / f"a{ending}"
    if ending.lower().endswith(".fz"):
        quantize = {"quantize_level": 0.0, "compression_type": "GZIP_2"} if dtype.startswith("float") else {}
        hdus = [fits.PrimaryHDU(), fits.CompImageHDU(image, header(), **quantize)]
    else:
        hdus = [fits.PrimaryHDU(image, header())]
    write(path, hdus)
    assert names_in(path) == [path.name]
    frame = read(path, path.name)
    assert (frame.name, frame.facts.key, frame.shape) == (path.name, "1:g", (24, 32))
    expected = 2.0 * image.astype(np.float64)
    np.testing.assert_allclose(frame.electrons(), expected, rtol=3e-7, atol=0.01 if "16" in dtype else 0.0)
    np.testing.assert_allclose(frame.stamps(np.array([[3, 5]]), 9)[0], expected[5:14, 3:12], rtol=1e-12)


@pytest.mark.parametrize("ending", [".fits", ".fits.gz", ".fits.fz"])
def test_an_extension_for_each_camera_is_a_key_for_each(tmp_path: Path, ending: str) -> None:
    images = {name: counts(seed=number) for number, name in enumerate("gri")}
    path = write_extensions(tmp_path / f"night{ending}", images, tiled=ending.endswith("fz"))
    names = names_in(path)
    assert names == [f"night{ending}[{number}]" for number in (1, 2, 3)]
    frames = [read(path, name) for name in names]
    assert [frame.facts.key for frame in frames] == ["1:g", "2:r", "3:i"]
    for frame, image in zip(frames, images.values(), strict=True):
        np.testing.assert_array_equal(frame.electrons(), 2.0 * image)
        assert seconds_after_start(frame) == pytest.approx(0.25, abs=1e-5)  # the time is that of the primary header
        assert frame.header["EXTNAME"] == f"CCD-{str(frame.header['FILTER']).upper()}"


@pytest.mark.parametrize("ending", [".fits", ".fits.gz", ".fits.fz"])
@pytest.mark.parametrize("hdu", [0, 2])
def test_every_plane_of_a_cube_is_a_frame_with_its_time(tmp_path: Path, ending: str, hdu: int) -> None:
    cube = counts(4)
    table = fits.BinTableHDU.from_columns([fits.Column("x", "E", array=[1.0])])
    if ending.endswith(".fz"):
        hdu = max(hdu, 1)
        hdus = [fits.PrimaryHDU(), *[table] * (hdu - 1), fits.CompImageHDU(cube, header())]
    elif hdu:
        hdus = [fits.PrimaryHDU(), table, fits.ImageHDU(cube, header())]
    else:
        hdus = [fits.PrimaryHDU(cube, header()), table]
    path = write(tmp_path / f"cube{ending}", hdus)
    assert names_in(path) == [f"cube{ending}[{hdu},{plane}]" for plane in range(4)]
    for plane, name in enumerate(names_in(path)):
        frame = read(path, name)
        np.testing.assert_array_equal(frame.electrons(), 2.0 * cube[plane])
        assert seconds_after_start(frame) == pytest.approx(0.25 + 2.0 * plane, abs=1e-5)


def test_scaling_and_blank_are_those_of_the_extension(tmp_path: Path) -> None:
    image = fits.ImageHDU(counts(dtype="int16"))
    image.header["BLANK"] = int(image.data[3, 4])
    path = write(tmp_path / "a.fits", [fits.PrimaryHDU(header=header(BZERO=500.0, BSCALE=3.0, BLANK=1)), image])
    electrons = read(path, "a.fits").electrons()
    assert np.isnan(electrons[3, 4])
    electrons[image.data == image.data[3, 4]] = 0.0
    expected = np.where(image.data == image.data[3, 4], 0.0, 2.0 * image.data)
    np.testing.assert_array_equal(electrons, expected)


def test_a_cube_of_one_plane_is_an_image_and_needs_no_interval(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", [fits.PrimaryHDU(counts(1), header())])
    assert names_in(path, OPTICAM_MX()) == ["a.fits"]
    frame = read(path, "a.fits", OPTICAM_MX())
    np.testing.assert_array_equal(frame.electrons(), 2.0 * counts(1)[0])


def test_what_follows_a_primary_image_belongs_to_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", [fits.PrimaryHDU(counts(), header()), fits.ImageHDU(counts(), name="SKYMODEL")])
    assert names_in(path) == ["a.fits"]


def test_errors_and_masks_beside_a_frame_are_no_frames(tmp_path: Path) -> None:
    extensions = [fits.ImageHDU(counts(), name=name) for name in ("SCI", "ERR", "DQ", "MASK")]
    spectrum = fits.ImageHDU(np.arange(100.0), name="WAVE")
    corners = fits.ImageHDU(np.zeros((2, 4)), name="TRIM")
    path = write(tmp_path / "a.fits", [fits.PrimaryHDU(header=header()), corners, *extensions, spectrum])
    assert names_in(path) == ["a.fits"]
    assert read(path, "a.fits").header["EXTNAME"] == "SCI"
    named = msgspec.structs.replace(INSTRUMENT, extensions=("TRIM", "SCI"))
    with pytest.raises(FrameRejectedError, match=r"keyword NAXIS1 of a\.fits\[1\] is 4: 16 to 32768 pixels"):
        names_in(path, named)


def test_an_instrument_names_the_extensions_that_hold_frames(tmp_path: Path) -> None:
    images = [fits.ImageHDU(counts(seed=number), name=name) for number, name in enumerate(("RAW", "SCI", "MODEL"))]
    path = write(tmp_path / "a.fits", [fits.PrimaryHDU(counts(seed=9), header()), *images])
    for extensions, expected in {("sci",): ["a.fits[2]"], ("0", "3"): ["a.fits[0]", "a.fits[3]"]}.items():
        assert names_in(path, msgspec.structs.replace(INSTRUMENT, extensions=extensions)) == expected
    np.testing.assert_array_equal(read(path, "a.fits[2]").electrons(), 2.0 * counts(seed=1))
    np.testing.assert_array_equal(read(path, "a.fits[0]").electrons(), 2.0 * counts(seed=9))
    other = msgspec.structs.replace(INSTRUMENT, extensions=("RED", "BLUE"))
    with pytest.raises(FrameIncompleteError, match=r"a\.fits holds none of the extensions RED, BLUE of OPTICAM-MX"):
        names_in(path, other)
    with pytest.raises(FrameRejectedError, match=r"a\.fits holds none of the extensions RED, BLUE"):
        read(path, "a.fits", other)


def test_a_camera_may_be_the_name_of_its_extension(tmp_path: Path) -> None:
    keywords = msgspec.structs.replace(INSTRUMENT.keywords, camera="EXTNAME")
    cameras = {f"CCD-{name}": INSTRUMENT.cameras["1"] for name in "GR"} | {"3": INSTRUMENT.cameras["3"]}
    instrument = msgspec.structs.replace(INSTRUMENT, keywords=keywords, cameras=cameras, camera_of_filter={})
    path = write_extensions(tmp_path / "a.fits", {"g": counts(), "r": counts()})
    with fits.open(path, mode="append") as hdus:
        hdus.append(fits.ImageHDU(counts(), fits.Header({"FILTER": "z"})))  # without a name: its number stands for it
    keys = [read(path, name, instrument).facts.key for name in names_in(path, instrument)]
    assert keys == ["CCD-G:g", "CCD-R:r", "3:z"]


@pytest.mark.parametrize("ending", [".fits", ".fits.gz", ".fits.fz"])
def test_a_file_of_extensions_is_complete_with_its_last_byte(tmp_path: Path, ending: str) -> None:
    path = write_extensions(tmp_path / f"a{ending}", {name: counts() for name in "gri"}, tiled=ending.endswith("fz"))
    content = path.read_bytes()
    with fits.open(path, disable_image_compression=True) as hdus:
        starts = [hdu._header_offset for hdu in hdus] + [hdus[-1]._data_offset]
        end = hdus[-1]._data_offset + hdus[-1].size  # without padding
    assert len(names_in(path)) == 3
    whole = content if not ending.endswith("gz") else gzip.decompress(content)
    pack = gzip.compress if ending.endswith("gz") else bytes
    path.write_bytes(pack(whole[:end]))
    assert len(names_in(path)) == 3
    for n_bytes in (starts[-1] - 1, starts[-1] + 1, starts[-2] + 5, starts[-2] - 3000, starts[1] + 100, end - 1):
        path.write_bytes(pack(whole[:n_bytes]))
        with pytest.raises(FrameIncompleteError, match=r"a\.fits.* (is truncated|holds)"):
            names_in(path)


def test_of_an_incomplete_file_the_headers_tell_the_frames(tmp_path: Path) -> None:
    def names(path: Path) -> list[str]:
        return [peek.name for peek in list_frames(path, path.name, INSTRUMENT, complete=False)]

    cube = write(tmp_path / "cube.fits", [fits.PrimaryHDU(counts(3), header())])
    night = write_extensions(tmp_path / "night.fits", {name: counts() for name in "gri"})
    only = write(tmp_path / "only.fits.fz", [fits.PrimaryHDU(), fits.CompImageHDU(counts(), header())])
    for path, n_bytes in ((cube, 2900), (night, 2880 + 2 * 5760 + 100), (only, 6000)):
        path.write_bytes(path.read_bytes()[:n_bytes])
    assert names(cube) == ["cube.fits[0,0]", "cube.fits[0,1]", "cube.fits[0,2]"]
    assert names(night) == ["night.fits[1]", "night.fits[2]"]
    assert names(only) == ["only.fits.fz"]  # by the name that it has when it is complete
    with pytest.raises(FrameRejectedError, match=r"only\.fits\.fz is truncated: HDU 1 lacks bytes") as caught:
        read(only, "only.fits.fz")
    assert caught.value.reason is Reason.TRUNCATED
    cube.write_bytes(cube.read_bytes()[:1000])
    with pytest.raises(FrameIncompleteError, match=r"its header has no END"):
        names(cube)


def test_the_header_may_promise_extensions_that_are_still_to_come(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    write(path, [fits.PrimaryHDU(header=header(NEXTEND=3)), fits.ImageHDU(counts()), fits.ImageHDU(counts())])
    with pytest.raises(FrameIncompleteError, match=r"a\.fits is truncated: it holds 2 of 3 extensions"):
        names_in(path)
    with fits.open(path, mode="append") as hdus:
        hdus.append(fits.ImageHDU(counts()))
    assert len(names_in(path)) == 3


def test_a_truncated_file_says_so_by_the_name_of_the_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "cube.fits", [fits.PrimaryHDU(counts(3), header())])
    content = path.read_bytes()
    path.write_bytes(content[: 2880 + 24 * 32 * 2 * 2])
    np.testing.assert_array_equal(read(path, "cube.fits[0,1]").electrons(), 2.0 * counts(3)[1])
    with pytest.raises(FrameRejectedError, match=r"cube\.fits\[0,2\] is truncated: cube\.fits lacks bytes") as caught:
        read(path, "cube.fits[0,2]")
    assert caught.value.reason is Reason.TRUNCATED
    with pytest.raises(FrameIncompleteError, match=r"cube\.fits is truncated: HDU 0 lacks bytes"):
        names_in(path)


@pytest.mark.parametrize("place", ["[0,3]", "[0]", "[1]", "[7,0]", "[999999999,999999999]"])
def test_a_place_that_does_not_exist_is_named(tmp_path: Path, place: str) -> None:
    path = write(tmp_path / "cube.fits", [fits.PrimaryHDU(counts(3), header())])
    with pytest.raises(FrameRejectedError) as caught:
        read(path, f"cube.fits{place}")
    assert caught.value.sentence == f"cube.fits{place} does not exist: cube.fits holds 1 HDUs or more"


def test_a_file_that_grew_after_it_arrived_as_one_frame_is_not_guessed_at(tmp_path: Path) -> None:
    path = write_extensions(tmp_path / "a.fits", {"g": counts(), "r": counts()})
    with pytest.raises(FrameRejectedError, match=r"a\.fits holds 2 frames, a\.fits\[1\] to a\.fits\[2\]: a file that"):
        read(path, "a.fits")


def test_a_file_without_any_image_is_waited_for_and_then_rejected(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", [fits.PrimaryHDU(header=header())])
    sentence = r"keyword NAXIS of a\.fits is 0: an image of 2 or a cube of 3 axes is required, there or in an extension"
    with pytest.raises(FrameIncompleteError, match=sentence):
        names_in(path)
    with pytest.raises(FrameRejectedError, match=sentence):
        read(path, "a.fits")


def test_an_absurd_number_of_planes_is_not_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "cube.fits.gz", [fits.PrimaryHDU(counts(3), header())])
    text = gzip.decompress(path.read_bytes()).replace(
        b"NAXIS3  =                    3", b"NAXIS3  =           9000000000"
    )
    path.write_bytes(gzip.compress(text))
    with pytest.raises(FrameIncompleteError, match=r"cube\.fits\.gz is truncated"):
        names_in(path)


def test_damaged_tiles_reject_the_frame(tmp_path: Path) -> None:
    tiles = fits.CompImageHDU(counts(), header(), compression_type="GZIP_1", name="G")
    path = write(tmp_path / "a.fits.fz", [fits.PrimaryHDU(), tiles])
    with fits.open(path, disable_image_compression=True) as hdus:
        heap = hdus[1]._data_offset + hdus[1].header["NAXIS1"] * hdus[1].header["NAXIS2"]
    content = bytearray(path.read_bytes())
    content[heap : heap + 500] = b"\xff" * 500
    path.write_bytes(content)
    with pytest.raises(FrameRejectedError, match=r"a\.fits\.fz cannot be unpacked: ") as caught:
        read(path, "a.fits.fz")
    assert caught.value.reason is Reason.UNREADABLE
    assert "\n" not in caught.value.sentence


def test_the_example_reads_a_file_of_two_arms_with_cubes(tmp_path: Path) -> None:
    instrument = load_instrument(str(ROOT / "examples" / "several_frames_a_file.toml"))
    primary = fits.PrimaryHDU(header=fits.Header({"GPSTIME": "2023-11-22T03:03:07.000", "EXPTIME": 1.5, "KCT": 2.0}))
    arms = [
        fits.ImageHDU(counts(3), fits.Header({"FILTER": "u"}), name="ARM-B"),
        fits.ImageHDU(counts(), name="GUIDER"),
        fits.ImageHDU(counts(), fits.Header({"FILTER": "z"}), name="ARM-R"),
    ]
    path = write(tmp_path / "a.fits", [primary, *arms])
    names = names_in(path, instrument)
    assert names == ["a.fits[1,0]", "a.fits[1,1]", "a.fits[1,2]", "a.fits[3]"]
    frames = [read(path, name, instrument) for name in names]
    assert [frame.facts.key for frame in frames] == ["ARM-B:u"] * 3 + ["ARM-R:z"]
    assert [seconds_after_start(frame) for frame in frames] == pytest.approx([0.0, 2.0, 4.0, 0.0], abs=1e-5)


def test_the_document_names_what_is_no_frame_and_every_ending() -> None:
    text = (ROOT / "docs" / "frames.md").read_text(encoding="utf-8")
    missing = [name for name in (*NOT_FRAMES, *FRAME_SUFFIXES, *PACKED_SUFFIXES) if f"`{name}`" not in text]
    assert not missing


@given(st.text(max_size=30), st.none() | st.integers(0, 10**9 - 1), st.none() | st.integers(0, 10**9 - 1))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_names_of_frames_are_read_as_they_are_written(file: str, hdu: int | None, plane: int | None) -> None:
    name = FrameName(f"{file}.fits", hdu, plane if hdu is not None else None)
    assert parse_frame_name(str(name)) == name
    path = Path("/night") / "x[3]" / Path(str(name)).name
    assert file_of(path) == path.with_name(Path(name.file).name)


@given(damage=st.lists(st.tuples(st.integers(0, 12000), st.integers(0, 255)), min_size=1, max_size=12))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_damaged_files_of_extensions_raise_nothing_but_our_errors(
    damage: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.fits"
    path.unlink(missing_ok=True)
    write_extensions(path, {"g": counts(), "r": counts()})
    content = bytearray(path.read_bytes())
    for position, byte in damage:
        content[position % len(content)] = byte
    path.write_bytes(content)
    for name in ("damaged.fits", "damaged.fits[1]", "damaged.fits[2]"):
        for action in (lambda: names_in(path), lambda n=name: read(path, n)):
            try:
                action()
            except OpticamLiveError as error:
                assert "damaged.fits" in str(error)
