"""Values that travel between stages, tasks, files and HTTP: frozen, validated when made, and JSON both ways."""
