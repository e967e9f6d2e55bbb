"""The command line: one file for each thing that commands are about. Shows and asks; the rules are elsewhere."""

from whodid.cli.app import main

__all__ = ["main"]
