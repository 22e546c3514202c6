"""Checking a downloaded data set and building what is derived from it. `python -m pipeline.datasets prepare`."""
