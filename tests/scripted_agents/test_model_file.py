"""A hostile model file costs no more memory than it has bytes, and is one clear error."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from runners.learn.checkpoint import load_tensors
from scripted_agents.frozen_ppo import FrozenPPO, sha256
from scripted_agents.model_file import LARGEST_MODEL, ModelError, load_weights
from tests.scripted_agents.test_frozen_ppo import CONFIG, MODEL, rewritten

ROOT = Path(__file__).parents[2]


def saved(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def compressed(content: bytes, kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    """The same archive with its entries compressed."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w", kind) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return stream.getvalue()


def weights_with(name: str, tensor: torch.Tensor) -> bytes:
    with zipfile.ZipFile(MODEL) as archive:
        weights = torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True)
    weights[name] = tensor
    return saved(weights)


HOSTILE: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "an inner archive that inflates": (
        lambda e: e.update({"policy.pth": compressed(saved({"x": torch.zeros(30_000_000)}))}),
        "expected its tensors stored as they are, found them compressed",
    ),
    "an expanded tensor": (
        lambda e: e.update({"policy.pth": weights_with("action_net.weight", torch.zeros(1).expand(600_000_000))}),
        "a tensor of 600,000,000 entries stands for more than it holds",
    ),
    "a sparse tensor": (
        lambda e: e.update({"policy.pth": weights_with("x", torch.eye(3).to_sparse())}),
        "it holds more than tensors and plain values",
    ),
    "complex weights": (
        lambda e: e.update({"policy.pth": weights_with("action_net.bias", torch.zeros(75, dtype=torch.complex64))}),
        "expected real weights in action_net, found float32 and complex64",
    ),
    "whole numbers": (
        lambda e: e.update({"policy.pth": weights_with("action_net.bias", torch.zeros(75, dtype=torch.int32))}),
        "expected real weights",
    ),
    "a layer of no width": (
        lambda e: e.update(
            {
                "policy.pth": saved(
                    {
                        "mlp_extractor.policy_net.0.weight": torch.zeros(0, 48),
                        "mlp_extractor.policy_net.0.bias": torch.zeros(0),
                        "action_net.weight": torch.zeros(75, 0),
                        "action_net.bias": torch.zeros(75),
                    }
                )
            }
        ),
        "expected layers of at least one unit",
    ),
    "a list": (lambda e: e.update({"policy.pth": saved([torch.zeros(3)])}), "expected tensors by name, found list"),
    "a number among the weights": (
        lambda e: e.update({"policy.pth": saved({"action_net.bias": 3})}),
        "expected tensors by name",
    ),
    "what is no archive": (lambda e: e.update({"policy.pth": b"\x80\x02" + bytes(500)}), "policy.pth is damaged"),
    "much JSON": (
        lambda e: e.update({"data": json.dumps({"x": " " * 5_000_000}).encode()}),
        "data would take 5,000,009 bytes, at most 4,194,304 expected",
    ),
    "deep JSON": (lambda e: e.update({"data": b"[" * 100_000}), "data: not JSON"),
    "a long number": (lambda e: e.update({"data": b'{"x": ' + b"9" * 5_000 + b"}"}), "expected algorithm PPO"),
}  # fmt: skip


def pickled(*opcodes: bytes) -> bytes:
    """An archive as PyTorch writes one, of which these opcodes are the pickle."""
    whole, written = io.BytesIO(saved({})), io.BytesIO()
    with zipfile.ZipFile(whole) as given, zipfile.ZipFile(written, "w") as made:
        for part in given.infolist():
            content = given.read(part)
            made.writestr(part.filename, b"".join(opcodes) if part.filename.endswith("data.pkl") else content)
    return written.getvalue()


