"""Executors of the eight atoms, one module each; `reference` defines what they all must compute."""
