"""Experiments on Ray, real ones: the same rows as without it, whatever is killed, and nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import psutil
import pytest

from benchmarks.cluster import COMMAND, Nodes, disturbed, rows_in, wait_for
from market_env.config import ConfigError
from runners.cluster.experiments import executor_at, on_ray, play_block
from runners.cluster.session import Cluster, parse_address, session, short_folder, with_local
from runners.cluster.sources import sources
from runners.experiment.__main__ import main, measures_of
from runners.experiment.arms import Base, crossed
from runners.experiment.calibration import Search, Target, parse_range
from runners.experiment.claims import Arguments as Claimed
from runners.experiment.claims import opened, timed
from runners.experiment.execute import in_threads
from runners.experiment.experiment import chosen, play, run_experiment
from runners.experiment.metaorder import Plan, arms_of
from runners.experiment.metaorder import measures_of as measures_of_plan
from runners.experiment.registry import claims_named
from runners.experiment.store import Store

pytestmark = [pytest.mark.long, pytest.mark.libraries]
MEASURES = ["spread", "traded_lots", "facts.sign_acf_lag1"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with session() as found:
        yield found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment in this process."""
    arms = crossed(Base.of("default", timesteps=150), {"maker": [8, 4]})
    path = tmp_path_factory.mktemp("plain") / "found"
    run_experiment(arms, range(1, 11), path, MEASURES, progress=False)
    return path


