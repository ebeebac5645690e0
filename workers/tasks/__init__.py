"""One file a stage: decode arguments, call the stage of that name, hand on."""
