"""A value computed when first asked for, then kept: :class:`functools.cached_property` without its lock.

Until Python 3.12 that class held one lock for all instances while it computed, so threads that each measured a run of their own
waited for each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

Value = TypeVar("Value")


class once(Generic[Value]):  # noqa: N801  (a decorator)
    """Make a method without arguments an attribute that is computed once for each instance."""

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self.compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> once[Value]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...

    def __get__(self, instance: object | None, owner: type) -> once[Value] | Value:
        """The value; asked for again it is found before this is."""
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self.compute(instance)
        return value
