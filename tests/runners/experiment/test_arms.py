"""Arms: what a path changes and what it leaves, and what is refused before anything is played."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from market_env.config import ConfigError, Halt, Latency
from runners.experiment.arms import Base, crossed, label, make_arm, numbers_at, of_models, parse_variation, read_arms
from scripted_agents import population
from scripted_agents.frozen_ppo import DEFAULT_MODEL, FrozenPPO
from scripted_agents.quoter import Quoter

BASE = Base.of("default", 500)
ROOT = Path(__file__).parents[3]


def test_the_base_is_the_population_and_its_key_changes_with_whatever_decides_its_play() -> None:
    of, arm = population("default", timesteps=500), make_arm(BASE, {})
    assert (arm.market, arm.policies) == (of.market, of.policies)
    others = [make_arm(BASE, change) for change in (
        {"maker": 7}, {"market.value.jump": 4.8}, {"policies.maker_0.half_spread": 21.0}, {"market.agents.noise.cash": 1},
        {"market.timesteps": 501}, {"policies.ppo": {"policy": "nothing"}},
    )]  # fmt: skip
    assert len({arm.key, *(other.key for other in others)}) == 7
    assert make_arm(BASE, {}).key == arm.key
    # Only the length differs: the same place.
    assert [other.place == arm.place for other in others] == [False, False, False, False, True, False]


def test_a_kinds_parameter_is_merged_into_what_each_agent_has() -> None:
    of, arm = population("default", timesteps=500), make_arm(BASE, {"policies.maker.half_spread": 9.0})
    makers = [agent.id for agent in of.market.agents if agent.kind == "maker"]
    assert len({str(of.policies[agent]) for agent in makers}) > 1  # they stand differently, and go on to
    for agent in of.market.agent_ids:
        expected = replace(of.policies[agent], half_spread=9.0) if agent in makers else of.policies[agent]
        assert arm.policies[agent] == expected
    assert arm.market == of.market


def test_a_factor_multiplies_what_each_agent_has_and_a_parameter_of_some_leaves_the_others() -> None:
    of = population("default", timesteps=500)
    doubled = make_arm(BASE, {"policies.maker.half_spread": "*2"}).policies
    flickering = make_arm(BASE, {"policies.maker.flicker": 0.0}).policies
    for agent in of.market.agents:
        own = asdict(of.policies[agent.id])
        if agent.kind == "maker":
            assert asdict(doubled[agent.id]) == own | {"half_spread": 2 * own["half_spread"]}
        quoter = isinstance(of.policies[agent.id], Quoter)
        assert asdict(flickering[agent.id]) == own | ({"flicker": 0.0} if quoter else {})


def test_rules_and_seats_change_where_the_path_says() -> None:
    arm = make_arm(
        BASE, {"market.value.jump": 9.0, "market.agents.noise.cash": 5, "market.agents.maker_2.inventory_bound": 7}
    )
    assert arm.market.value is not None
    assert arm.market.value.jump == 9.0
    seats = {agent.id: agent for agent in arm.market.agents}
    assert {seat.cash for seat in seats.values() if seat.kind == "noise"} == {5}
    assert [seats[f"maker_{n}"].inventory_bound for n in (1, 2, 3)] == [600, 7, 600]
    assert numbers_at(BASE, "market.agents.maker.inventory_bound") == 600.0
    assert numbers_at(BASE, "maker") == 8.0


def test_variations_cross_the_first_values_first() -> None:
    arms = crossed(BASE, {"maker": [8, 4], "policies.noise.market_share": [0.1, 0.2]})
    assert [arm.name for arm in arms] == [
        "maker=8, noise.market_share=0.1", "maker=8, noise.market_share=0.2", "maker=4, noise.market_share=0.1",
        "maker=4, noise.market_share=0.2",
    ]  # fmt: skip
    assert parse_variation("maker=8,4,0") == ("maker", [8, 4, 0])
    assert parse_variation("policies.maker.lots=*0.5,*2") == ("policies.maker.lots", ["*0.5", "*2"])
    assert parse_variation('policies.ppo={"policy": "nothing"}') == ("policies.ppo", [{"policy": "nothing"}])
    assert parse_variation("market.agents.noise.inventory_bound=[1, 2]") == (
        "market.agents.noise.inventory_bound",
        [1, 2],
    )
    seats = crossed(BASE, dict([parse_variation('policies.ppo=[{"policy": "nothing"}, {"policy": "random"}]')]))
    assert [arm.name for arm in seats] == ["ppo=nothing", "ppo=random"]
    (one,) = crossed(BASE, {})
    assert one.name == "base"


def test_two_models_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    files = [str(tmp_path / folder / "policy.zip") for folder in ("first", "second")]
    for file in files:
        Path(file).parent.mkdir()
        Path(file).write_bytes((ROOT / "models" / "ppo_day5.zip").read_bytes())
    with pytest.raises(ConfigError, match="are the same configuration"):  # the same bytes
        crossed(BASE, of_models(BASE, files))
    arms = [make_arm(BASE, {"policies.ppo": value}) for value in of_models(BASE, files)["policies.ppo"]]
    assert {arm.name for arm in arms} == {"ppo=policy.zip"}
    assert label(arms[0].changes, whole=True) == f"ppo={files[0]}"


def test_models_take_the_learners_seat() -> None:
    (arm,) = crossed(BASE, of_models(BASE, [DEFAULT_MODEL]))
    assert arm.name == "ppo=ppo_day5.zip"
    assert arm.policies["ppo_0"] == FrozenPPO(DEFAULT_MODEL)
    with pytest.raises(ConfigError, match="--model: there is no ppo agent to use it"):
        of_models(Base.of(population("default", {"ppo": 0})), [DEFAULT_MODEL])


def test_named_arms_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "arms.json"
    path.write_text(json.dumps({"as it is": {}, "half": {"maker": 4}}))
    first, half = read_arms(BASE, path)
    assert (first.name, half.name) == ("as it is", "half")
    assert sum(agent.kind == "maker" for agent in half.market.agents) == 4
    for content, said in (
        ({}, "expected an object of arms"), ({"a": 3}, "expected an object of paths and values, got 3"),
        ({"a": {"makr": 3}}, "unknown 'makr'"), ({"a": {}, "b": {"maker": 8}}, "'a' and 'b' are the same configuration"),
    ):  # fmt: skip
        path.write_text(json.dumps(content))
        with pytest.raises(ConfigError, match=r"arms .*arms\.json: ") as found:
            read_arms(BASE, path)
        assert said in str(found.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"makr": 3}, "unknown 'makr'; nearest: maker"),
        ({"policies.maker.half_spred": 3}, "unknown 'half_spred'; nearest: half_spread"),
        ({"policies.makr.half_spread": 3}, "unknown 'makr'; nearest: "),
        ({"market.valu.jump": 3}, "unknown 'valu'; nearest: value"),
        ({"market.value.jump": -3}, "market.value.jump: value.jump"),
        ({"market.value.jump": "*x"}, "expected a number behind the \\*, got '\\*x'"),
        ({"market.agents.noise": 3}, "expected a field of the seat behind it"),
        ({"market.first_price.x": 3}, "first_price is 50000, which has no fields"),
        ({"policies.maker": 3}, "expected the parameters of a policy, got 3"),
        ({"policies.ppo": {"policy": "nobody"}}, "policies.ppo: "),
        ({"maker": -1}, "number of maker agents: must be 0 or more, got -1"),
        ({"maker": 2.5}, "expected an integer, got 2.5"),
        ({"policies.ppo": {"policy": "ppo", "model": "none.zip"}}, "none.zip"),
    ],
)
def test_what_cannot_be_varied_is_one_error_that_names_it(change: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_arm(BASE, change)


def test_a_number_of_agents_beside_a_roster_of_its_own_is_refused() -> None:
    of = population("default", timesteps=500)
    with pytest.raises(ConfigError, match="maker: cannot be varied"):
        make_arm(Base.of(of), {"maker": 3})
    assert make_arm(Base.of(of), {"market.value.jump": 3.0}).market.value is not None


@pytest.mark.parametrize("text", ["maker", "=3", "maker=", "maker=3,3"])
def test_a_variation_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--vary"):
        parse_variation(text)


def test_fields_of_what_is_none_begin_it_and_several_that_need_each_other_are_set_together() -> None:
    base = Base.of("day6", 100)
    changes = {"market.halt.within": 20, "market.halt.move": 30, "market.agents.maker.latency.fixed": 0.5}
    arm = make_arm(base, changes)
    assert arm.market.halt == Halt(30, 20)
    assert {agent.latency for agent in arm.market.agents if agent.kind == "maker"} == {Latency(0.5)}
    assert {agent.latency for agent in arm.market.agents if agent.kind != "maker"} == {None}
    with pytest.raises(ConfigError, match=r"market\.halt\.within: halt\.move: Field required"):
        make_arm(base, {"market.halt.within": 20})
    with pytest.raises(
        ConfigError, match=r"market\.halt\.width, market\.halt\.move: halt\.width: Unexpected keyword argument, got 20"
    ):
        make_arm(base, {"market.halt.width": 20, "market.halt.move": 3})
    assert parse_variation("market.agents.maker.latency.fixed=.5,1")[1] == [0.5, 1]
