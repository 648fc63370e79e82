"""Readers of model files, one module per format; each gives a `Graph` at GRAPH level."""
