"""Synthetic nights with a known truth, and the replay of archived ones."""
