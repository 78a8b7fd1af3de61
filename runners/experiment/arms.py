"""Arms: a configuration and its variations, each checked before anything is played.

A variation is a path and its values: a kind (``maker``) is how many of it there are; ``policies.maker.half_spread`` a policy's
parameter, of a kind's agents or of one agent; ``market.value.jump`` a rule; ``market.agents.noise.cash`` a field of a kind's or
one agent's seat. A value is merged into what each agent has of its own, so the makers' other differences stay; ``"*1.5"``
multiplies what each has.
"""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from market_env.config import LEARNER_KIND, ConfigError, MarketConfig, amend, checked, parse_json, to_json
from market_env.outside import load_json, read_json, shown
from runners.files.config import setting_key
from scripted_agents.frozen_ppo import FrozenPPO, locate, sha256
from scripted_agents.policy import PolicyConfig
from scripted_agents.populations import Population, population
from scripted_agents.registry import KINDS, AnyPolicy, build, resolve

Changes = Mapping[str, Any]
"""By path the value that it gets."""

MOST_ARMS = 1_000


@checked
class _Parameters:
    """Any policy's, for reading one from JSON."""

    policy: AnyPolicy


@dataclass(frozen=True)
class Arm:
    """One configuration, played over many seeds."""

    name: str
    market: MarketConfig
    policies: dict[str, PolicyConfig]
    """Of every seat, by agent id."""
    changes: dict[str, Any] = field(default_factory=dict)
    """What makes it out of the base, by path."""

    @property
    def key(self) -> str:
        """Hash of all that decides what it plays, models' bytes included: 16 hexadecimal digits."""
        data = self.describe()
        return setting_key(data["market"], data["policies"], self.models())

    @property
    def place(self) -> str:
        """The same for episodes of any length."""
        data = self.describe()
        del data["market"]["timesteps"]
        return setting_key(data["market"], data["policies"], self.models())

    def models(self) -> dict[str, str]:
        """Hash of each model file that it names.

        Raises:
            ModelError: one cannot be read.
        """
        models = {policy.model for policy in self.policies.values() if isinstance(policy, FrozenPPO)}
        return {model: sha256(locate(model)) for model in models}

    def describe(self) -> dict[str, Any]:
        """As ``run_simulation.py --config`` takes it."""
        return {
            "market": to_json(self.market),
            "policies": {agent: to_json(policy) for agent, policy in self.policies.items()},
        }


Recount = Callable[[Mapping[str, int]], tuple[MarketConfig, Mapping[str, PolicyConfig]]]
"""The market, and its policies by id or kind, with so many agents of some kinds."""


@dataclass(frozen=True)
class Base:
    """What arms are variations of.

    Args:
        recount: makes it with other numbers of agents; ``{}`` for its own.
        roster: why a number of agents cannot be varied; None where it can.
    """

    recount: Recount
    roster: str | None = None

    @staticmethod
    def of(rules: Population | str, timesteps: int | None = None) -> Base:
        """A population, or one by name.

        Raises:
            ConfigError: the name is unknown.
        """
        if isinstance(rules, str):
            name = rules
            population(name)
            return Base(lambda counts: _parts(population(name, counts, timesteps)))
        market = rules.market if timesteps is None else amend(rules.market, timesteps=timesteps)
        return Base(lambda counts: (market, rules.policies), "a population that was made already")


def _parts(made: Population) -> tuple[MarketConfig, Mapping[str, PolicyConfig]]:
    return made.market, made.policies


def make_arm(base: Base, changes: Changes, name: str | None = None) -> Arm:
    """The base with some changes.

    Raises:
        ConfigError: a path is none, a value is bad, or a policy cannot be built for its market.
    """
    counts = {path: value for path, value in changes.items() if path in KINDS}
    if counts and base.roster:
        raise ConfigError(f"{next(iter(counts))}: cannot be varied: {base.roster} has a roster of its own")
    try:
        market, policies = base.recount(counts)
        market, chosen = changed(market, policies, {p: value for p, value in changes.items() if p not in counts})
    except ConfigError as error:
        raise ConfigError(f"arm {label(changes)}: {error}" if changes else str(error)) from None
    return Arm(label(changes) if name is None else name, market, chosen, dict(changes))


def changed(
    market: MarketConfig, policies: Mapping[str, PolicyConfig], changes: Changes
) -> tuple[MarketConfig, dict[str, PolicyConfig]]:
    """A market with rules, seats or policies changed, path by path, and the policies of all its agents.

    Raises:
        ConfigError: see :func:`make_arm`.
    """
    chosen = resolve(market, policies)
    data, rules = to_json(market), []
    for path, value in changes.items():
        root, *parts = path.split(".")
        if root == "policies" and parts:
            _change_policies(market, chosen, path, value)
        elif root == "market" and parts:
            rules.append(path)
            _change_market(market, data, path, value)
        else:
            kinds = [
                *KINDS,
                "policies.<kind or agent>.<parameter>",
                "market.<field>",
                "market.agents.<kind or agent>.<field>",
            ]
            raise _unknown(path, root, kinds)
    if rules:  # together, since one may need another
        try:
            market = parse_json(MarketConfig, json.dumps(data))
        except ConfigError as error:
            raise ConfigError(f"{', '.join(rules)}: {error}") from None
    build(market, chosen)
    return market, chosen


