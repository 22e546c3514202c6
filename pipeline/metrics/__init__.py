"""Measures shared by training, the Fourier filter and evaluation."""
