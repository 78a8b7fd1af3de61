"""The common runner: another name of :mod:`runners.simulation.drive`."""

from runners.simulation.drive import Watcher, drive

__all__ = ["Watcher", "drive"]
