"""The live machine: watcher, broker, workers and the ledger that forgets nothing."""
