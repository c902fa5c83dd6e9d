"""Pure functions of the reduction: arrays in, results out."""