def label(changes: Changes, *, whole: bool = False) -> str:
    """An arm's name from what it changes; a file by its name alone unless its whole path is asked for."""
    if not changes:
        return "base"
    return ", ".join(
        f"{path.removeprefix('market.').removeprefix('policies.')}={_text(value, whole)}"
        for path, value in changes.items()
    )


def _text(value: Any, whole: bool) -> str:
    if isinstance(value, Mapping):
        value = value.get("model", value.get("policy", dict(value)))
    return (value if whole else Path(value).name) if isinstance(value, str) else json.dumps(value)


def near(name: str, known: Iterable[str]) -> str:
    """What a misspelt name may have meant, for an error."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 3, 0.5)
    return f"nearest: {', '.join(close)}" if close else f"expected one of {', '.join(names[:20])}"


def _unknown(path: str, part: str, known: Iterable[str]) -> ConfigError:
    return ConfigError(f"{shown(path)[1:-1]}: unknown {shown(part)}; {near(part, known)}")


def _change_policies(market: MarketConfig, policies: dict[str, PolicyConfig], path: str, value: Any) -> None:
    """Change the policies of the agents that a path names, or a parameter of them."""
    who, *within = path.split(".")[1:]
    chosen = _agents(market, path, who)
    if within:
        # Agents of one kind may have policies of several makes: those change that have the parameter.
        chosen = [agent for agent in chosen if within[0] in to_json(policies[agent])] or chosen
    elif not isinstance(value, Mapping):
        raise ConfigError(f"{path}: expected the parameters of a policy, got {shown(value)}")
    for agent in chosen:
        parameters = _set(to_json(policies[agent]), within, value, path) if within else dict(value)
        policies[agent] = _policy(path, parameters)


def _change_market(market: MarketConfig, data: dict[str, Any], path: str, value: Any) -> None:
    """Change a rule, or a field of the seats that a path names, in a market's plain data."""
    parts = path.split(".")[1:]
    if parts[0] != "agents" or len(parts) == 1:
        _set(data, parts, value, path)
        return
    who, *within = parts[1:]
    chosen = _agents(market, path, who)
    if not within:
        raise ConfigError(f"{path}: expected a field of the seat behind it, such as {path}.cash")
    for agent in data["agents"]:
        if agent["id"] in chosen:
            _set(agent, within, value, path)


def _agents(market: MarketConfig, path: str, who: str) -> list[str]:
    found = [agent.id for agent in market.agents if who in (agent.id, agent.kind)]
    if not found and who in KINDS:
        raise ConfigError(f"{path}: there is no {who} agent to change")
    if not found:
        raise _unknown(path, who, {name for agent in market.agents for name in (agent.id, agent.kind)})
    return found


def _policy(path: str, data: dict[str, Any]) -> PolicyConfig:
    try:
        return parse_json(_Parameters, json.dumps({"policy": data})).policy
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


class _Begun(dict[str, Any]):
    """What stood at None before a field of it was set: the others are as by default."""


def _set(data: dict[str, Any], parts: Sequence[str], value: Any, path: str) -> dict[str, Any]:
    """Set a field within plain data, which must have it; return the data."""
    place = data
    for part in parts[:-1]:
        if part not in place:
            raise _unknown(path, part, place)
        if place[part] is None:
            place[part] = _Begun()
        if not isinstance(place[part], dict):
            raise ConfigError(f"{path}: {part} is {shown(place[part])}, which has no fields")
        place = place[part]
    if parts[-1] not in place and not isinstance(place, _Begun):
        raise _unknown(path, parts[-1], place)
    if isinstance(value, str) and value.startswith("*"):
        value = _times(place.get(parts[-1]), value, path)
    place[parts[-1]] = value
    return data


def _times(own: Any, text: str, path: str) -> float | int:
    """The number that is there, times what the text says; whole if it was."""
    try:
        factor = float(text[1:])
    except ValueError:
        raise ConfigError(f"{path}: expected a number behind the *, got {shown(text)}") from None
    if isinstance(own, bool) or not isinstance(own, int | float):
        raise ConfigError(f"{path}: expected a number to multiply, found {shown(own)}")
    return round(own * factor) if isinstance(own, int) else own * factor


