"""Decide the registry's claims over many seeds: ``python -m runners.experiment claims``.

Arms that claims share are played once; what is in the folder is not played again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from market_env.config import ConfigError
from runners.cluster.experiments import executor_at
from runners.cluster.session import with_local
from runners.command import command
from runners.experiment.compare import by_seed
from runners.experiment.experiment import check_enough, parse_block, parse_seeds, play
from runners.experiment.jobs import Executor, Job, Row
from runners.experiment.judge import judge
from runners.experiment.measures import Measure, find
from runners.experiment.page import Decided, in_words, number_of, write
from runners.experiment.registry import ARMS, Claim, arms_of, claims_named, wanted
from runners.experiment.store import Store, code_hash
from scripted_agents.standards import STANDARDS

SEEDS = f"{STANDARDS.test_seeds.start}..{STANDARDS.test_seeds.stop - 1}"


PUBLISHED = len(STANDARDS.test_seeds)
"""Seeds that a published page has at least."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Decide the registry's claims over many seeds, and write them as a page with pictures."""

    claims: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[CLAIM ...]", help_behavior_hint="")
    ] = ()
    """Numbers or names of claims; all of them by default."""
    populations: tuple[str, ...] = tuple(ARMS)
    """Where they are decided."""
    seeds: tuple[str, ...] = (SEEDS,)
    """Numbers, ranges, or both; by default 64 that nothing was tuned on."""
    timesteps: int = 5_000
    """Length of an episode in timesteps."""
    out: Path | None = None
    """Folder of the rows, a population each, and of the page, runs/claims-<code> by default: rows of other code do not count."""
    publish: bool = False
    """Write the page into docs/ and the standings to where reports find them, in a checkout of the project."""
    ray: Annotated[str | None, tyro.conf.arg(metavar="[HOST:PORT]", help_behavior_hint="")] = None
    """Play on Ray: --ray alone on this machine, or the address of a cluster's head."""
    block: str = "1/1"
    """Play only a block of the seeds, such as 3/10, and judge nothing; rows of all blocks meet in --out."""


def planned(store: Store, arms: Sequence[str], measures: dict[str, list[Measure]], name: str) -> int:
    """Say what is to be played; return how many runs."""
    jobs = store.missing(measures)
    seeds = len(store.seeds)
    print(f"{name}: {len(arms)} arms of {seeds} seeds, {len(arms) * seeds:,} runs, {len(jobs):,} of them to play")
    for arm in arms:
        print(f"  {arm:<26}{len(measures[arm]):>3} measures")
    return len(jobs)


def opened(
    claims: tuple[Claim, ...], arguments: Arguments, seeds: Sequence[int], out: Path
) -> tuple[dict[str, tuple[Store, dict[str, list[Measure]]]], int]:
    """Each population's folder and its arms' measures, and how many runs are to be played in all.

    Raises:
        ConfigError: none of the claims is about the populations, or a folder is another's.
    """
    stores = {}
    runs = 0
    for name in arguments.populations:
        every = arms_of(name, arguments.timesteps)
        names = wanted(claims, name)
        arms = [arm for label, arm in every.items() if label in names]
        if not arms:
            continue
        markets = [arm.market for arm in arms]
        measures = {label: [find(own, markets) for own in chosen] for label, chosen in names.items()}
        union = list({own.name: own for chosen in measures.values() for own in chosen}.values())
        stores[name] = (Store(out / name, arms, seeds, union, shared=True), measures)
        runs += planned(stores[name][0], [arm.name for arm in arms], measures, name)
    if not stores:
        raise ConfigError(
            f"claims: none of {', '.join(claim.name for claim in claims)} is about {', '.join(arguments.populations)}"
        )
    return stores, runs


def timed(executor: Executor, runs: int) -> Executor:
    """An executor that says how long all will take once some runs are there."""
    probe = min(max(8, runs // 20), runs)
    left = runs
    said = False

    def play_timed(jobs: Sequence[Job]) -> Iterator[tuple[Job, Row]]:
        nonlocal said, left
        begun = time.perf_counter()
        for number, done in enumerate(executor(jobs), 1):
            yield done
            left -= 1
            if number >= probe and not said:
                said = True
                seconds = (time.perf_counter() - begun) / number * left
                print(
                    f"about {seconds / 60:.1f} minutes to go" if seconds > 60 else "less than a minute to go",
                    file=sys.stderr,
                )

    return play_timed


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = tyro.cli(
        Arguments, args=with_local(sys.argv[1:] if argv is None else argv), prog="python -m runners.experiment claims"
    )
    claims = claims_named(arguments.claims)
    seeds = check_enough(parse_seeds(arguments.seeds))
    block = parse_block(arguments.block)
    if arguments.publish and not (Path("docs").is_dir() and Path("runners/report").is_dir()):
        raise ConfigError("--publish: expected to be in a checkout of the project, found no docs/ and runners/report/")
    whole = not arguments.claims and set(arguments.populations) == set(ARMS) and len(seeds) >= PUBLISHED
    if arguments.publish and not (whole and arguments.timesteps == Arguments.timesteps):
        raise ConfigError(
            f"--publish: expected all claims, all populations and at least {PUBLISHED} seeds of {Arguments.timesteps:,} timesteps"
        )
    out = arguments.out or Path("runs") / f"claims-{code_hash()[:8]}"
    if len(set(arguments.populations)) < len(arguments.populations) or not arguments.populations:
        raise ConfigError(f"--populations: expected some, each once, got {arguments.populations}")
    stores, runs = opened(claims, arguments, seeds, out)
    with executor_at(arguments.ray) as plain:
        executor = timed(plain, -(-runs // block[1]))
        all_decided = []
        for name, (store, measures) in stores.items():
            try:
                play(store, measures, block=block, executor=executor)
            except KeyboardInterrupt:
                print("\nwhat was played is kept; the same command goes on", file=sys.stderr)
                raise
            if block[1] == 1:
                all_decided.append(decided(store, name, claims))
    if block[1] > 1:
        print(f"block {block[0]} of {block[1]} is in {out}; without --block the rest is played and all is judged")
        return 0
    for each in all_decided:
        print(f"\n{each.population}, {len(each.seeds)} seeds of {each.timesteps:,} timesteps an arm:")
        for verdict in each.verdicts:
            print(f"  {number_of(verdict.claim)}. {verdict.claim.says} {in_words(verdict)}")
    print()
    folder, data = (
        (Path("docs"), Path("runners/report/claims.json")) if arguments.publish else (out, out / "claims.json")
    )
    said = " ".join(["python -m runners.experiment claims", *without_ray(argv or ())])
    for file in write(all_decided, folder, data, said):
        print(f"wrote {file}")
    return 0


def without_ray(words: Sequence[str]) -> list[str]:
    """A command line without where it was played, which decides nothing."""
    plain, skipped = [], False
    for word in with_local(words):
        if not skipped and word != "--ray":
            plain.append(word)
        skipped = word == "--ray"
    return plain


def decided(store: Store, name: str, claims: Sequence[Claim]) -> Decided:
    """Judge the claims by a folder's rows."""
    rows = store.write_results()
    values = {
        measure.name: {arm.name: by_seed(rows, arm.name, store.seeds, measure.name) for arm in store.arms}
        for measure in store.measures
    }
    verdicts = [judge(claim, name, values) for claim in claims if name in claim.populations]
    arms = {arm.name: arm for arm in store.arms}
    return Decided(name, arms, store.seeds, store.arms[0].market.timesteps, values, verdicts)