HOSTILE |= {
    "gigabytes by a number": (
        lambda e: e.update({"policy.pth": pickled(b"\x80\x02cbuiltins\nbytearray\n", b"J\x00\x2f\x68\x59\x85R.")}),
        "policy.pth is damaged: it holds more than tensors and plain values",
    ),
    "lists of lists of one list": (
        lambda e: e.update({"policy.pth": pickled(b"\x80\x02]q\x00", b"".join(
            b"](h" + bytes([n]) + b"h" + bytes([n]) + b"eq" + bytes([n + 1]) for n in range(60)), b".")}),
        "expected tensors by name, found list",
    ),
    "a list in itself": (
        lambda e: e.update({"policy.pth": pickled(b"\x80\x02]q\x00h\x00a.")}),
        "expected tensors by name, found list",
    ),
    "opcodes cut short": (
        lambda e: e.update({"policy.pth": pickled(b"\x80\x02]q")}), "policy.pth is damaged: it cannot be read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_one_clear_error(case: str, tmp_path: Path) -> None:
    change, message = HOSTILE[case]
    path = rewritten(tmp_path / "model.zip", change)
    with pytest.raises(ModelError, match=message) as caught:
        FrozenPPO(path).build(CONFIG)
    assert path in str(caught.value)
    assert len(str(caught.value)) < 600
    assert "Weights only load failed" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_small_file_that_would_inflate_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", b" " * 10_000_000)
        archive.writestr("policy.pth", bytes(1_000_000_000))
    assert path.stat().st_size < 2_000_000
    program = (
        "import resource\nfrom market_env.config import MarketConfig\nfrom scripted_agents.frozen_ppo import FrozenPPO\n"
        "from scripted_agents.model_file import ModelError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"try:\n    FrozenPPO({str(path)!r}).build(MarketConfig())\nexcept ModelError as error:\n    print(error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    said, grown = done.stdout.strip().splitlines()
    assert "data would take 10,000,000 bytes" in said
    assert int(grown) < 64


@pytest.mark.parametrize("kind", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_compressions_are_refused_before_they_are_read(kind: int, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(compressed(MODEL.read_bytes(), kind))
    damaged = bytearray(path.read_bytes())
    damaged[200:260] = bytes(60)
    for content in (path.read_bytes(), bytes(damaged)):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"data: expected it stored or deflated|damaged"):
            FrozenPPO(str(path)).build(CONFIG)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/dev/zero", "expected a regular file, found a device or a pipe"),
        ("/dev/null", "expected a regular file"),
        ("x" * 300, "expected a Stable-Baselines3 .zip file, found nothing|File name too long"),
        ("a\0b", "expected a Stable-Baselines3 .zip file, found nothing|null"),
    ],
)
def test_a_name_that_is_no_file_of_a_bounded_size_is_one_clear_error(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        FrozenPPO(name).build(CONFIG)


def test_only_regular_files_of_a_bounded_size_are_hashed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="device or a pipe"):
        sha256(Path("/dev/zero"))
    large = tmp_path / "large.zip"
    with large.open("wb") as file:
        file.truncate(LARGEST_MODEL + 1)
    with pytest.raises(ModelError, match=f"expected at most {LARGEST_MODEL:,} bytes"):
        sha256(large)
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        sha256(tmp_path / "none.zip")


def test_plain_values_and_tensors_pass() -> None:
    value = {"a": torch.arange(6.0).reshape(2, 3).t(), "b": [1, "x", {"c": torch.zeros(2)}]}
    found = load_tensors(saved(value), "x")
    assert found["a"].tolist() == value["a"].tolist()
    assert found["b"][:2] == [1, "x"]


def test_weights_without_pytorch_are_pytorchs_own() -> None:
    shared = torch.arange(24.0)
    odd = {
        "transposed": torch.arange(6.0).reshape(2, 3).t(),
        "a part": shared[3:9].reshape(2, 3),
        "every other": shared[::2],
        "one number": torch.tensor(3.5, dtype=torch.float64),
        "none": torch.zeros(0, 4),
        "whole numbers": torch.arange(5, dtype=torch.int16),
        "a parameter": torch.nn.Parameter(torch.ones(2, 2, dtype=torch.float16)),
    }
    contents = [saved(odd)]
    for name in ("ppo_day5.zip", "ppo_day6.zip"):
        with zipfile.ZipFile(MODEL.with_name(name)) as archive:
            contents.append(archive.read("policy.pth"))
    for content in contents:
        expected = torch.load(io.BytesIO(content), weights_only=True)
        found = load_weights(content, "x")
        assert list(found) == list(expected)
        for name, tensor in expected.items():
            wanted = tensor.detach().numpy()
            assert (found[name].dtype, found[name].shape) == (wanted.dtype, wanted.shape)
            assert found[name].tobytes() == wanted.tobytes()


NESTED = b"\x80\x02}" + b"K\x01" + b"\x85" * 300_000 + b"K\x02s."
DOUBLED = b"\x80\x02}K\x01" + b"2\x86" * 60 + b"K\x02s."
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n"


@pytest.mark.parametrize(
    "opcodes",
    [
        b"\x80\x02}X\x01\x00\x00\x00ac_torch\nx\n",
        b"\x80\x02ctorch\nQUInt8Storage\n.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00)))R.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x0c\x00\x00\x00__defaults__K\x01\x85s\x86b.",
        b"\x80\x02ccollections\nOrderedDict\n](K\x01K\x02eR.",
        b"\x80\x02X\x01\x00\x00\x00aQ.",
        NESTED,
        DOUBLED,
        b"\x80\x02" + STORAGE + b"K\x01" + b"\x85" * 300_000 + b"X\x03\x00\x00\x00cpuK\x01tQ.",
        b"\x80\x02(X\x07\x00\x00\x00storageX\x01\x00\x00\x00OX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ.",
    ],
)
def test_a_pickle_of_something_else_makes_nothing(opcodes: bytes) -> None:
    with pytest.raises(ModelError, match="x is damaged: it"):
        load_weights(pickled(opcodes), "x")


def test_what_a_pickle_hangs_on_names_is_left_out() -> None:
    hung = b"\x80\x02ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsK\x01sb."
    assert load_weights(pickled(hung), "x") == {}


def test_a_small_file_makes_no_room_for_what_it_names(tmp_path: Path) -> None:
    shared = torch.zeros(1_000_000)
    files = [
        pickled(b"\x80\x02}r\x00\x00\x00\x40."),  # under number 2**30
        pickled(b"\x80\x02}p1000000000\n."),
        saved({f"layer {number}": shared for number in range(2_000)}),
        saved({"much of nothing": torch.zeros(0).reshape(0, 2**40)}),
    ]
    for number, content in enumerate(files):
        (tmp_path / str(number)).write_bytes(content)
    program = (
        "import resource\nfrom pathlib import Path\n"
        "from scripted_agents.model_file import ModelError, load_weights\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for number in range(4):\n"
        "    try:\n"
        f"        print(list(load_weights((Path({str(tmp_path)!r}) / str(number)).read_bytes(), 'x')))\n"
        "    except ModelError as error:\n        print(error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    *said, grown = done.stdout.strip().splitlines()
    assert said[:2] == ["[]", "[]"]
    assert "its tensors would take 8,000,000,000 bytes" in said[2]
    assert said[3] == "['much of nothing']"
    assert int(grown) < 64


def test_the_frozen_run_needs_no_pytorch(tmp_path: Path) -> None:
    program = f"""
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split('.')[0] in ("torch", "stable_baselines3", "supersuit"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from runners.simulate import main
status = main(["--timesteps", "40", "--run-dir", {str(tmp_path / "run")!r}])
sys.exit(status)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "ppo" in done.stdout
    assert (tmp_path / "run" / "report.pdf").is_file()