@pytest.mark.parametrize("size", [1, 7, None])
def test_the_rows_are_those_of_this_process_whatever_the_blocks(
    cluster: Cluster, plain: Path, tmp_path: Path, size: int | None
) -> None:
    arms = crossed(Base.of("default", timesteps=150), {"maker": [8, 4]})
    run_experiment(arms, range(1, 11), tmp_path / "ray", MEASURES, executor=on_ray(cluster, size), progress=False)
    for number in range(1, 11):
        run_experiment(arms, range(1, 11), tmp_path / "ten", MEASURES, block=(number, 10), progress=False)
    for other in (tmp_path / "ray", tmp_path / "ten"):
        here, there = (
            {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            for folder in (plain, other)
        )
        lines = [
            sorted(line for path in list(found) if path.parent.name == "rows" for line in found.pop(path).splitlines())
            for found in (here, there)
        ]
        assert here == there, other
        assert lines[0] == lines[1], other
        assert len(lines[0]) == 20


def test_the_flag_alone_plays_on_this_machine(tmp_path: Path) -> None:
    words = ["--seeds", "1..8", "--timesteps", "60", "--measure", "spread"]
    assert main([*words, "--out", str(tmp_path / "here")]) == 0
    assert main([*words, "--out", str(tmp_path / "ray"), "--ray"]) == 0
    here, there = (tmp_path / name / "results.parquet" for name in ("here", "ray"))
    assert here.read_bytes() == there.read_bytes()


def test_claims_impact_and_a_calibration_are_those_of_this_process(cluster: Cluster, tmp_path: Path) -> None:
    plan = Plan((4, 40), 60)
    base = Base.of("default", 300)
    ranges = [parse_range("market.value.jump=2..12"), parse_range("policies.maker.half_spread=*0.5..*2")]
    target = Target(
        "some", {"spread_ticks": 30.0, "volatility_1s_bp": 8.0}, {"spread_ticks": 1.0, "volatility_1s_bp": 0.2}
    )
    arguments = Claimed(populations=("day6",), timesteps=200)
    found = []
    for name, executor in (("here", in_threads), ("there", on_ray(cluster))):
        impact = Store(tmp_path / name / "impact", arms_of("default", plan), range(1, 9), measures_of_plan(plan))
        play(impact, executor=executor, progress=False)
        stores, runs = opened(claims_named(["teleport"]), arguments, range(1, 9), tmp_path / name / "claims")
        for store, measures in stores.values():
            play(store, measures, executor=timed(executor, runs), progress=False)
        search = Search(base, ranges, target, [1, 2], tmp_path / name / "search", executor=executor, trials=5)
        best = search.run(3, lambda loss: None)
        rows = [store.results() for store, _ in stores.values()]
        found.append((impact.results(), rows, [best, *search.trials]))
    assert found[0][0].equals(found[1][0])
    assert all(here.equals(there) for here, there in zip(found[0][1], found[1][1], strict=True))
    assert found[0][2] == found[1][2]
    assert len(found[0][2]) == 16


@pytest.mark.parametrize("words", [["claims", "teleport"], ["impact"], ["calibrate"], ["--seeds", "1..8"]])
def test_each_command_takes_the_flag_and_leaves_nothing_where_it_is_wrong(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--out", str(tmp_path / "out"), "--ray", "somewhere"]) == 2
    assert (
        "expected nothing for this machine or HOST:PORT of a cluster's head, got 'somewhere'" in capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()


def test_ray_listens_on_the_loopback_address_alone_and_its_folder_is_nobody_elses(cluster: Cluster) -> None:
    broker = psutil.Process(cluster._process.pid)
    own = {process.pid for process in broker.children(recursive=True)} | {broker.pid}
    listening = [
        found.laddr.ip
        for found in psutil.net_connections("inet")
        if found.pid in own and found.status == psutil.CONN_LISTEN
    ]
    assert stat.S_IMODE(cluster._log.parent.stat().st_mode) == 0o700  # whatever Ray makes of its folder within
    assert len(listening) > 2
    assert set(listening) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_a_node_with_other_sources_is_refused(cluster: Cluster) -> None:
    for name in ("code", "numba", "torch"):
        with pytest.raises(ConfigError, match=f"has {name} .*, this process 0.0: what it makes could differ"):
            list(cluster.run(play_block, [], [[]], {**sources(), name: "0.0"}))
    with pytest.raises(ConfigError, match="has more None, this process 1"):
        list(cluster.run(play_block, [], [[]], {**sources(), "more": "1"}))


def test_a_task_that_takes_its_worker_with_it_is_run_again_counted_and_given_up_at_last(
    cluster: Cluster, tmp_path: Path
) -> None:
    # Within, so that they travel by themselves: a worker that dies takes with it what it has imported.
    def ends_its_worker(shared: None, task: int) -> int:
        os._exit(task)

    def dies_once(marks: Path, task: int) -> int:
        mark = marks / f"{task}"
        if task < 2 and not mark.exists():
            mark.touch()
            os._exit(1)
        return task

    with pytest.raises(ConfigError, match="task 0 of 1 was lost 5 times with its worker or node"):
        list(cluster.run(ends_its_worker, None, [3]))
    before = cluster.again
    assert sorted(cluster.run(dies_once, tmp_path, range(6))) == [(number, number) for number in range(6)]
    assert cluster.again - before == 2
    assert "tasks were lost with a worker or node and run again" in cluster.said()
    heard = cluster.run(dies_once, tmp_path, range(5))
    next(heard)
    heard.close()  # nobody hears the rest, and the next round is not disturbed
    assert sorted(cluster.run(dies_once, tmp_path, [7, 8])) == [(0, 7), (1, 8)]


def test_a_folder_of_a_long_name_is_none_for_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 80)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    folder = short_folder()
    assert len(str(folder)) < 40
    folder.rmdir()


def test_a_model_that_is_another_on_a_node_is_refused() -> None:
    (arm,) = crossed(Base.of("default", timesteps=20), {})
    ((model, found),) = arm.models().items()
    asked = (arm, arm.key, tuple(chosen(["spread"], [arm])))
    with pytest.raises(ConfigError, match=f"has another file as {model}"):
        play_block([(*asked, {model: "0" * 64})], [(0, 1)])
    assert play_block([(*asked, {model: found})], [(0, 1)]).num_rows == 1


def test_a_measure_of_ones_own_goes_along(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        textwrap.dedent("""
            from runners.experiment.measures import measure

            TWICE = 2

            @measure("twice", "lots", "twice what was traded")
            def twice(run):
                return TWICE * float(run.run.trades["lots"].sum())
            """)
    )
    monkeypatch.syspath_prepend(str(tmp_path))  # of this process, and of no worker's
    arms = crossed(Base.of("default", timesteps=60), {})
    measures = measures_of(["traded_lots", "mine:twice"])
    rows = run_experiment(arms, range(1, 9), tmp_path / "own", measures, executor=on_ray(cluster), progress=False).rows
    assert rows.height == 8
    assert (rows["twice"] == 2 * rows["traded_lots"]).all()


def test_a_worker_and_a_node_are_killed_and_the_rows_are_the_same_and_after_the_head_the_folder_goes_on(
    tmp_path: Path,
) -> None:
    plain, left = tmp_path / "plain", tmp_path / "left"
    longer = ["--seeds", "1..64"]  # so that it has not ended by then
    assert main([*COMMAND, "--out", str(plain)]) == 0
    with Nodes() as nodes:
        assert "lost with a worker or node and run again" in disturbed(nodes, tmp_path / "disturbed")
        assert (tmp_path / "disturbed" / "results.parquet").read_bytes() == (plain / "results.parquet").read_bytes()
        process = nodes.begun(left, *longer)
        wait_for(1, rows_in, left, process)
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
        assert process.returncode == 130
        assert f"what was played is kept; go on with --out {left}" in said
        assert "Traceback" not in said
        there = rows_in(left)
        process = nodes.begun(left, *longer)
        wait_for(there + 1, rows_in, left, process)
        nodes.kill("head")
        said = process.communicate()[1]
        assert process.returncode == 2
        assert f"error: the head of the Ray cluster at {nodes.address} is gone" in said
    assert "Traceback" not in said
    assert there < rows_in(left) < 128
    assert main([*COMMAND, *longer, "--out", str(left)]) == 0
    assert rows_in(left) == 128
    rows = pl.read_parquet(left / "results.parquet")
    assert rows.filter(pl.col("seed") <= 24).equals(pl.read_parquet(plain / "results.parquet"))


def test_an_address_without_ray_is_one_clear_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["--seeds", "1..8", "--timesteps", "20", "--measure", "spread", "--out", str(tmp_path / "out"), "--ray"]
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        assert main([*command, f"127.0.0.1:{port}"]) == 2  # bound, and does not listen
        assert (
            f"--ray 127.0.0.1:{port}: expected the head of a Ray cluster, but nobody answers there"
            in capsys.readouterr().err
        )
        silent.listen()
        assert main([*command, f"127.0.0.1:{port}"]) == 2
        assert "but what answers there is none, or refuses us" in capsys.readouterr().err
    for text in ("somewhere", "ray://host:10001", "host:0", "host:99999", "a b:1", "host:1;x"):
        with pytest.raises(ConfigError, match="expected nothing for this machine or HOST:PORT"):
            parse_address(text)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(ConfigError, match=r"--ray needs ray, which is not installed: pip install '.\[ray\]'"),
        executor_at("local"),
    ):
        pass


def test_the_flag_stands_alone_for_this_machine() -> None:
    assert with_local(["--ray"]) == ["--ray", "local"]
    assert with_local(["--ray", "--seeds", "1..8"]) == ["--ray", "local", "--seeds", "1..8"]
    assert with_local(["--ray", "host:1", "--out", "x"]) == ["--ray", "host:1", "--out", "x"]
    assert with_local(["--out", "x"]) == ["--out", "x"]


def test_nothing_of_ray_is_left(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
            import os, sys
            from runners.cluster.session import session

            before = dict(os.environ)
            with session() as cluster:
                print(cluster._log.parent, flush=True)
                assert list(cluster.run(abs, None, [])) == []
                sys.stdin.read() if "wait" in sys.argv else None
            assert dict(os.environ) == before
            """)
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home)}
    for how in ("ends", "killed"):
        words = [sys.executable, str(program), *(["wait"] if how == "killed" else [])]
        process = subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.is_dir()
        if how == "killed":
            process.kill()
        process.communicate()
        psutil.wait_procs([own for own in psutil.process_iter() if str(folder) in " ".join(cmdline(own))], timeout=120)
        assert not [own for own in psutil.process_iter() if str(folder) in " ".join(cmdline(own))], how
        assert not (home / ".ray").exists()
        assert not folder.exists(), how
        if how == "ends":
            assert process.returncode == 0


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
