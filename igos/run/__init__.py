"""From settings to results: the way of one picture (explain.py) and of many (drive.py)."""
