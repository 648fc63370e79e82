"""StableHLO's operators: those that TFLite has under another name go by its rules."""
