"""Which errors a detector makes, what each rests on, and why: `igos diagnose`, on the engine of every run."""
