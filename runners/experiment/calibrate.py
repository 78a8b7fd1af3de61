"""Make a population somebody's stock: ``python -m runners.experiment calibrate --tune PATH=LOW..HIGH``."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from market_env.config import ConfigError
from runners.arguments import Rules, Start, base_of
from runners.cluster.experiments import executor_at
from runners.cluster.session import with_local
from runners.command import command
from runners.exchange import facts
from runners.experiment.arms import Base, make_arm
from runners.experiment.calibration import Search, Target, measures_of, pair_target, parse_range, real_target
from runners.experiment.calibration import unmet as facts_unmet
from runners.experiment.compare import text
from runners.experiment.experiment import parse_seeds, run_experiment
from runners.experiment.jobs import Executor
from runners.files.folder import fresh_folder
from runners.files.whole import write_json
from runners.measures.over_seeds import mean_of
from scripted_agents.standards import STANDARDS

TUNED = (
    "market.value.rate=0.05..0.5",
    "market.value.jump=2..12",
    "market.agents.noise.arrivals.rate=*0.5..*2",
    "market.agents.maker.arrivals.news=*0.3..*3",
    "market.agents.informed.arrivals.news=*0.3..*3",
    "policies.maker.half_spread=*0.5..*2",
    "policies.maker.lots=*0.5..*2",
    "policies.maker.flicker=*0.3..*2",
    "policies.maker.join=*0.3..*2",
    "policies.noise.market_share=*0.3..*3",
    "policies.noise.cancel_rate=*0.3..*3",
    "policies.informed.threshold=*0.5..*2",
)
"""What is sought unless something else is asked for: parameters of the default population."""
LEAST_TRIALS, MOST_TRIALS = 4, 1_000
"""Of a generation: fewer are no search."""
HELD_OUT = STANDARDS.test_seeds[:32]


@dataclass(frozen=True, kw_only=True)
class Arguments(Rules):
    """Seek a population's parameters so that its facts come near those of real half hours, or of a LOBSTER pair."""

    tune: Annotated[
        tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="PATH=LOW..HIGH", help_behavior_hint="")
    ] = ()
    """A parameter and its range, as --vary of python -m runners.experiment names parameters; *0.5..*2 multiplies what each agent has. Give it
    several times; by default twelve of the default population's."""
    pair: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="MESSAGE ORDERBOOK", help_behavior_hint="")] = ()
    """A LOBSTER pair whose facts are the target; by default the middle of the ranges of real half hours."""
    tick_size: Annotated[float, tyro.conf.arg(help_behavior_hint="")] = 0.01
    """Tick of the pair, currency units."""
    generations: int = 40
    """Generations of the search."""
    trials: int | None = None
    """Trials of a generation, which are played at once: 4 + 3 ln(parameters) by default; more for many processors."""
    seeds: tuple[str, ...] = ("1..6",)
    """Seeds that each trial plays."""
    seed: int = 1
    """Of the search."""
    timesteps: int = 1_800
    """Length of a trial's episodes; half an hour is what the facts' ranges are of."""
    out: Path | None = None
    """Folder of the search, runs/calibration-<n> by default; one of the same search goes on."""
    ray: Annotated[str | None, tyro.conf.arg(metavar="[HOST:PORT]", help_behavior_hint="")] = None
    """Play on Ray: --ray alone on this machine, or the address of a cluster's head."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    words = with_local(sys.argv[1:] if argv is None else argv)
    start = Start(words, one_model=False)
    default = Arguments(**{**start.flags(), "timesteps": Arguments.timesteps})
    arguments = tyro.cli(Arguments, args=words, default=default, prog="python -m runners.experiment calibrate")
    if arguments.generations < 1:
        raise ConfigError(f"--generations: expected at least 1, got {arguments.generations}")
    if arguments.trials is not None and not LEAST_TRIALS <= arguments.trials <= MOST_TRIALS:
        raise ConfigError(f"--trials: expected {LEAST_TRIALS} to {MOST_TRIALS:,}, got {arguments.trials:,}")
    if len(arguments.pair) not in (0, 2):
        raise ConfigError(f"--pair: expected a message and an order-book file, got {len(arguments.pair)} files")
    if not (arguments.tick_size > 0 and math.isfinite(arguments.tick_size)):
        raise ConfigError(f"--tick-size: expected above 0, got {arguments.tick_size:g}")
    if arguments.timesteps < facts.WINDOW_SECONDS:
        raise ConfigError(
            f"--timesteps: expected at least {facts.WINDOW_SECONDS:,}, half an hour, which the facts' ranges are of, got {arguments.timesteps:,}"
        )
    base = base_of(start, arguments)
    ranges = [parse_range(own) for own in arguments.tune or TUNED]
    target = pair_target(arguments.pair[0], arguments.pair[1], arguments.tick_size) if arguments.pair else real_target()
    seeds = parse_seeds(arguments.seeds)
    if set(seeds) & {*HELD_OUT}:
        raise ConfigError(
            f"--seeds: expected others than those held out for the verdict, {HELD_OUT.start} to {HELD_OUT.stop - 1}"
        )
    out = arguments.out or fresh_folder("calibration")
    with executor_at(arguments.ray) as executor:
        search = Search(base, ranges, target, seeds, out, arguments.seed, executor, arguments.trials)
        return sought(search, arguments.generations, base, target, executor)


def sought(search: Search, generations: int, base: Base, target: Target, executor: Executor) -> int:
    """Search, judge what was found, and say both; return an exit status."""
    out = search.path
    print(
        f"{len(search.ranges)} parameters towards {target.name}: {generations} generations of {search.size} trials of {len(search.seeds)} runs, in {out}"
    )
    with tqdm(total=generations, unit=" generations", disable=None) as bar:

        def progress(loss: float) -> None:
            bar.update()
            bar.set_postfix_str(f"least loss {loss:.3f}")

        try:
            best = search.run(generations, progress)
        except KeyboardInterrupt:
            print(f"\nfinished generations are kept; go on with --out {out}", file=sys.stderr)
            raise
    arms = [make_arm(base, {}, "before"), make_arm(base, best.changes, "after")]
    if arms[0].key == arms[1].key:
        print(f"nothing better was found in {generations} generations")
        return 0
    verdict = out / f"verdict-{arms[1].key}"
    result = run_experiment(arms, list(HELD_OUT), verdict, measures_of(target), executor=executor, progress=False)
    write_json(out / "best.json", arms[1].describe())
    print(f"\n{'parameter':<44}{'after':>12}")
    for path, value in best.changes.items():
        print(f"{path:<44}{value if isinstance(value, str) else text(value):>12}")
    names = list(target.centre)
    means = {
        arm.name: {n: mean_of(c.values[arm.name]).mean for n, c in zip(names, result.comparisons, strict=True)}
        for arm in arms
    }
    print(
        f"\n{len(HELD_OUT)} seeds that the search has not seen: loss {target.loss(means['before']):.3f} before, {target.loss(means['after']):.3f} after"
    )
    print(f"\n{'fact':<28}{'before':>12}{'after':>12}{'target':>12}{'range':>24}")
    apart = target.apart(means["after"])
    for name, comparison in zip(names, result.comparisons, strict=True):
        low, high = target.centre[name] - target.half_width[name], target.centre[name] + target.half_width[name]
        cells = [text(comparison.means[arm.name].mean) for arm in arms]
        outside = "  outside" if abs(apart[name]) > 1 else ""
        print(
            f"{name:<28}{cells[0]:>12}{cells[1]:>12}{text(target.centre[name]):>12}{f'{text(low)} … {text(high)}':>24}{outside}"
        )
    left = facts_unmet(target, means["after"])
    met = f"met: {len(names) - len(left)} of {len(names)} facts within half a real range's width of the target"
    print(
        "loss: mean over the facts of the squared distance from the target beyond half a half-width of the real range, in half-widths, at most 9"
    )
    print(f"\n{met}" + (f"; could not be met: {', '.join(name for name, *_ in left)}" if left else ""))
    print(f"wrote {out / 'best.json'}: python run_simulation.py --config {out / 'best.json'}")
    return 0
