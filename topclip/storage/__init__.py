"""The artifact store: where tasks leave files and values for one another."""
