"""The stages, one file each, in the order of the flow: probe, chunk, analyse, merge, select, reframe, render, finalise."""
