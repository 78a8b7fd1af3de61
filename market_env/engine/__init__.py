"""The compiled market: plain data and kernels, no PettingZoo, no Python objects inside.

Read in this order: :mod:`state` (what a market is), :mod:`streams`, :mod:`book`, :mod:`accounts`,
:mod:`arrivals`, :mod:`turn` (how one agent acts), :mod:`observe` (what it sees), :mod:`tables` (what a log says).
"""
