"""The command line, one file per first word."""

from igos.cli.main import main

__all__ = ["main"]
