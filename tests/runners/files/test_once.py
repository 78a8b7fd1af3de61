"""A value that is computed once, by threads that do not wait for each other."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from runners.files.once import once


def test_it_is_computed_once_for_each_instance() -> None:
    class Thing:
        computed = 0

        @once
        def value(self) -> int:
            """Counts."""
            self.computed += 1
            return self.computed

    first, second = Thing(), Thing()
    assert (first.value, first.value, second.value) == (1, 1, 1)
    assert Thing.value.__doc__ == "Counts."


def test_threads_compute_their_own_instances_at_the_same_time() -> None:
    together = threading.Barrier(2, timeout=30)

    class Thing:
        @once
        def value(self) -> int:
            return together.wait()  # passes only once the other thread is here as well

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(lambda thing: thing.value, [Thing(), Thing()])) == [0, 1]
