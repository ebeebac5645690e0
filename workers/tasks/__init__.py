"""One file a stage: decode arguments, call the stage of that name, hand on. And `callback`, which tells the job's end."""
