"""Pictures of one explanation, and of the starts of one object."""
