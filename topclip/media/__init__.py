"""Everything that touches PyAV or a subprocess: probing, decoding, encoding, checking."""
