"""What a run's record says, measured: the numbers under the report, for notebooks too.

Everything here reads a :class:`runners.files.run.Run`; nothing draws.
"""
