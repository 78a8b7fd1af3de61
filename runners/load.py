"""A run read back: another name of :mod:`runners.files.run`."""

from runners.files.run import NAMES, Run, load_run

__all__ = ["NAMES", "Run", "load_run"]
