"""What light curves say: relative fluxes, comparison stars, power spectra."""
