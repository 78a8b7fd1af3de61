"""Experiments and trainings on Ray, on this machine or on a cluster: an optional extra, which commands alone import."""
