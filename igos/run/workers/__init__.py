"""Who does the work of a run: this process, processes of its own, or a Ray cluster."""
