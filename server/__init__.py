"""The live page: a Bokeh server that reads the ledger and listens to the broker."""
