"""Shapes of StableHLO's operators: what its specification says, and one shape rule per operator."""
