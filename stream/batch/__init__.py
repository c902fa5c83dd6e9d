"""The notebook interface: a reduction in steps, on the same pipeline, workers and ledger as the live night."""
