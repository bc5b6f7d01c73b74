"""The pure mathematics of alignment: arrays in, arrays out, no estimator."""
