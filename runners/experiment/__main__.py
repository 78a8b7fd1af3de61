"""Arms of a market over many seeds, paired: ``python -m runners.experiment --vary maker=8,4,0 --seeds 1..32``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from market_env.config import ConfigError
from market_env.outside import shown
from runners.arguments import Rules, Start, base_of, users_own
from runners.cluster.experiments import executor_at
from runners.cluster.session import with_local
from runners.command import command
from runners.experiment.arms import crossed, of_models, parse_variation, read_arms
from runners.experiment.compare import table
from runners.experiment.draw import draw
from runners.experiment.experiment import check_enough, chosen, parse_block, parse_seeds, run_experiment
from runners.experiment.measures import DEFAULT, Measure, listing
from runners.files.folder import fresh_folder

OTHERS = ("claims", "impact", "calibrate", "making", "execution")
"""Commands beside this one, each in a module of its name."""


@dataclass(frozen=True, kw_only=True)
class Arguments(Rules):
    """Play arms of a market over many seeds, paired by seed, and compare them; what is in the folder is not played again.

    Beside it: python -m runners.experiment claims, impact, calibrate, making or execution, each with a --help of its own.
    """

    vary: Annotated[
        tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="PATH=VALUE,...", help_behavior_hint="")
    ] = ()
    """What makes the arms, the first value the base: a kind's number (maker=8,4,0), a policy's parameter
    (policies.maker.half_spread='*1,*2'), a rule (market.value.jump=4.7,9) or a seat's field (market.agents.noise.cash=1000,2000); *2
    multiplies what each has, where it is no number of agents. Several cross."""
    arms: Path | None = None
    """JSON file of named arms instead: {"base": {}, "half": {"maker": 4}}, the first one the base."""
    model: Annotated[
        tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="FILE.zip", help_behavior_hint="")
    ] = ()
    """Frozen PPO policies, an arm each, in the learners' seats; give it several times."""
    seeds: tuple[str, ...] = ("1..32",)
    """Numbers, ranges such as 1..64, or both; the same for all arms."""
    measure: tuple[str, ...] = DEFAULT
    """What is measured: names that --list shows, or module:name of a function of your own that runners.experiment.measures.measure made."""
    list: bool = False
    """Show all measures with units and meanings, and end."""
    out: Path | None = None
    """Folder of the experiment, runs/experiment-<n> by default; give one that is there to go on with it."""
    ray: Annotated[str | None, tyro.conf.arg(metavar="[HOST:PORT]", help_behavior_hint="")] = None
    """Play on Ray: --ray alone on this machine, or the address of a cluster's head."""
    block: str = "1/1"
    """Play only a block of the seeds, such as 3/10; rows of all blocks meet in --out, and the command without it joins them."""


def measures_of(names: Sequence[str]) -> list[str | Measure]:
    """Names, with a user's own measures in place of ``module:name``; several names may stand in one word, with commas between.

    Raises:
        ConfigError: a module has no such measure.
    """
    found: list[str | Measure] = []
    for name in (part for word in names for part in word.split(",") if part):
        if ":" not in name or name.startswith("facts."):
            found.append(name)
            continue
        own = users_own(name, "measure")
        if not isinstance(own, Measure):
            raise ConfigError(
                f"measure {shown(name)[1:-1]}: expected one that measure(name, unit, meaning) made, got {type(own).__name__}"
            )
        found.append(own)
    return found


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    words = with_local(sys.argv[1:] if argv is None else argv)
    if words and words[0] in OTHERS:
        status: int = importlib.import_module(f"runners.experiment.{words[0]}").main(words[1:])
        return status
    if words and not words[0].startswith("-"):
        raise ConfigError(f"expected a flag or one of {', '.join(OTHERS)}, got {shown(words[0])}")
    start = Start(words, one_model=False, anywhere=True)
    arguments = tyro.cli(Arguments, args=words, default=Arguments(**start.flags()), prog="python -m runners.experiment")
    if arguments.list:
        print(listing())
        return 0
    block = parse_block(arguments.block)
    seeds = parse_seeds(arguments.seeds)
    base = base_of(start, arguments)
    variations = {}
    for text in arguments.vary:
        path, values = parse_variation(text)
        if path in variations:
            raise ConfigError(f"--vary {shown(path)[1:-1]}: expected each path once")
        variations[path] = values
    if arguments.model:
        models = of_models(base, arguments.model)
        if models.keys() & variations.keys():
            raise ConfigError(f"--model: varies {', '.join(models)}, and so does --vary; give one or the other")
        variations |= models
    if arguments.arms and variations:
        raise ConfigError("--arms: give the file, or --vary and --model, not both")
    arms = read_arms(base, arguments.arms) if arguments.arms else crossed(base, variations)
    if len(arms) > 1:
        check_enough(seeds)
    measures = chosen(measures_of(arguments.measure), arms)
    out = arguments.out or fresh_folder("experiment")
    try:
        with executor_at(arguments.ray) as executor:
            result = run_experiment(arms, seeds, out, measures, block=block, executor=executor)
    except KeyboardInterrupt:
        print(f"\nwhat was played is kept; go on with --out {out}", file=sys.stderr)
        raise
    if block[1] > 1:
        print(
            f"block {block[0]} of {block[1]} is in {out}: {result.rows.height:,} of {len(arms) * len(seeds):,} rows are there; without --block the rest is played and all is compared"
        )
        return 0
    names = [arm.name for arm in arms]
    if len(arms) == 1:
        print("one arm: nothing is varied (--vary, --arms, --model)\n")
    print(table(result.comparisons, names, len(seeds), arms[0].market.timesteps))
    title = f"{len(seeds)} seeds of {arms[0].market.timesteps:,} timesteps an arm, "
    title += f"beside {arguments.tape[0].name}" if arguments.tape else f"population {arguments.population}"
    written = draw(out, result.comparisons, {arm.name: arm.changes for arm in arms}, title)
    print("\nto record a run of an arm:")
    for arm in arms:
        print(f"  {arm.name}: python run_simulation.py --config {out / 'arms' / arm.key}.json --seed {seeds[0]}")
    print()
    for file in (out / "results.parquet", out / "comparisons.json", *written):
        print(f"wrote {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
