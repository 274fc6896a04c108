"""`--engine ray` on a local cluster of two nodes: same outputs as without it, also when actors are killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lipread import cli
from lipread.engines import Preparation
from lipread.errors import ConfigError
from shell import command, one_line, outputs_of, record_of, run, talking, tiny_checkpoint

CLIPS = 8
NODES = 2
slow = pytest.mark.slow


def test_what_does_not_go_with_a_cluster_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--watch"], ["--workers", "0"], ["--live"]):
        assert cli.main(["transcribe", str(tmp_path), "--engine", "ray", *options]) == 2
        assert "leave out --watch, --workers 0 and --live" in one_line(capsys.readouterr().err)
    assert cli.main(["transcribe", str(tmp_path), "--engine", "spark"]) == 2
    assert "'spark' is not known" in one_line(capsys.readouterr().err)


def test_paths_are_made_absolute_for_other_machines(tmp_path: Path) -> None:
    from lipread.batch import Recipe
    from lipread.ray_engine import preparation_for_cluster

    made = preparation_for_cluster(Preparation("small", "cpu", Recipe(Path("out")), threads=8))
    assert (made.model, made.recipe.folder, made.threads) == ("small", Path.cwd() / "out", 1)
    assert preparation_for_cluster(Preparation("small", "cpu", Recipe("s3://b/out"))).recipe.folder == "s3://b/out"
    with pytest.raises(ConfigError, match="no such checkpoint"):
        preparation_for_cluster(Preparation(str(tmp_path / "gone.safetensors"), "cpu", Recipe(Path("out"))))


@pytest.mark.parametrize(
    ("gpus", "actors", "share"),
    [(0, 4, 0.0), (1, 1, 1.0), (8, 3, 1.0), (8, 8, 1.0), (8, 12, 0.5), (1, 3, 0.3333), (2, 14, 0.1428), (1, 64, 0.0156)]
)
def test_every_actor_finds_its_share_of_a_gpu(gpus: int, actors: int, share: float) -> None:
    from lipread.ray_engine import gpu_share

    assert gpu_share(gpus, actors) == share
    assert not gpus or gpus * int(1 / share) >= actors  # Ray splits no share over two of them


@pytest.mark.parametrize(
    ("address", "why"),
    [("127.0.0.1:1", "refused"), ("nonsense", "Invalid address"), ("http://x:1", "."), ("auto", "any running Ray")],
)
def test_where_no_cluster_answers_it_says_so(
    address: str, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'lipread[ray]'")
    monkeypatch.setenv("RAY_ADDRESS", address)
    video, model = talking(tmp_path / "a.mp4"), tiny_checkpoint(tmp_path)
    options = ["-o", str(tmp_path / "out"), "--engine", "ray", "--model", str(model)]
    assert cli.main(["transcribe", str(video), *options]) == 2
    said = one_line(capsys.readouterr().err)
    assert re.search(rf"RAY_ADDRESS={address}: no Ray cluster answers there \(.*{why}.*\); give HOST", said)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster of two nodes with a core and, as they say themselves, a GPU each."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'lipread[ray]'")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # else other work on the cores starves the actors
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # else the head node reports to the makers of Ray
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1, "include_dashboard": False})
        made.add_node(num_cpus=1, num_gpus=1)
        yield made.address
        made.shutdown()


@slow
def test_outputs_equal_those_without_it_though_workers_are_killed(cluster: str, tmp_path: Path) -> None:
    source, model = tmp_path / "in", tiny_checkpoint(tmp_path)
    for number in range(CLIPS):
        talking(source / f"{number % 2}" / f"{number}.mp4", number, 8)
    (source / "torn.mp4").write_text("no video")
    options = ["-f", "txt,json", "--model", model, "--device", "cpu"]
    here = run("transcribe", source, "-o", tmp_path / "here", *options, "--workers", "1")
    assert here.returncode == 1

    process = subprocess.Popen(
        command("transcribe", f"file://{source}", "-o", f"file://{tmp_path}/there", "--engine", "ray", *options),
        env={**os.environ, "RAY_ADDRESS": cluster}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    killed: dict[int, int] = {}  # node -> actor
    end_s = time.monotonic() + 300
    while process.poll() is None and len(killed) < NODES:  # an actor of each node, while it reads
        assert time.monotonic() < end_s
        for actor, node in reading_actors().items() if any((tmp_path / "there").rglob("*.json")) else ():
            if node not in killed:
                os.kill(actor, signal.SIGKILL)
                killed[node] = actor
        time.sleep(0.05)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 1
    assert "torn.mp4 cannot be read as a video" in one_line(errors)
    assert len(killed) == NODES
    expected = outputs_of(tmp_path / "here")
    assert outputs_of(tmp_path / "there") == {
        name: text.replace(str(source), f"file://{source}") for name, text in expected.items()
    }
    record, expected_record = (
        sorted((line["name"], line["result"]) for line in record_of(tmp_path / folder)) for folder in ("there", "here")
    )
    assert record == expected_record  # each video once
    assert len(record) == CLIPS + 1


def reading_actors() -> dict[int, int]:
    """Actors whose worker process has come to life, as it does for the first video -> the node that started each."""
    parents, titles = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title, status = (folder / "cmdline").read_bytes(), (folder / "status").read_text()
        except OSError:  # it has just ended
            continue
        parents[int(folder.name)] = int(status.partition("PPid:")[2].split()[0])
        titles[int(folder.name)] = title
    with_workers = {parents[process] for process, title in titles.items() if b"spawn_main" in title}
    return {each: parents[each] for each in with_workers if re.match(rb"ray::.*_Actor", titles.get(each, b""))}


@slow
def test_without_ray_it_says_what_to_install(tmp_path: Path) -> None:
    script = "import sys; sys.modules['ray'] = None; from lipread.cli import main; sys.exit(main(sys.argv[1:]))"
    talking(tmp_path / "a.mp4")
    done = subprocess.run(
        [sys.executable, "-c", script, "transcribe", str(tmp_path / "a.mp4"), "--engine", "ray", "-o", str(tmp_path)],
        capture_output=True, text=True, timeout=300,
    )
    assert done.returncode == 1
    assert "pip install 'lipread[ray]'" in one_line(done.stderr)
