"""Experiments: what is claimed of the market, decided over many seeds.

An :class:`~runners.experiment.arms.Arm` is one configuration. All arms of an experiment play the same seeds, and each agent
draws from streams that are keyed by the seed and its id, so two arms differ by what their difference makes of the same
chance: differences are taken seed by seed. ``python -m runners.experiment`` is the command.
"""