def parse_variation(text: str, flag: str = "--vary") -> tuple[str, list[Any]]:
    """``path=value,value,...``, or ``path=[value, value, ...]`` as a JSON list, as path and values; each is JSON, else a text.

    Args:
        text: as the command line has it.
        flag: what it was given to, for an error.

    Raises:
        ConfigError: it is written otherwise, or one value stands twice.
    """
    path, equals, given = text.partition("=")
    if not (path and equals and given):
        raise ConfigError(f"{flag}: expected path=value, such as market.fees.taker=300, got {shown(text)}")
    if given.lstrip().startswith("{"):  # one value that may hold commas
        values = [load_json(given, f"{flag} {path}")]
    elif given.lstrip().startswith("["):  # several such
        values = list(load_json(given, f"{flag} {path}"))
    else:
        values = []
        for word in given.split(","):
            try:
                values.append(load_json(f"0{word}" if word.startswith(".") else word, path))
            except ConfigError:
                values.append(word)
    if len({json.dumps(value) for value in values}) < len(values):
        raise ConfigError(f"{flag} {shown(path)[1:-1]}: expected each value once, got {shown(given)}")
    return path, values


def crossed(base: Base, variations: Mapping[str, Sequence[Any]]) -> list[Arm]:
    """An arm for each combination of the variations' values, the first values first; the base alone without any.

    Raises:
        ConfigError: see :func:`make_arm`; two arms are the same, or there are too many.
    """
    count = 1
    for values in variations.values():
        count *= len(values)
    if not 1 <= count <= MOST_ARMS:
        raise ConfigError(f"arms: expected 1 to {MOST_ARMS:,}, got {count:,}")
    combinations = itertools.product(*variations.values())
    arms = [make_arm(base, dict(zip(variations, values, strict=True))) for values in combinations]
    if len({arm.name for arm in arms}) < len(arms):  # files of one name in several folders
        arms = [replace(arm, name=label(arm.changes, whole=True)) for arm in arms]
    return different(arms)


def different(arms: Sequence[Arm]) -> list[Arm]:
    """The arms.

    Raises:
        ConfigError: two have one name, or play the same.
    """
    names: dict[str, str] = {}
    for arm in arms:
        if arm.name in names:
            raise ConfigError(f"arms: expected each name once, got {shown(arm.name)} twice")
        key = arm.key
        for name, other in names.items():
            if other == key:
                raise ConfigError(f"arms: {shown(name)} and {shown(arm.name)} are the same configuration")
        names[arm.name] = key
    return list(arms)


def read_arms(base: Base, path: Path) -> list[Arm]:
    """Named arms from a JSON file: an object that gives each name its changes, path by path.

    Raises:
        ConfigError: the file cannot be read or an arm is bad; names the file.
    """
    where = f"arms {shown(str(path))[1:-1]}"
    data = read_json(path, where)
    if not data:
        raise ConfigError(
            f'{where}: expected an object of arms, such as {{"base": {{}}, "half": {{"maker": 4}}}}, got none'
        )
    arms = []
    for name, changes in data.items():
        if not isinstance(changes, dict):
            raise ConfigError(f"{where}: {shown(name)}: expected an object of paths and values, got {shown(changes)}")
        try:
            arms.append(make_arm(base, changes, name))
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
    try:
        return different(arms)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def numbers_at(base: Base, path: str) -> float:
    """The number that stands at a path, the mean over the agents that it names.

    Raises:
        ConfigError: the path is none, or no number stands there.
    """
    market, policies = base.recount({})
    root, *parts = path.split(".")
    if path in KINDS:
        return float(sum(agent.kind == path for agent in market.agents))
    data: list[Any] = [to_json(market)]
    if root == "policies" and len(parts) > 1:
        own = resolve(market, policies)
        data = [to_json(own[agent]) for agent in _agents(market, path, parts[0])]
        parts = parts[1:]
        data = [policy for policy in data if parts[0] in policy] or data
    elif root == "market" and parts[:1] == ["agents"] and len(parts) > 2:
        chosen = _agents(market, path, parts[1])
        data = [agent for agent in data[0]["agents"] if agent["id"] in chosen]
        parts = parts[2:]
    for part in parts:
        if not all(isinstance(place, dict) and part in place for place in data):
            raise _unknown(path, part, data[0] if data and isinstance(data[0], dict) else [])
        data = [place[part] for place in data]
    if not data or not all(isinstance(value, int | float) and not isinstance(value, bool) for value in data):
        raise ConfigError(f"{path}: expected a number there, found {shown(data[0]) if data else 'no agent'}")
    return float(sum(data) / len(data))


def of_models(base: Base, models: Sequence[str]) -> dict[str, list[Any]]:
    """The variation that seats each of some frozen policies with the learners.

    Raises:
        ConfigError: the base has no learner's seat.
    """
    market, _ = base.recount({})
    if LEARNER_KIND not in {agent.kind for agent in market.agents}:
        raise ConfigError(f"--model: there is no {LEARNER_KIND} agent to use it")
    return {f"policies.{LEARNER_KIND}": [to_json(FrozenPPO(model)) for model in models]}
