"""The execution task: one order in the learner's seat, a reward that adds up to its shortfall, and policies that work it."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import market_env
import scripted_agents
from market_env.config import LEARNER, ConfigError
from market_env.market import Market
from market_env.rewards import ShortfallReward
from runners import RunConfig
from runners.audit.compare import audit
from runners.experiment import execution as command
from runners.experiment import orders
from runners.experiment.seat import rows_of, seat_arm
from runners.simulation.run import simulate
from scripted_agents.execution import EXECUTION_ID, LOTS, TIMESTEPS, baselines, execution, shortfall_reward
from scripted_agents.schedules import LAST, Participation, Peg, Schedule


def seat_of(of: scripted_agents.Population) -> market_env.AgentConfig:
    return next(agent for agent in of.market.agents if agent.id == LEARNER)


@pytest.mark.parametrize("side", ["sell", "buy"])
def test_the_order_is_the_seats_inventory_and_nothing_else_of_the_market_changes(side: str) -> None:
    of, plain = execution(side), scripted_agents.population("default", timesteps=TIMESTEPS)
    seat = seat_of(of)
    assert seat.inventory == (LOTS if side == "sell" else -LOTS)
    assert seat.inventory_bound == LOTS
    others = [[a for a in own.market.agents if a.id != LEARNER] for own in (of, plain)]
    assert others[0] == others[1]
    if side == "buy":  # it can pay for the order many times over
        assert seat.cash > 4 * LOTS * of.market.first_price


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"side": "hold"}, "side: expected one of sell, buy, got 'hold'"),
        ({"lots": 0}, "lots: expected an integer from 1 to 100,000, got 0"),
        ({"lots": 2.0}, "lots: expected an integer"),
        ({"population": "none"}, "population"),
        ({"timesteps": 0}, "timesteps"),
    ],
)
def test_a_bad_order_is_one_clear_error(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        gymnasium.make(EXECUTION_ID, **arguments)


def played(env: gymnasium.Env, seed: int, policy: object) -> tuple[list[float], dict[str, object]]:
    observation, info = env.reset(seed=seed)
    rewards, over = [], False
    while not over:
        observation, reward, terminated, over, info = env.step(policy.act(observation))
        assert not terminated
        rewards.append(reward)
    return rewards, info


@pytest.mark.parametrize("side", ["sell", "buy"])
def test_rewards_add_up_to_the_shortfall_of_the_trades(side: str) -> None:
    env = gymnasium.make(EXECUTION_ID, side=side).unwrapped
    assert isinstance(env, market_env.LearnerEnv)
    of = execution(side)
    policy = Schedule().build(of.market)
    for seed in range(3):
        env.reset(seed=seed)
        policy.reset(env.market.policy_stream(env.seat), env.market.policy_memory(env.seat))
        rewards, info = played(env, seed, policy)
        assert info["inventory"] == 0
        # Cash that the order brought in, or took, against the arrival price.
        spent = info["cash"] - seat_of(of).cash
        per_lot = spent / LOTS - (of.market.first_price if side == "sell" else -of.market.first_price)
        assert math.fsum(rewards) == pytest.approx(per_lot, abs=1e-6)


@pytest.mark.parametrize("side", ["sell", "buy"])
def test_training_takes_out_what_equal_slices_would_have_gained(side: str) -> None:
    plain = shortfall_reward(side)
    sliced = replace(plain, benchmark="slices")
    # Two policies on one seed see nearly one price: what is taken out is that price's mean over time less the first.
    for policy in (scripted_agents.DoNothing(), Schedule()):
        env = gymnasium.make(EXECUTION_ID, side=side, reward=plain).unwrapped
        assert isinstance(env, market_env.LearnerEnv)
        built = policy.build(env.config)
        observation, info = env.reset(seed=4)
        built.reset(env.market.policy_stream(env.seat), env.market.policy_memory(env.seat))
        taken, mean, before, time, over = 0.0, 0.0, info["mid"], 0.0, False
        while not over:
            observation, reward, _, over, info = env.step(built.act(observation))
            outcome = env.market.outcome(env.seat)
            assert reward == plain(outcome)
            taken += plain(outcome) - sliced(outcome)
            begun = outcome["time"] - outcome["elapsed"]
            mean += (1.0 - begun / TIMESTEPS) * (info["mid"] - before)
            before, time = info["mid"], outcome["time"]
        assert time == TIMESTEPS
        assert taken == pytest.approx((mean if side == "sell" else -mean), abs=1e-9)


def test_being_late_costs_and_being_early_does_not() -> None:
    reward = replace(shortfall_reward("buy", 100, 100), lateness_penalty=0.5)
    rows = np.zeros(3, market_env.engine.state.OUTCOME)
    rows["time"], rows["elapsed"], rows["inventory"] = 50.0, 2.0, [-60.0, -50.0, -10.0]
    assert reward(rows).tolist() == [-0.5 * 10.0**2 * 2.0 / 100.0, 0.0, 0.0]


def test_what_is_left_at_the_end_is_charged_once() -> None:
    env = gymnasium.make(EXECUTION_ID)
    nothing = scripted_agents.DoNothing().build(execution().market)
    rewards, info = played(env, 1, nothing)
    assert info["inventory"] == LOTS
    assert math.fsum(rewards) == pytest.approx(info["mid"] - 50_000.0 - ShortfallReward().closing)
    assert rewards[-1] < -0.9 * ShortfallReward().closing + 5.0


def test_the_batch_plays_and_rewards_as_the_single_environment_does_to_the_bit() -> None:
    envs = gymnasium.make_vec(EXECUTION_ID, num_envs=3, side="buy", lots=40, timesteps=60)
    singles = [gymnasium.make(EXECUTION_ID, side="buy", lots=40, timesteps=60) for _ in range(3)]
    seen, _ = envs.reset(seed=5)
    alone = [env.reset(seed=5 + number)[0] for number, env in enumerate(singles)]
    rng = np.random.default_rng(0)
    for _ in range(60):
        assert np.array_equal(seen, alone)
        actions = rng.integers(0, singles[0].action_space.nvec, (3, 5))
        seen, rewards, _, truncated, _ = envs.step(actions)
        steps = [env.step(action) for env, action in zip(singles, actions, strict=True)]
        alone = [step[0] for step in steps]
        assert rewards.tolist() == [step[1] for step in steps]
        assert truncated.tolist() == [step[3] for step in steps]
    assert truncated.all()


@pytest.mark.filterwarnings("ignore:.*(render_fps|render mode).*")
def test_gymnasium_finds_nothing_to_say(recwarn: pytest.WarningsRecorder) -> None:
    env = gymnasium.make(EXECUTION_ID, timesteps=50)
    check_env(env.unwrapped, skip_render_check=True)
    assert env.spec is not None
    assert env.spec.id == EXECUTION_ID
    assert gymnasium.make(env.spec).unwrapped.config == env.unwrapped.config


def paths(of: scripted_agents.Population, policy: object, seeds: range) -> np.ndarray:
    """Lots left after each turn of the seat, shape (seeds, turns)."""
    found = []
    for seed in seeds:
        market = Market(of.market)
        market.reset(seed)
        policies = scripted_agents.build(of.market, {**of.policies, LEARNER: policy})
        for agent, own in policies.items():
            own.reset(market.policy_stream(market.index[agent]), market.policy_memory(market.index[agent]))
        seat, own = market.index[LEARNER], []
        while market.acting >= 0:
            if market.acting == seat:
                own.append(abs(market.info(seat)["inventory"]))
            if not market.act(policies[market.config.agent_ids[market.acting]].act(market.observe(market.acting))):
                break
        own.append(abs(market.info(seat)["inventory"]))
        found.append(own)
    return np.array(found)


def test_schedules_keep_to_their_paths_and_leave_nothing() -> None:
    of = execution("buy")
    for urgency in (0.0, 3.0 / TIMESTEPS):
        left = paths(of, Schedule(urgency=urgency), range(2))[:, 1:]
        turns = np.arange(1, left.shape[1] + 1)
        rest = TIMESTEPS - turns
        share = rest / TIMESTEPS if urgency == 0 else np.sinh(urgency * rest) / np.sinh(urgency * TIMESTEPS)
        assert (left[:, -1] == 0).all()
        assert (left >= np.floor(LOTS * share) - 1e-9).all()  # never ahead
        # Behind only where the book has nothing to take, as while it fills.
        assert np.abs(left[:, 60:] - LOTS * share[60:]).max() < 12


def test_participation_takes_its_share_of_the_volume_and_closes_at_the_end() -> None:
    of = execution("sell")
    slow, fast = (paths(of, Participation(share=share), range(2)) for share in (0.02, 0.3))
    assert (slow[:, -1] == 0).all()
    assert (fast[:, -1] == 0).all()
    assert (slow[:, -int(LAST) - 2] > 40).all()  # two hundredths of some thousand lots
    assert (fast[:, TIMESTEPS // 2] < slow[:, TIMESTEPS // 2]).all()


def test_the_command_sets_every_policy_against_twap_seed_by_seed(
    tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    found = orders.executed("buy", 30, 80, "day6", [], range(8))
    assert list(found) == list(baselines())
    of = execution("buy", 30, 80, "day6")
    arms = {name: seat_arm(name, of.market, LEARNER, own, None, of.policies) for name, own in baselines(30, 80).items()}
    rows = {name: rows_of(arm, LEARNER, range(8)) for name, arm in arms.items()}
    costs = {name: [-row["liquidation_gain"] / 30 for row in own] for name, own in rows.items()}
    for name, own in found.items():
        assert own.shortfall.mean == pytest.approx(np.mean(costs[name]))
        assert set(own.saved) == set(baselines()) - {name}
        for other, saved in own.saved.items():
            assert saved.mean == pytest.approx(np.mean(np.subtract(costs[other], costs[name])), abs=1e-9)
    assert found["nothing"].left.mean == 30.0
    assert found["TWAP"].left.mean == 0.0
    assert command.main(["--side", "buy", "--timesteps", "60", "--lots", "10", "--seeds", "1..8"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in baselines())
    for arguments, said in itertools.chain(
        [(["--seeds", "1..3"], "at least 8"), (["--lots", "0"], "lots"), (["--json", "a.txt"], ".json")],
        [(["--against", "best"], "against: expected one of nothing, TWAP")],
        [(["--model", "none.zip"], "none.zip"), (["--timesteps", "0"], "timesteps")],
    ):
        assert command.main(arguments) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("side", ["sell", "buy"])
def test_a_peg_rests_is_never_later_than_its_patience_and_leaves_nothing(side: str) -> None:
    of = execution(side)
    left = paths(of, Peg(), range(3))
    straight = LOTS * (1.0 - np.arange(left.shape[1]) / TIMESTEPS)
    # A lot more than its patience, since it is asked once a timestep and lots are whole.
    assert (left - straight <= Peg().patience + 1.0).all()
    assert (left[:, -1] == 0).all()
    rows = rows_of(seat_arm("peg", of.market, LEARNER, Peg(), None, of.policies), LEARNER, range(8))
    taken = rows_of(
        seat_arm("late", of.market, LEARNER, Peg(inside=0.0, patience=0.0), None, of.policies), LEARNER, range(8)
    )
    # With patience it earns what resting earns.
    assert np.mean([row["liquidation_gain"] for row in rows]) > np.mean([row["liquidation_gain"] for row in taken])


def test_models_have_names_that_tell_them_apart() -> None:
    assert orders.names_of([]) == []
    assert orders.names_of(["runs/a/policy.zip", "runs/b/mine.zip"]) == ["policy.zip", "mine.zip"]
    two = ["runs/a/seed-5/policy.zip", "runs/b/seed-5/policy.zip"]
    assert orders.names_of(two) == ["a/seed-5/policy.zip", "b/seed-5/policy.zip"]
    with pytest.raises(ConfigError, match="expected each file once"):
        orders.names_of(["a.zip", "./a.zip"])


def test_a_recorded_execution_audits_clean(tmp_path: object) -> None:
    of = execution("sell", 20, 120)
    run = RunConfig(market=of.market, policies=dict(of.policies), reward=of.reward)
    simulate(run, tmp_path / "run", audit=False, report=False, tensorboard=False, verbose=False)
    assert not audit(tmp_path / "run").failed


def test_the_rewards_parameters_are_checked_and_it_is_pure() -> None:
    with pytest.raises(ConfigError):
        ShortfallReward(lots=0)
    reward = shortfall_reward("sell", 10, 5)
    rows = np.zeros(3, market_env.engine.state.OUTCOME)
    rows["time"], rows["inventory"], rows["wealth_change"] = [1.0, 5.0, 5.0], [4.0, -4.0, 0.0], [10.0, 10.0, -20.0]
    assert reward(rows).tolist() == [1.0, 1.0 - 16.0, -2.0]
    assert [reward(row) for row in rows] == reward(rows).tolist()
