"""Writes frames as the camera does: its header, unsigned 16-bit pixels, at once or slowly in pieces.

The header is built once per camera from the cards of a real frame; only the cards that change are patched for each
frame, at fixed places, because formatting 73 cards costs more than drawing the noise of the pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simulator.detector import DARK_E_PER_S, GAIN_E_PER_ADU, SATURATION_ADU, CountsArray
from simulator.settings import NightSettings, key_of_filter
from stream.errors import ConfigurationError
from stream.instruments import OPTICAM_MX
from stream.timestamps import SkyPosition, airmass, altitude_deg, mjd_to_iso, unix_to_mjd

CARD_LENGTH, BLOCK_LENGTH = 80, 2880

_SERIAL_NUMBER = {"1": "VSC-05535", "2": "VSC-05530", "3": "VSC-05522"}
_TEMPERATURE = {"1": "-0.439999999999998", "2": "0.98", "3": "0.27"}

# As MUFFIN 0.9 writes it, the software of the instrument. Braces stand where frames differ.
_CARDS = """\
SIMPLE  =                    T / file does conform to FITS standard
BITPIX  =                   16 / number of bits per data pixel
NAXIS   =                    2 / number of data axes
NAXIS1  = {width:>20} / length of data axis 1
NAXIS2  = {width:>20} / length of data axis 2
EXTEND  =                    T / FITS dataset may contain extensions
COMMENT   FITS (Flexible Image Transport System) format is defined in 'Astronomy
COMMENT   and Astrophysics', volume 376, page 359; bibcode: 2001A&A...376..359H
BZERO   =                32768 / offset data range to that of unsigned short
BSCALE  =                    1 / default scaling factor
EXPOSURE= {exposure:>20} / Single frame exposure time (s)
GAIN    = {gain:>20} / Electronic gain (e-/ADU)
EXPCOAD =                    1 / Number of exposures co-added
CCDTEMP = {temperature:>20} / Camera detector temperarure (C)
DETECTOR= 'Andor sCMOS'        / Internal camera name
CCDTYPE = 'Zyla 4.2-P USB 3.0' / Camera Model
SERIALN = {serial:<20} / Camera Serial Number
PIXSIZE =                  6.5 / Pixel Dimensions (in micron)
CCDMODE = '000 MHz '           / Camera Readout Mode
CCDXBIN = {binning:>20} / Binning factor in X
CCDYBIN = {binning:>20} / Binning factor in Y
BINNING = {binning_text:<20} / Binning [ Cols x Rows ]
DARKCURR= {dark:>20} / Dark current (e-/pix/sec)
SATLEVEL= {saturation:>20} / Camera saturation level
ORIGIN  = 'UNAM    '           / Origin (Host Institution)
OBSERVAT= 'SPM     '           / Observatory
TELESCOP= '2.1 m   '           / Telescope
INSTRUME= 'OPTICAM '           / Instrument
FOCREDUC= 'f/7.5   '           / Secondary focal reductor
LATITUDE= '+31:02:42'          / Latitude
LONGITUD= '-115:27:58'         / Longitude
ALTITUDE=                 2790 / Altitude
SECONDAR=                   99 / Secondary position(1 step=5um)
TIMEZONE=                    8 / GMT-[N] time zone
OBSERVER= '        '           / Observer name
PROJ_ID = 'none    '           / Personal project ID
TITLE   = 'OPTICAM '           / Science program title
OBJECT  = {object:<20} / Object
OBS_ID  = 'none    '           / Obs ID
IMGTYPE = {image_type:<20} / Image type (object/flat/other)
FILTER  = {filter:<20} / Filter
FILENAME= '                     ' / Software-generated filename
ST      = '00:00:00.0000'      / Sideral Time
INITTIME= '        '           / Initial GPS Time
CAM_TIME= '0.000000'           / Camera clock Time
UT      = '                        ' / Universal Time (UT)
UTMIDDLE= '00:00:00.0000'      / UT middle of the observation
RA      = {ra:<20} / Right Ascension
DEC     = {dec:<20} / Declination
HA      = '0       '           / Hour Angle
AIRMASS =                      / Airmass
EQUINOX =               2023.9 / Equinox
EPOCH   =                2000. / Epoch (same as Equinox)
JD      =                   0. / Julian Date
DATE-OBS= '          '         / Start observation date (UT)
TSTART  =                   0. / Start observation date (UT)
TSTOP   =                   0. / End observation date (UT)
MOONSEP =                   0. / Moon angular separation (deg)
MOONPHAS=                   0. / Moon Phase
AMPNAME = '1 Channel'          / Amplifier name
TMMIRROR=                 99.9 / Primary mirror temperature (C)
TSMIRROR=                 99.9 / Secundary mirror temperature (C)
TAIR    =                 99.9 / Internal telesc air Temp (C)
XTEMP   =                 99.9 / Exterior temperature (C)
HUMIDITY=                 99.9 / External humidity
ATMOSBAR=                 99.9 / Atmosferic presure (in mb)
WIND    = 'XXX at 99.9 km/h'   / Wind direction
WDATE   = '00:00:00, 00/00/00' / Weather acquisition date (UT)
CREATOR = 'MUFFIN  '           / Software application
SOFTVER = '0.9     '           / Software version
AUTHORS = 'A. Castro, E. Colorado & I. Zavala' / Software authors
HISTORY = '        '           / Image history modification log
END"""


@dataclass(frozen=True, slots=True)
class Pointing:
    """What the header says of where the telescope looks; `position` is None for the placeholder."""

    ra_text: str
    dec_text: str
    position: SkyPosition | None


def pointing_of(settings: NightSettings) -> Pointing:
    """Read or choose the pointing of a night.

    ``auto`` passes the meridian, close to the zenith, in the middle of the night or five hours after its start,
    whichever comes first.

    Raises
    ------
    ConfigurationError
        If the text is not six numbers, or the direction is below the horizon at the start of the night.
    """
    if settings.pointing == "placeholder":
        ra_text, dec_text = OPTICAM_MX().pointing_placeholders[0]
        return Pointing(ra_text, dec_text, None)
    mjd = unix_to_mjd(settings.start_unix_ms / 1000.0)
    if settings.pointing == "auto":
        half_night_h = min(settings.n_images * settings.cadence_s / 7200.0, 5.0)
        ra_h = _right_ascension_of_zenith_h(mjd + half_night_h / 24.0)
        ra_text = _sexagesimal(ra_h, decimals=2)
        dec_text = _sexagesimal(31.0 + 2.0 / 60.0, decimals=1)
    else:
        parts = settings.pointing.replace(":", " ").split()
        if len(parts) != 6:
            raise ConfigurationError(
                f"pointing {settings.pointing!r}: 'auto', 'placeholder' or 'HH MM SS +DD MM SS' is required"
            )
        ra_text, dec_text = " ".join(parts[:3]), " ".join(parts[3:])
    position = SkyPosition(15.0 * _from_sexagesimal(ra_text), _from_sexagesimal(dec_text))
    altitude = altitude_deg(mjd, position, OPTICAM_MX().site.position())
    if altitude < 0.0:
        raise ConfigurationError(
            f"pointing {settings.pointing!r} is {-altitude:.0f} degrees below the horizon at {mjd_to_iso(mjd)} UTC"
        )
    return Pointing(ra_text, dec_text, position)


class HeaderTemplate:
    """The header of one camera; `encode` patches what differs from frame to frame."""

    def __init__(self, settings: NightSettings, filter_name: str, image_type: str = "object") -> None:
        camera = key_of_filter(filter_name).partition(":")[0]
        self._pointing = pointing_of(settings)
        text = _CARDS.format(
            width=settings.width_px,
            exposure=_fits_float(settings.exposure),
            gain=_fits_float(GAIN_E_PER_ADU),
            temperature=_TEMPERATURE[camera],
            serial=_fits_text(_SERIAL_NUMBER[camera]),
            binning=settings.binning,
            binning_text=_fits_text(f"{settings.binning}x{settings.binning}"),
            dark=_fits_float(DARK_E_PER_S),
            saturation=SATURATION_ADU,
            object=_fits_text(""),
            image_type=_fits_text(image_type),
            filter=_fits_text(filter_name),
            ra=_fits_text(self._pointing.ra_text),
            dec=_fits_text(self._pointing.dec_text),
        )
        cards = [card.ljust(CARD_LENGTH) for card in text.splitlines()]
        length = -(-len(cards) * CARD_LENGTH // BLOCK_LENGTH) * BLOCK_LENGTH
        self._template = "".join(cards).ljust(length).encode("ascii")
        self._value_at = {card[:8].rstrip(): n * CARD_LENGTH + 10 for n, card in enumerate(cards)}

    def encode(self, file_name: str, start_unix_ms: int) -> bytes:
        """The header of one frame, a whole number of blocks."""
        mjd = unix_to_mjd(start_unix_ms / 1000.0)
        stamp = mjd_to_iso(mjd)
        header = bytearray(self._template)
        self._patch(header, "FILENAME", f"'{file_name}'")
        self._patch(header, "UT", f"'{stamp.replace('T', ' ')} '")
        self._patch(header, "DATE-OBS", f"'{stamp[:10]}'")
        self._patch(header, "AIRMASS", f"{self._airmass(mjd):>20}")
        return bytes(header)

    def _patch(self, header: bytearray, keyword: str, value: str) -> None:
        start = self._value_at[keyword]
        header[start : start + len(value)] = value.encode("ascii")

    def _airmass(self, mjd_utc: float) -> str:
        if self._pointing.position is None:
            return "1.1669904966293"
        return f"{airmass(altitude_deg(mjd_utc, self._pointing.position, OPTICAM_MX().site.position())):.10f}"


def encode_pixels(counts: CountsArray) -> bytes:
    """Data unit of unsigned 16-bit counts: big-endian, less BZERO, padded to whole blocks."""
    data = (counts ^ np.uint16(0x8000)).astype(">u2").tobytes()  # flipping the top bit subtracts 32768
    return data + bytes(-len(data) % BLOCK_LENGTH)


def write_slowly(files: Sequence[tuple[Path, bytes]], *, n_pieces: int, pause: Callable[[], object]) -> None:
    """Write files side by side in pieces under their final names, as a copy over a network does.

    Parameters
    ----------
    pause : callable
        Called between one round of pieces and the next.
    """
    handles = [path.open("wb") for path, _ in files]
    try:
        for piece in range(n_pieces):
            if piece:
                pause()
            for handle, (_, content) in zip(handles, files, strict=True):
                start, end = (len(content) * n // n_pieces for n in (piece, piece + 1))
                handle.write(content[start:end])
                handle.flush()
    finally:
        for handle in handles:
            handle.close()


def _right_ascension_of_zenith_h(mjd_utc: float) -> float:
    site = OPTICAM_MX().site
    # The highest of 1440 directions: exact enough for a pointing, and one formula for sidereal time in the project.
    hours = np.arange(1440) / 60.0
    altitudes = [
        altitude_deg(mjd_utc, SkyPosition(15.0 * float(hour), site.latitude_deg), site.position()) for hour in hours
    ]
    return float(hours[int(np.argmax(altitudes))])


def _sexagesimal(value: float, decimals: int) -> str:
    units = round(value * 3600 * 10**decimals)
    seconds = units % (60 * 10**decimals) / 10**decimals
    minutes = units // (60 * 10**decimals)
    return f"{minutes // 60:02d} {minutes % 60:02d} {seconds:0{decimals + 3}.{decimals}f}"


def _from_sexagesimal(text: str) -> float:
    try:
        first, minutes, seconds = (float(part) for part in text.split())
    except ValueError as error:
        raise ConfigurationError(f"pointing {text!r}: three numbers are required") from error
    value = abs(first) + minutes / 60.0 + seconds / 3600.0
    return -value if text.startswith("-") else value


def _fits_text(value: str) -> str:
    return f"'{value:<8}'"


def _fits_float(value: float) -> str:
    text = repr(float(value)).upper()
    return text[:-1] if text.endswith(".0") else text
