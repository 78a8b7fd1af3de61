"""Statistics of a market beside those of real ones: of a run, of a pair of LOBSTER files, or of a population over many seeds.

``python -m runners.facts RUN_DIR``, ``MESSAGE.csv ORDERBOOK.csv``, several run folders, or ``--population default``; with
``--distance`` how far apart two of them lie: ``RUN_DIR MESSAGE.csv ORDERBOOK.csv`` or two pairs of files.
:mod:`runners.exchange.facts` has the measures, ``market_facts.json`` beside it the definitions and the real ranges,
:mod:`runners.exchange.ensemble` what is said over seeds, :mod:`runners.exchange.distances` the distances.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from market_env.config import LEARNER_KIND, ConfigError
from runners.command import command
from runners.exchange import distances, ensemble, pairs
from runners.exchange.facts import facts_of_pair, facts_of_run, table
from runners.exchange.sample import LEVELS, sample_of, span_of
from runners.files.config import read_config
from scripted_agents.baselines import DoNothing
from scripted_agents.populations import population
from scripted_agents.standards import STANDARDS

SEEDS = 20
"""Seeds of a population that are measured unless others are named."""


def say(found: list[dict[str, Any]], title: str, *, as_json: bool) -> None:
    """Print the facts of several markets."""
    if as_json:
        judged, others = ensemble.over_seeds(found), ensemble.stylized_over_seeds(found)
        print(
            json.dumps(
                {"facts": [asdict(row) for row in judged], "stylized": [asdict(row) for row in others]}, indent=2
            )
        )
    else:
        print(ensemble.table(found, title))


@dataclass(frozen=True)
class Arguments:
    """Statistics of a run, or of a pair of LOBSTER files, beside those of real markets."""

    paths: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="RUN_DIR ... | MESSAGE ORDERBOOK", help_behavior_hint=""),
    ] = ()
    """A run's folder or several, or a message file and its order-book file."""
    distance: bool = False
    """Measure how far apart the distributions of two markets lie, as LOB-Bench does: a run or a pair, and a pair."""
    population: str | None = None
    """In place of files: a population by name, played on several seeds, its frozen policy in its seat."""
    empty: bool = False
    """Leave the seats of a population's learners empty."""
    seeds: tuple[int, ...] = ()
    """Seeds of a population; by default twenty that nothing was tuned on."""
    timesteps: int = 5_000
    """Length of a seed's run."""
    tick_size: Annotated[float, tyro.conf.arg(help_behavior_hint="")] = math.nan
    """Tick of a LOBSTER pair in currency units, 0.01 unless given; a run has its own."""
    json: bool = False
    """Print JSON instead of a table."""


def compare_files(paths: tuple[Path, ...], tick_size: float, *, as_json: bool) -> int:
    """Print how far apart a run or a pair and another pair lie."""
    run = bool(paths) and paths[0].is_dir()
    if len(paths) != (3 if run else 4):
        raise ConfigError(
            "--distance: expected RUN_DIR MESSAGE ORDERBOOK, or MESSAGE ORDERBOOK of one market and of another, "
            f"got {len(paths)} paths"
        )
    second = pairs.read_pair(*paths[-2:])
    levels = min(second.levels, LEVELS)
    first = pairs.pair_of_run(paths[0], levels) if run else pairs.read_pair(*paths[:2])
    levels = min(levels, first.levels)
    ticks = [read_config(paths[0])[1].tick_size if run else tick_size, tick_size]
    samples = [
        sample_of(pair, *span_of(pair), tick * pairs.PRICE_UNITS, levels)
        for pair, tick in zip((first, second), ticks, strict=True)
    ]
    found = distances.distances(samples[0], samples[1])
    if as_json:
        print(json.dumps({name: apart and apart._asdict() for name, apart in found.items()}, indent=2))
    else:
        print(distances.table(found, (first.name, second.name)))
    return 0


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = tyro.cli(Arguments, args=argv, prog="python -m runners.facts")
    given = not math.isnan(arguments.tick_size)
    if given and not arguments.tick_size > 0:
        raise ConfigError(f"--tick-size: expected above 0, got {arguments.tick_size:g}")
    if arguments.distance:
        if arguments.population is not None or arguments.seeds:
            raise ConfigError("--distance: compares files; leave --population and --seeds out")
        return compare_files(arguments.paths, arguments.tick_size if given else 0.01, as_json=arguments.json)
    if arguments.population is not None:
        if arguments.paths or given:
            raise ConfigError("--population: plays its seeds itself; leave paths and --tick-size out")
        seeds = arguments.seeds or STANDARDS.test_seeds[:SEEDS]
        of = population(arguments.population, timesteps=arguments.timesteps)
        players = of.policies
        if arguments.empty and any(agent.kind == LEARNER_KIND for agent in of.market.agents):
            players = of.over({LEARNER_KIND: DoNothing()})
        runs = tqdm(ensemble.facts_of_seeds(of.market, players, seeds), total=len(seeds), unit=" seeds", disable=None)
        say(list(runs), arguments.population, as_json=arguments.json)
        return 0
    if arguments.seeds:
        raise ConfigError("--seeds: are a population's; give --population with them")
    if len(arguments.paths) > 1 and all(path.is_dir() for path in arguments.paths):
        say([facts_of_run(path) for path in arguments.paths], "runs", as_json=arguments.json)
        return 0
    first, *others = arguments.paths or (Path(),)
    if not arguments.paths or len(others) > 1 or (others and first.is_dir()):
        raise ConfigError(
            f"expected a run's folder or several, a message and an order-book file, or --population, got {len(arguments.paths)} paths"
            + (f", the first of them a folder, {first}" if others and first.is_dir() else "")
        )
    if others:
        found = facts_of_pair(first, others[0], arguments.tick_size if given else 0.01)
    elif first.is_file():
        raise ConfigError(
            f"{first}: expected its order-book file beside it: python -m runners.facts MESSAGE.csv ORDERBOOK.csv"
        )
    elif given:
        raise ConfigError("--tick-size: a run has its own tick; leave it out")
    else:
        found = facts_of_run(first)
    print(json.dumps(found, indent=2) if arguments.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
