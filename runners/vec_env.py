"""Stable-Baselines3's vector environment: another name of :mod:`runners.learn.vec_env`."""

from runners.learn.vec_env import MarketVecEnv

__all__ = ["MarketVecEnv"]
