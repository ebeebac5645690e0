"""Flask: HTTP in, HTTP out. Never loads media code or a task."""
