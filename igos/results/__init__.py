"""A run's folder: written, read, tabulated, exported, and shown as a page."""
