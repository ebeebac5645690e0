"""Measurements: ratios to a named peer or limit, taken in the same run on the same machine."""
