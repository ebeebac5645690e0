"""The command `topclip`."""
