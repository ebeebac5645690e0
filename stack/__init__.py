"""The whole service in the foreground: supervisor, embedded Redis, and the processes that `topclip up` runs."""
