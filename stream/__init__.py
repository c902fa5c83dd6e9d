"""The reduction: from a FITS file in a folder to a row in the ledger."""
