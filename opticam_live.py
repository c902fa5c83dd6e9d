"""The front door: public names (``import opticam_live as opticam``) and the command line."""

from __future__ import annotations

import gc
import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulator.night import generate_flats, generate_observations
    from stream.analysis.analyzer import Analyzer
    from stream.analysis.averaged_spectra import Averaging
    from stream.analysis.cross_correlation import Lags
    from stream.analysis.detrending import Detrending
    from stream.analysis.dynamic_spectrum import Windows
    from stream.analysis.folding import Ephemeris
    from stream.analysis.periodogram import SpectrumSettings
    from stream.analysis.significance import false_alarm_level, window_function
    from stream.analysis.transit_fit import TransitGuess
    from stream.batch.differential import DifferentialPhotometer
    from stream.batch.own_photometers import OwnPhotometer
    from stream.batch.photometers import AperturePhotometer, DefaultLocalBackground, OptimalPhotometer
    from stream.batch.reducer import Reducer
    from stream.instruments import OPTICAM_MX, Instrument
    from stream.measure.master_files import CalibrationFolders
    from stream.scan import scan_data

__all__ = [
    "OPTICAM_MX",
    "Analyzer",
    "AperturePhotometer",
    "Averaging",
    "CalibrationFolders",
    "DefaultLocalBackground",
    "Detrending",
    "DifferentialPhotometer",
    "Ephemeris",
    "Instrument",
    "Lags",
    "OptimalPhotometer",
    "OwnPhotometer",
    "Reducer",
    "SpectrumSettings",
    "TransitGuess",
    "Windows",
    "false_alarm_level",
    "generate_flats",
    "generate_observations",
    "main",
    "scan_data",
    "window_function",
]

_HOMES = {
    "Analyzer": "stream.analysis.analyzer",
    "AperturePhotometer": "stream.batch.photometers",
    "Averaging": "stream.analysis.averaged_spectra",
    "CalibrationFolders": "stream.measure.master_files",
    "DefaultLocalBackground": "stream.batch.photometers",
    "Detrending": "stream.analysis.detrending",
    "DifferentialPhotometer": "stream.batch.differential",
    "Ephemeris": "stream.analysis.folding",
    "false_alarm_level": "stream.analysis.significance",
    "generate_flats": "simulator.night",
    "generate_observations": "simulator.night",
    "Instrument": "stream.instruments",
    "Lags": "stream.analysis.cross_correlation",
    "OPTICAM_MX": "stream.instruments",
    "OptimalPhotometer": "stream.batch.photometers",
    "OwnPhotometer": "stream.batch.own_photometers",
    "Reducer": "stream.batch.reducer",
    "scan_data": "stream.scan",
    "SpectrumSettings": "stream.analysis.periodogram",
    "TransitGuess": "stream.analysis.transit_fit",
    "window_function": "stream.analysis.significance",
    "Windows": "stream.analysis.dynamic_spectrum",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def main() -> None:
    """Run the command line: exit status 0 done, 1 failed with one sentence on stderr, 2 wrong usage."""
    import typer

    import server.commands
    import simulator.commands
    import stream.commands
    from stream.errors import OpticamLiveError

    app = typer.Typer(
        name="opticam-live",
        help="Real-time streaming reducer for time-series photometry.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    for room in (stream.commands, simulator.commands, server.commands):
        room.register(app)
    try:
        app(prog_name="opticam-live")
    except OpticamLiveError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    finally:
        # Collecting what the process leaves behind takes longer than all else of its end, seconds on a busy machine.
        gc.freeze()


if __name__ == "__main__":
    main()
