"""A run read back: another name of :mod:`runners.files.run`."""

from runners.files.run import Run, load_run

__all__ = ["Run", "load_run"]
