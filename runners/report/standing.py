"""The standing of each claim over many seeds, as ``python -m runners.experiment claims --publish`` left it in ``claims.json``.

A report of one run quotes it beside what that run showed, since one run decides nothing.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from market_env.config import to_json
from runners.files.config import setting_key
from runners.files.run import Run

FILE = Path(__file__).with_name("claims.json")


@functools.cache
def standings() -> dict[str, Any]:
    """By population its key, seeds, and the claims by name."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def population_of(run: Run) -> str | None:
    """The population whose claims were decided that this run played, whatever its length; None if it is none of them."""
    market = to_json(run.market)
    del market["timesteps"]
    key = setting_key(market, run.config.get("policies", {}), run.config.get("models", {}))
    return next((name for name, own in standings().items() if own["place"] == key), None)


def all_standings(run: Run) -> str:
    """All claims by standing, for a line of the first page; none of a recorded day's market."""
    if run.market.tape is not None:
        return ""
    own = population_of(run)
    name = own or next(iter(standings()))
    said = standings()[name]
    by_standing: dict[str, list[str]] = {"supported": [], "refuted": [], "undecided": []}
    for decided in said["claims"].values():
        by_standing[decided["standing"]].append(str(decided["number"]))
    listed = "; ".join(f"{standing} {', '.join(numbers)}" for standing, numbers in by_standing.items() if numbers)
    return f"Claims over {said['seeds']} seeds of {'this population' if own else name} (docs/claims.md): {listed}."


def quoted(run: Run, claim: str) -> str:
    """What is known of a claim, as a sentence; of the first population where this run's is none of those it was decided in.

    Of a recorded day's market no claim says anything.
    """
    if run.market.tape is not None:
        return ""
    own = population_of(run)
    name = own or next(iter(standings()))
    found = standings()[name]
    if claim not in found["claims"]:
        return ""
    decided = found["claims"][claim]
    return f"Claim {decided['number']}, {found['seeds']} seeds{'' if own else f' of {name}'}: {decided['standing']}."
