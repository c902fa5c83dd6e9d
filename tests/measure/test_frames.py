"""Reading: every honest file as astropy reads it, and never anything but the project's errors."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import FrameIncompleteError, FrameRejectedError, OpticamLiveError, Reason
from stream.instruments import OPTICAM_MX
from stream.measure.frames import Frame, FramePeek, list_frames, parse_header, read_frame
from tests.measure.fits_files import BLOCK_BYTES, fits_bytes, header_bytes
from tests.measure.synthetic import frame_of

INSTRUMENT = OPTICAM_MX()
RAMP = np.arange(24 * 32).reshape(24, 32) - 100


def read(content: bytes, folder: Path, name: str = "a.fit") -> Frame:
    (folder / name).write_bytes(content)
    return read_frame(folder / name, name, INSTRUMENT)


def peek_frame(path: Path, name: str) -> FramePeek:
    (peek,) = list_frames(path, name, INSTRUMENT)
    assert peek.name == name
    return peek


def rejection(content: bytes, folder: Path, name: str = "a.fit") -> FrameRejectedError:
    with pytest.raises(FrameRejectedError) as caught:
        read(content, folder, name)
    assert name in caught.value.sentence
    return caught.value


def by_astropy(path: Path) -> np.ndarray:
    return np.asarray(fits.getdata(path), dtype=np.float64)


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)
VALUES = st.one_of(
    TEXT,
    st.booleans(),
    st.integers(-(10**18), 10**18),
    st.floats(allow_nan=False, allow_infinity=False),
)


@given(st.lists(st.tuples(st.from_regex(r"[A-Z][A-Z0-9_-]{0,7}", fullmatch=True), VALUES, TEXT), max_size=20))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_cards_are_read_as_astropy_writes_them(cards: list[tuple[str, object, str]]) -> None:
    written = fits.Header()
    written["SIMPLE"] = True
    for keyword, value, comment in cards:
        if keyword not in {"END", "SIMPLE", "COMMENT", "HISTORY", "CONTINUE"} and len(repr(value)) + len(comment) < 60:
            written[keyword] = (value, comment)
    parsed, length = parse_header(written.tostring().encode("ascii"), "a.fit")
    assert length % BLOCK_BYTES == 0
    expected = fits.Header.fromstring(written.tostring())
    assert parsed == {card.keyword: card.value for card in expected.cards}
    assert {key: type(value) for key, value in parsed.items()} == {c.keyword: type(c.value) for c in expected.cards}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'it''s' / a comment", "it's"),
        ("'a / b'   / c", "a / b"),
        ("''", ""),
        ("''''", "'"),
        ("'unclosed", "unclosed"),
        ("1.5D3", 1500.0),
        ("T/true", True),
        ("", ""),
        ("/ only a comment", ""),
        ("2023-11-22", "2023-11-22"),
    ],
)
def test_cards_as_cameras_write_them(text: str, value: object) -> None:
    content = header_bytes().replace(b"GAIN    =                  1.0", f"GAIN    = {text:<20}".encode()[:30], 1)
    if len(text) > 20:
        pytest.fail("the text must fit its place")
    assert parse_header(content, "a.fit")[0]["GAIN"] == value


def test_the_first_of_equal_keywords_counts_and_commentary_does_not() -> None:
    text = header_bytes().decode()
    cards = "GAIN    =                  9.0".ljust(80) + "COMMENT = 'no value'".ljust(80) + "END".ljust(80)
    content = text.replace("END".ljust(80), cards, 1)
    header, _ = parse_header(content[: BLOCK_BYTES * 1].encode(), "a.fit")
    assert header["GAIN"] == 1.0
    assert "COMMENT" not in header


def test_a_long_header_is_read_to_its_end(tmp_path: Path) -> None:
    many = {f"KEY{number}": number for number in range(900)}
    content = fits_bytes(RAMP, **many)
    (tmp_path / "a.fit").write_bytes(content)
    peek = peek_frame(tmp_path / "a.fit", "a.fit")
    assert peek.header["KEY899"] == 899
    assert read(content, tmp_path).header["KEY899"] == 899


@pytest.mark.parametrize("bitpix", [8, 16, 32, 64, -32, -64])
@pytest.mark.parametrize(("bscale", "bzero"), [(None, None), (1, 32768), (0.5, -7.25)])
def test_pixels_are_those_of_astropy(tmp_path: Path, bitpix: int, bscale: float | None, bzero: float | None) -> None:
    pixels = np.abs(RAMP) % 256 if bitpix == 8 else RAMP
    frame = read(fits_bytes(pixels, BITPIX=bitpix, BSCALE=bscale, BZERO=bzero, GAIN=2.5), tmp_path)
    expected = 2.5 * by_astropy(tmp_path / "a.fit")
    assert frame.shape == (24, 32)
    np.testing.assert_allclose(frame.electrons(), expected, rtol=2e-7)
    stamp = frame.stamps(np.array([[3, 5]]), 9)[0]
    np.testing.assert_allclose(stamp, expected[5:14, 3:12], rtol=1e-15)


@pytest.mark.parametrize("bitpix", [8, 16, 32])
def test_blank_pixels_have_no_value(tmp_path: Path, bitpix: int) -> None:
    pixels = np.full((24, 32), 7)
    pixels[4, 6] = 99
    frame = read(fits_bytes(pixels, BITPIX=bitpix, BLANK=99, BZERO=10), tmp_path)
    missing = np.zeros((24, 32), dtype=bool)
    missing[4, 6] = True
    np.testing.assert_array_equal(np.isnan(frame.electrons()), missing)
    np.testing.assert_array_equal(np.isnan(frame.stamps(np.array([[0, 0]]), 24)[0]), missing[:24, :24])
    assert frame.electrons()[0, 0] == 17.0


def test_blank_means_nothing_in_a_frame_of_floats(tmp_path: Path) -> None:
    frame = read(fits_bytes(np.full((24, 32), 7), BITPIX=-32, BLANK=7), tmp_path)
    assert np.isfinite(frame.electrons()).all()


@pytest.mark.parametrize("bitpix", [-32, -64])
@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf, 3.4e38, -1e31])
def test_numbers_that_stand_for_nothing_have_no_value(tmp_path: Path, bitpix: int, nothing: float) -> None:
    pixels = np.full((24, 32), 7.0)
    pixels[4, 6] = nothing
    frame = read(fits_bytes(pixels, BITPIX=bitpix), tmp_path)
    assert np.isnan(frame.electrons()[4, 6])
    assert np.isnan(frame.stamps(np.array([[0, 0]]), 24)[0, 4, 6])
    assert np.isfinite(frame.electrons()).sum() == 24 * 32 - 1


def test_largest_doubles_overflow_silently(tmp_path: Path) -> None:
    pixels = np.full((24, 32), 7.0)
    pixels[0] = 1e308
    frame = read(fits_bytes(pixels, BITPIX=-64, BSCALE=10.0), tmp_path)
    assert np.isnan(frame.electrons()[0]).all()
    assert np.isnan(frame.stamps(np.array([[0, 0]]), 5)[0, 0]).all()


def test_stamps_reach_over_every_edge() -> None:
    counts = np.arange(20.0 * 30.0).reshape(20, 30)
    frame = frame_of(counts)
    corners = np.array([[-3, -2], [27, 17], [0, 0], [-50, 5], [5, 1000], [10**7, -(10**7)]])
    padded = np.pad(counts, 10, constant_values=np.nan)
    stamps = frame.stamps(corners, 7)
    for stamp, (x, y) in zip(stamps[:3], corners[:3], strict=True):
        np.testing.assert_array_equal(stamp, padded[y + 10 : y + 17, x + 10 : x + 17])
    assert np.isnan(stamps[3:]).all()


def test_missing_padding_is_accepted_and_missing_data_is_not(tmp_path: Path) -> None:
    content = fits_bytes(RAMP)
    n_bytes = len(header_bytes()) + 24 * 32 * 2
    assert len(content) > n_bytes
    whole = read(content, tmp_path)
    np.testing.assert_array_equal(read(content[:n_bytes], tmp_path).pixels, whole.pixels)
    assert peek_frame(tmp_path / "a.fit", "a.fit").n_bytes == n_bytes
    error = rejection(content[: n_bytes - 1], tmp_path)
    assert error.reason is Reason.TRUNCATED
    assert error.sentence == f"a.fit is truncated: it holds {n_bytes - 1} of {n_bytes} bytes"
    with pytest.raises(FrameIncompleteError, match=f"a.fit holds {n_bytes - 1} of {n_bytes} bytes"):
        peek_frame(tmp_path / "a.fit", "a.fit")


@pytest.mark.parametrize("n_bytes", [1, 9, 79, 80, 500, 2879])
def test_a_header_that_does_not_end_is_waited_for_and_then_rejected(tmp_path: Path, n_bytes: int) -> None:
    content = fits_bytes(RAMP)[:n_bytes].replace(b"END     ", b"XXX     ")
    assert rejection(content, tmp_path).reason is Reason.TRUNCATED
    with pytest.raises(FrameIncompleteError, match=r"a\.fit is truncated: its header has no END"):
        peek_frame(tmp_path / "a.fit", "a.fit")


@pytest.mark.parametrize(
    ("content", "reason", "sentence"),
    [
        (b"", Reason.EMPTY, r"a\.fit is empty"),
        (b"Dear observer,\n\n", Reason.NOT_FITS, r"a\.fit is not a FITS file: it does not begin with SIMPLE"),
        (b"\x89PNG\r\n", Reason.NOT_FITS, "not a FITS file"),
        (header_bytes(BITPIX=12), Reason.BAD_KEYWORD, "keyword BITPIX of a.fit is 12: 8, 16, 32, 64, -32 or -64"),
        (header_bytes(BITPIX=None), Reason.BAD_KEYWORD, "keyword BITPIX of a.fit is None"),
        (header_bytes(BITPIX="16"), Reason.BAD_KEYWORD, "keyword BITPIX of a.fit is '16'"),
        (header_bytes(NAXIS=3), Reason.BAD_KEYWORD, "keyword NAXIS3 of a.fit is None: a number of at least 0"),
        (header_bytes(NAXIS=0), Reason.WRONG_SHAPE, "keyword NAXIS of a.fit is 0"),
        (header_bytes(NAXIS1=0), Reason.WRONG_SHAPE, "keyword NAXIS1 of a.fit is 0: 16 to 32768 pixels are required"),
        (header_bytes(NAXIS2=-5), Reason.WRONG_SHAPE, "keyword NAXIS2 of a.fit is -5"),
        (header_bytes(NAXIS2=10**9), Reason.WRONG_SHAPE, "keyword NAXIS2 of a.fit is 1000000000"),
        (header_bytes(NAXIS2=24.0), Reason.WRONG_SHAPE, r"keyword NAXIS2 of a.fit is 24\.0"),
        (header_bytes(BSCALE=0), Reason.BAD_KEYWORD, "keyword BSCALE of a.fit is 0: every pixel would be the same"),
        (header_bytes(BZERO="none"), Reason.BAD_KEYWORD, "keyword BZERO of a.fit is 'none': a number is required"),
        (fits_bytes(RAMP, EXPOSURE=0), Reason.BAD_KEYWORD, r"exposure_s \(0\.0\) .*EXPOSURE of a\.fit"),
        (fits_bytes(RAMP, UT=None), Reason.BAD_KEYWORD, "keyword UT of a.fit is missing"),
    ],
)
def test_what_is_no_frame_is_rejected_with_its_cause(
    tmp_path: Path, content: bytes, reason: Reason, sentence: str
) -> None:
    error = rejection(content, tmp_path)
    assert error.reason is reason
    with pytest.raises(FrameRejectedError, match=sentence):
        raise error


def test_a_header_longer_than_any_honest_one_is_not_read_for_ever(tmp_path: Path) -> None:
    content = header_bytes().replace(b"END     ", b"XXX     ") * 1100
    assert rejection(content, tmp_path).reason is Reason.NOT_FITS
    with pytest.raises(FrameRejectedError, match="the header does not end within"):
        peek_frame(tmp_path / "a.fit", "a.fit")


def test_files_that_are_not_there_or_are_folders(tmp_path: Path) -> None:
    with pytest.raises(FrameRejectedError, match=r"a\.fit disappeared before it was read") as caught:
        read_frame(tmp_path / "a.fit", "a.fit", INSTRUMENT)
    assert caught.value.reason is Reason.DISAPPEARED
    (tmp_path / "b.fit").mkdir()
    with pytest.raises(FrameRejectedError, match=r"b\.fit cannot be read: ") as caught:
        read_frame(tmp_path / "b.fit", "b.fit", INSTRUMENT)
    assert caught.value.reason is Reason.UNREADABLE


@pytest.mark.parametrize("n_members", [1, 3])
def test_gzip_files_are_frames_too(tmp_path: Path, n_members: int) -> None:
    content = fits_bytes(RAMP)
    step = -(-len(content) // n_members)
    packed = b"".join(gzip.compress(content[start : start + step]) for start in range(0, len(content), step))
    frame = read(packed + b"\0" * 30, tmp_path, "a.fits.gz")
    np.testing.assert_array_equal(frame.pixels, RAMP)
    peek = peek_frame(tmp_path / "a.fits.gz", "a.fits.gz")
    assert peek.n_bytes is None
    assert peek.header["FILTER"] == "g"


def test_gzip_files_that_are_cut_broken_or_none(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 30000, (64, 64))
    packed = gzip.compress(fits_bytes(noise))
    for n_bytes in (len(packed) - 1, len(packed) // 2, 20):
        error = rejection(packed[:n_bytes], tmp_path, "a.fit.gz")
        assert error.reason is Reason.TRUNCATED
    for position in (len(packed) - 6, len(packed) // 2):
        broken = bytearray(packed)
        broken[position] ^= 0x55
        assert rejection(bytes(broken), tmp_path, "a.fit.gz").reason in (Reason.UNREADABLE, Reason.TRUNCATED)
    error = rejection(fits_bytes(RAMP), tmp_path, "a.fit.gz")
    assert (error.reason, error.sentence) == (Reason.UNREADABLE, "a.fit.gz is not a gzip file")
    with pytest.raises(FrameRejectedError, match=r"a\.fit\.gz is not a gzip file"):
        peek_frame(tmp_path / "a.fit.gz", "a.fit.gz")
    assert rejection(b"", tmp_path, "a.fit.gz").reason is Reason.EMPTY
    (tmp_path / "a.fit.gz").write_bytes(packed[:20])
    with pytest.raises(FrameIncompleteError):
        peek_frame(tmp_path / "a.fit.gz", "a.fit.gz")


def try_all(content: bytes, folder: Path) -> None:
    """Peek and read; only the errors of this project may come out."""
    for name in ("a.fit", "a.fit.gz"):
        path = folder / name
        path.write_bytes(content)
        for action in (lambda p=path: peek_frame(p, p.name), lambda p=path: read_frame(p, p.name, INSTRUMENT)):
            try:
                action()
            except OpticamLiveError as error:
                assert name in str(error)


@given(
    start=st.sampled_from([b"", b"SIMPLE  =", header_bytes(), header_bytes()[:1000], gzip.compress(header_bytes())]),
    rest=st.binary(max_size=3000),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_random_bytes_raise_nothing_but_our_errors(
    start: bytes, rest: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    try_all(start + rest, tmp_path_factory.getbasetemp())


@given(damage=st.lists(st.tuples(st.integers(0, 2879), st.integers(0, 255)), min_size=1, max_size=12))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_damaged_headers_raise_nothing_but_our_errors(
    damage: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(fits_bytes(RAMP))
    for position, byte in damage:
        content[position % 960] = byte
    try_all(bytes(content), tmp_path_factory.getbasetemp())
