"""The training program as people start it: settings, errors, interruption, two processes."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from conftest import ROOT
from lipread.checkpoint import load_checkpoint
from lipread.config import PRESETS
from lipread.errors import ConfigError
from lipread.model.network import LipNetwork
from lipread.training.ready import make_ready
from networks import TINY, still
from prepared import prepare

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
QUIET = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def load_program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_program", ROOT / "train.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


program = load_program()


def start(*arguments: str, cwd: Path, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [sys.executable, *launcher, str(ROOT / "train.py"), *arguments]
    return subprocess.Popen(
        command, cwd=cwd, env=QUIET, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def finish(process: subprocess.Popen[str], *, seconds: float = 600) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, out, err


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    code = program.main()
    assert isinstance(code, int)
    return code


def tiny(data: Path, out: Path, **settings: Any) -> list[str]:
    """Arguments of a small training on a processor."""
    chosen = {
        "preset": "tiny", "device": "cpu", "threads": 1, "batch_pixels": 2, "batch_points": 2, "warmup_steps": 0,
        **settings,
    }
    return ["--data", str(data), "--out", str(out), *(f"--{name}={value}" for name, value in chosen.items())]


# -- settings ---------------------------------------------------------------------------------------------------------


def test_defaults_need_no_argument() -> None:
    (config,) = program.parse([])
    assert config.network_config == PRESETS["small"]
    assert (config.steps, config.data) == (20_000, ())


def test_toml_is_overridden_by_arguments(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(
        'preset = "tiny"\nsteps = 7\nlearning_rate = 1e-3\ndata = ["a", "b"]\n[augment]\nflip = 0.1\nspeed = 0.3\n'
        "[network.encoder]\nnum_hidden_layers = 3\n"
    )
    arguments = ["--config", str(tmp_path / "recipe.toml"), "--steps", "9", "--augment.flip", "0"]
    (config,) = program.parse([*arguments, "--network.encoder.hidden_dropout_prob=0.3"])
    assert (config.steps, config.learning_rate, config.data) == (9, 1e-3, (Path("a"), Path("b")))
    assert (config.augment.flip, config.augment.speed, config.augment.blur) == (0.0, 0.3, 0.3)
    encoder = config.network_config.encoder
    assert (encoder.num_hidden_layers, encoder.hidden_dropout_prob) == (3, 0.3)
    assert encoder.hidden_size == PRESETS["tiny"].encoder.hidden_size  # the rest is the preset's


@pytest.mark.parametrize(
    "arguments",
    [
        ["--batch-pixels", "3", "--freeze-batchnorm", "--data", "x", "--data", "y"],
        ["--batch_pixels=3", "--freeze_batchnorm", "--data=x,y"],
        ["--batch-pixels=3", "--freeze-batchnorm", "--data", '["x", "y"]'],
    ],
)
def test_ways_to_write_an_argument(arguments: list[str]) -> None:
    (config,) = program.parse(arguments)
    assert (config.batch_pixels, config.freeze_batchnorm, config.data) == (3, True, (Path("x"), Path("y")))


def test_values_keep_their_dashes() -> None:
    assert program.parse(["--out=runs/my-run", "--no-freeze-frontend"])[0].out == Path("runs/my-run")


def test_a_saved_configuration_can_be_given_again(tmp_path: Path) -> None:
    (config,) = program.parse(["--preset", "tiny", "--network.encoder.num_hidden_layers", "3"])
    (again,) = program.parse(["--network", config.network.model_dump_json(), "--preset", "tiny"])
    assert again == config


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--stepz", "3"], "--stepz 3 (did you mean --steps?)"),
        (["--augment.flipp=0.3"], "did you mean --augment.flip?"),
        (["--batch-pixel", "3"], "did you mean --batch_pixels?"),
        (["--steps"], "--steps: expected one argument"),
        (["prepared/grid"], "not known: prepared/grid"),
        (["--steps", "many"], "steps='many': it should be a valid integer"),
        (["--steps", "0"], "steps='0': it should be greater than or equal to 1"),
        (["--augment.flip", "1.5"], "augment.flip='1.5'"),
        (["--preset", "huge"], "'tiny', 'small', 'base' or 'large'"),
        (["--preset", "tiny", "--network.encoder.hidden_size", "33"], "multiple of num_attention_heads=2; try 32"),
        (["--batch-pixels", "0", "--batch-points", "0"], "leave nothing to train on"),
        (["--drop-pixels", "0.6", "--drop-points", "0.6"], "add up to more than 1"),
        (["--seed", "-1"], "seed='-1'"),
        (["--config"], "--config needs the path"),
        (["--config", "absent.toml"], "absent.toml: cannot be read (No such file"),
        (["--config=absent.toml"], "absent.toml: cannot be read (No such file"),
    ],
)
def test_wrong_settings_are_one_sentence(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, *arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.startswith("train.py: error: ")
    assert captured.err.count("\n") == 1
    assert not captured.out


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("steps = ", "not valid TOML"),
        ("stepz = 3", "stepz is not a setting; did you mean steps?"),
        ("[augment]\nflipp = 0.3", "augment.flipp is not a setting; did you mean flip?"),
        ("augment = 3", "augment=3"),
        ('steps = "x"', "steps='x'"),
        ("[network.encoder]\nhidden = 3", "network.encoder.hidden is not a setting"),
        ("network = 3", "network=3"),
        ("stages = 3", "stages are tables; write [[stages]] above"),
        ("stages = []", "stages are tables"),
        ("[stages]\nsteps = 3", "stages are tables"),
        ("[[stages]]\nsteps = 3\n[[stages]]\ninit = 'a'", "stage 2 sets 'init', which follows from its place"),
        ("[[stages]]\nout = 'a'", "stage 1 sets 'out', which follows"),
        ("[[stages]]\nsteps = 3\n[[stages]]\nstepps = 3", "stage 2: stepps"),
    ],
)
def test_wrong_toml_is_one_sentence(toml: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text(toml)
    with pytest.raises(ConfigError) as caught:
        program.parse(["--config", str(tmp_path / "wrong.toml")])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_help_is_quick_and_lists_nested_settings(tmp_path: Path) -> None:
    took = []
    for _ in range(3):
        before = time.perf_counter()
        code, out, _ = finish(start("--help", cwd=tmp_path))
        took.append(time.perf_counter() - before)
    assert code == 0 and min(took) < 5
    for name in ("--data", "--augment.flip", "--network.encoder.num_hidden_layers", "--precision", "default: 20000"):
        assert name in out


def test_no_prepared_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_main(monkeypatch) == 2
    assert "give --data FOLDER" in capsys.readouterr().err


def test_a_dry_run_tells_what_it_would_be_and_writes_nothing(tmp_path: Path) -> None:
    prepare(tmp_path / "prepared" / "made_up")
    (tmp_path / "recipe.toml").write_text('preset = "tiny"\nsteps = 5000\n')
    before = sorted(tmp_path.rglob("*"))
    code, out, err = finish(start("--config", "recipe.toml", "--dry-run", cwd=tmp_path))
    assert code == 0, err
    training, choosing, network, steps, memory = out.splitlines()
    assert "of 2 speakers" in training and "0 too long" in training
    assert choosing.startswith("choosing: val ")
    wanted = sum(p.numel() for p in LipNetwork(PRESETS["tiny"].model_copy(update={"alphabet_size": 29})).parameters())
    assert network == f"network: {wanted:,} parameters, 29 symbols"
    assert re.fullmatch(r"5000 steps of [\d.]+ s on cpu, 1 process\(es\): about [\d.]+ hours; loss .*", steps)
    needs = re.fullmatch(r"a process needs ([\d.]+) GB of memory, .*", memory)
    assert needs and 0.2 < float(needs[1]) < 8  # torch alone takes a quarter of a gigabyte
    (tmp_path / "grid.toml").write_text('folds = 2\n[grid]\n"augment.flip" = [0.0, 0.5, 1.0]\n')
    searched = ("--config", "recipe.toml", "--search", "grid.toml")
    code, out, err = finish(start(*searched, "--dry-run", cwd=tmp_path))
    assert code == 0, err
    plan, *one = out.splitlines()
    assert plan == "search: 3 combinations on 2 of 2 folds, 6 trainings; the first one, augment.flip=0.0:"
    assert len(one) == 5 and one[3].startswith("5000 steps of ")
    code, _, err = finish(start(*searched, "--evaluate-only", cwd=tmp_path))
    assert (code, err.count("\n")) == (2, 1) and "give one of them" in err
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "grid.toml"])


def test_stages_keep_the_settings_of_the_one_before(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'preset = "tiny"\nsteps = 30\nseed = 4\ninit = "first.safetensors"\nout = "runs/all"\n[augment]\nflip = 0.1\n'
        "[[stages]]\naugment.splice = 0.0\n[[stages]]\nsteps = 20\naugment.splice = 0.7\n[[stages]]\nsteps = 10\n"
    )
    one, two, three = program.parse(["--config", str(recipe), "--batch_pixels", "5"])
    assert [each.steps for each in (one, two, three)] == [30, 20, 10]
    assert [each.augment.splice for each in (one, two, three)] == [0.0, 0.7, 0.7]
    assert {(each.augment.flip, each.batch_pixels, each.preset) for each in (one, two, three)} == {(0.1, 5, "tiny")}
    assert [str(each.out) for each in (one, two, three)] == ["runs/all/1", "runs/all/2", "runs/all/3"]
    assert [str(each.init) for each in (one, two, three)] == ["first.safetensors", "runs/all/1", "runs/all/2"]
    assert {each.seed for each in (one, two, three)} == {4}
    assert len({each.draw_seed for each in (one, two, three)}) == 3 and one.draw_seed == 4
    assert {each.steps for each in program.parse(["--config", str(recipe), "--steps=7"])} == {7}


def test_the_recipe_in_stages() -> None:
    first, second = program.parse(["--config", str(ROOT / "data" / "recipes" / "points_stages.toml")])
    assert (first.augment.splice, second.augment.splice) == (0.0, 0.5)
    assert (first.learning_rate, second.learning_rate) == (1.2e-3, 6e-4)
    assert first.held_out_speakers == second.held_out_speakers != ()


def test_stages_draw_other_batches_of_the_same_clips(tmp_path: Path) -> None:
    """Were the folds dealt anew, a later stage would learn from what is measured."""
    (tmp_path / "recipe.toml").write_text('preset = "tiny"\nfolds = 3\nmost_clips = 3\n' + 3 * "[[stages]]\n")
    data = prepare(tmp_path / "data")
    stages = program.parse(["--config", str(tmp_path / "recipe.toml"), *tiny(data, tmp_path / "out", batch_pixels=6)])
    made = [make_ready(stage.model_copy(update={"init": None})) for stage in stages]
    for divided in ([clip.name for clip in each.training] for each in made[1:]):
        assert divided == [clip.name for clip in made[0].training]
    drawn = [tuple(each.batches[number].names for number in range(3)) for each in made]
    assert len({str(names) for names in drawn}) == 3


def test_a_recipe_in_stages(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stage begins from the weights and the helping heads of the one before; it goes on where it was stopped."""
    recipe, data = tmp_path / "recipe.toml", prepare(tmp_path / "data")
    recipe.write_text("steps = 3\n[[stages]]\nshape_loss = 0.5\n[[stages]]\nsteps = 1\nlearning_rate = 1e-12\n")
    arguments = ["--config", str(recipe), *tiny(data, tmp_path / "run")]
    assert run_main(monkeypatch, *arguments, "--dry-run") == 0
    said = capfd.readouterr().out.splitlines()
    assert [line for line in said if line.startswith("stage")] == ["stage 1:", "stage 2:"]
    assert [line.split(" steps")[0] for line in said if " steps of " in line] == ["3", "1"]
    assert not (tmp_path / "run").exists()
    for way in ("--evaluate-only", f"--search={ROOT / 'data' / 'recipes' / 'dropout.toml'}"):
        assert run_main(monkeypatch, *arguments, way) == 2
        assert capfd.readouterr().err.count("recipes without [[stages]]") == 1

    assert run_main(monkeypatch, *arguments) == 0
    out = [line for line in capfd.readouterr().out.splitlines() if line.startswith("checkpoint: ")]
    assert out == [f"checkpoint: {tmp_path / 'run' / str(stage) / 'best.safetensors'}" for stage in (1, 2)]
    one, two = (torch.load(tmp_path / "run" / stage / "latest.pt", weights_only=True) for stage in "12")
    begun = load_checkpoint(tmp_path / "run" / "1" / "best.safetensors").network.state_dict()
    for name, weight in two["network"].items():
        if "running" not in name and "num_batches" not in name:
            assert torch.allclose(weight, begun[name], atol=1e-9), name
    for helper in ("frame_words", "pixel_words", "lip_shape"):
        for name, weight in two[helper].items():
            if "running" not in name and "num_batches" not in name:
                assert torch.allclose(weight, one[helper][name], atol=1e-9), (helper, name)

    (tmp_path / "run" / "2" / "latest.pt").unlink()
    before = (tmp_path / "run" / "1" / "latest.pt").read_bytes()
    assert run_main(monkeypatch, *arguments) == 0
    assert (tmp_path / "run" / "1" / "latest.pt").read_bytes() == before
    assert (tmp_path / "run" / "2" / "latest.pt").exists()


def test_a_run_goes_on_with_its_own_settings_only(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its record would be untrue, and people who are held out may have been learned from."""
    data, out = prepare(tmp_path / "data"), tmp_path / "run"
    own = {"steps": 2, "init": tmp_path / "begun" / "best.safetensors"}
    assert run_main(monkeypatch, *tiny(data, tmp_path / "begun", steps=1)) == 0
    assert run_main(monkeypatch, *tiny(data, out, **own)) == 0
    files = ("latest.pt", "best.safetensors", "config.json")
    before = [(out / name).read_bytes() for name in files]
    (tmp_path / "more").mkdir()
    more = prepare(tmp_path / "more" / "data", speakers=("cleo",), splits=("train",))
    for change, said in (
        ({"learning_rate": 0.5}, "another learning_rate: 0.0008, now 0.5"),
        ({"augment.flip": 0}, "another augment.flip: 0.5, now 0.0"),
        ({"held_out_speakers": "ben"}, "another held_out_speakers: [], now ['ben']"),
        ({"most_people": 1}, "another most_people: None, now 1"),
        ({"network.position_jitter": 3}, "another network.position_jitter: 25, now 3"),
    ):
        capfd.readouterr()
        assert run_main(monkeypatch, *tiny(data, out, **own | {"steps": 9} | change)) == 1
        error = capfd.readouterr().err
        assert said in error and "choose another --out" in error and error.count("\n") == 1
    assert run_main(monkeypatch, *tiny(data, out, **own), "--data", str(more)) == 1  # both
    assert "another list of training clips: 6 (" in capfd.readouterr().err
    assert run_main(monkeypatch, *tiny(data, out, **own | {"steps": 1})) == 2
    assert "has done 2 already" in capfd.readouterr().err
    assert [(out / name).read_bytes() for name in files] == before

    assert run_main(monkeypatch, *tiny(data.rename(tmp_path / "moved"), out, **own | {"steps": 3, "workers": 0})) == 0
    assert "goes on after step 2 of 3" in capfd.readouterr().out
    Path(own["init"]).write_bytes((out / "best.safetensors").read_bytes())
    assert run_main(monkeypatch, *tiny(tmp_path / "moved", out, **own | {"steps": 4})) == 1
    assert "another init: " in capfd.readouterr().err


def test_nothing_is_measured_where_nothing_is_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = prepare(tmp_path / "data")
    frames = tiny(data, tmp_path / "run", steps=1, task="frames")
    assert run_main(monkeypatch, *frames) == 0
    measured = (*frames, "--init", str(tmp_path / "run" / "best.safetensors"), "--evaluate-only")
    assert run_main(monkeypatch, *measured) == 2
    assert "no error rate" in capfd.readouterr().err
    assert run_main(monkeypatch, *measured, "--dry-run") == 2
    assert "--dry-run trains, and --evaluate-only does not" in capfd.readouterr().err
    assert run_main(monkeypatch, *tiny(data, tmp_path / "two", folds=500, fold=400)) == 2
    assert "fold=400 of folds=500 holds no clip" in capfd.readouterr().err


def test_front_end_steps_are_left_out_where_no_batch_has_pixels(tmp_path: Path) -> None:
    data = prepare(tmp_path / "data")
    for pixels, steps in ((0, 0), (2, 3)):
        arguments = tiny(data, tmp_path / "out", batch_pixels=pixels, frontend_steps=3)
        assert make_ready(program.parse(arguments)[0]).config.frontend_steps == steps


def test_a_run_that_nothing_can_start_from(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = prepare(tmp_path / "data")
    assert run_main(monkeypatch, *tiny(data, tmp_path / "one", steps=1)) == 0
    capfd.readouterr()
    begin = tiny(data, tmp_path / "two", steps=1, init=tmp_path / "one")
    (tmp_path / "one" / "latest.pt").write_bytes(b"no state")
    assert run_main(monkeypatch, *begin) == 1
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and "nothing can start from this run" in error and "best.safetensors" in error
    (tmp_path / "one" / "best.safetensors").unlink()
    assert run_main(monkeypatch, *begin) == 1
    assert "one/best.safetensors: no such checkpoint" in capfd.readouterr().err
    assert not (tmp_path / "two" / "latest.pt").exists()


# -- whole runs -------------------------------------------------------------------------------------------------------


def test_a_prepared_folder_needs_no_other_setting(tmp_path: Path) -> None:
    prepare(tmp_path / "prepared" / "made_up")
    code, out, err = finish(start("--preset", "tiny", "--steps", "3", cwd=tmp_path))
    assert code == 0, err
    written = tmp_path / "runs" / "lipread"
    assert out.splitlines()[-1] == "checkpoint: runs/lipread/best.safetensors"
    assert "step 3: val: WER" in out
    checkpoint = load_checkpoint(written / "best.safetensors")
    assert checkpoint.record["steps"] == 3
    assert checkpoint.record["speakers"] == ["anna", "ben"]
    assert json.loads((written / "config.json").read_text())["preset"] == "tiny"
    assert list((written / "tensorboard").glob("events*"))
    assert not list(written.glob(".*"))  # nothing half-written


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGKILL, -9, marks=pytest.mark.slow)]
)
def test_an_interrupted_run_goes_on_as_if_unbroken(
    sent: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = prepare(tmp_path / "data", splits=("train",))
    settings: dict[str, Any] = {  # tiny has dropout and position jitter; the learning rate must not depend on `steps`
        "save_every": 5, "workers": 1, "learning_rate": 1e-3, "final_learning_rate": 1e-3, "curriculum_steps": 20,
    }
    broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
    process = start(*tiny(data, broken, **settings, steps=100_000), cwd=tmp_path)
    deadline = time.monotonic() + 300
    while not (broken / "latest.pt").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, sent)  # what a terminal does: the data worker gets it too
    got, _, err = finish(process)
    assert got == code, err
    if sent == signal.SIGINT:
        assert err.strip() == "train.py: stopped; start it again with the same --out to go on"
    done = saved(broken)["step"]
    assert done % 5 == 0
    steps = done + 8
    got, out, err = finish(start(*tiny(data, broken, **settings, steps=steps), cwd=tmp_path))
    assert got == 0, err
    assert f"goes on after step {done} of {steps}" in out
    assert run_main(monkeypatch, *tiny(data, unbroken, **settings | {"workers": 0}, steps=steps)) == 0
    assert_same(saved(broken), saved(unbroken))
    assert saved(broken)["step"] == steps


def saved(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / "latest.pt", weights_only=True)
    return state


def assert_same(left: Any, right: Any, place: str = "") -> None:
    """Equal to the last bit, whatever is nested."""
    assert type(left) is type(right), place
    if isinstance(left, dict):
        assert left.keys() == right.keys(), place
        for key in left:
            assert_same(left[key], right[key], f"{place}.{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), place
        for number, (a, b) in enumerate(zip(left, right, strict=True)):
            assert_same(a, b, f"{place}.{number}")
    elif isinstance(left, torch.Tensor):
        assert torch.equal(left, right), place
    else:
        assert left == right, place


def test_a_finished_run_has_nothing_left_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = prepare(tmp_path / "data", splits=("train",))
    arguments = tiny(data, tmp_path / "run", steps=2, workers=0)
    assert run_main(monkeypatch, *arguments) == 0
    before = saved(tmp_path / "run")
    capsys.readouterr()
    assert run_main(monkeypatch, *arguments) == 0
    assert "goes on after step 2 of 2" in capsys.readouterr().out
    assert_same(saved(tmp_path / "run"), before)


# -- data and other errors --------------------------------------------------------------------------------------------


def test_a_damaged_crop_film_found_by_a_worker_is_one_sentence(tmp_path: Path) -> None:
    data = prepare(tmp_path / "data", splits=("train",), speakers=("anna",), clips=1, points_only=0)
    (data / "crops" / "anna_train0.mp4").write_bytes(b"not a film")
    code, out, err = finish(start(*tiny(data, tmp_path / "run", steps=2, workers=1, drop_pixels=0), cwd=tmp_path))
    assert code == 1
    assert not out
    wanted = f"train.py: error: {data}/crops/anna_train0.mp4: not a film of 96x96 mouth crops; prepare it again\n"
    assert err.count(wanted) == err.count("error: /") == 1 and "Traceback" not in err  # FFmpeg may write around it


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ({"device": "toaster"}, 2, "device 'toaster' cannot be used here"),
        ({"held_out_speakers": "anna,carl"}, 2, "held_out_speakers: nobody in the data is called carl"),
        ({"held_out_speakers": "anna,ben"}, 1, "hold no clip of the split `train`"),
        ({"accumulate": 5}, 2, "too few clips for accumulate=5"),
        ({"context_processes": 2}, 2, "context_processes=2 cannot share 1 process; start 2, or a multiple"),
        ({"init": "absent.safetensors"}, 1, "absent.safetensors: no such checkpoint"),
        ({"data": "absent"}, 1, "absent: no manifest.tsv there; make one with `lipread prepare`"),
        ({"out": "a_file/run"}, 1, "cannot be written"),
    ],
)
def test_errors_of_a_run_are_one_sentence(
    settings: dict[str, Any], code: int, said: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    data = prepare(tmp_path / "data", splits=("train",), clips=1)
    monkeypatch.chdir(tmp_path)
    Path("a_file").write_text("")
    arguments = tiny(data, tmp_path / "run", steps=1, workers=0)
    if "data" in settings or "out" in settings:  # replaced, not added to
        arguments = [*tiny(data, tmp_path / "run", steps=1)[4:], "--data", settings.get("data", str(data))]
        arguments += ["--out", settings.get("out", "run")]
        settings = {}
    assert run_main(monkeypatch, *arguments, *(f"--{name}={value}" for name, value in settings.items())) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1


# -- two processes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [1, 2], ids=["clips", "frames"])
def test_torchrun_with_two_processes_gives_the_weights_of_one(
    shared: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process has clips of its own, or a part of the frames of all."""
    data = prepare(tmp_path / "data", splits=("train", "val"))
    recipe = tmp_path / "still.json"
    recipe.write_text(still(TINY).model_dump_json())  # no dropout: its random numbers are each process's own
    settings: dict[str, Any] = {
        "steps": 4, "batch_pixels": 3, "batch_points": 4, "network": recipe.read_text(), "learning_rate": 1e-3,
        "final_learning_rate": 1e-3,
    }
    shares = (*tiny(data, tmp_path / "two", **settings), "--context_processes", str(shared))
    process = start(*shares, cwd=tmp_path, launcher=TORCHRUN)
    code, out, err = finish(process)
    assert code == 0, err
    assert out.count("step 4: val: WER") == out.count("checkpoint: ") == 1  # one process reports
    assert run_main(monkeypatch, *tiny(data, tmp_path / "one", **settings)) == 0
    settings |= {"steps": 1, "learning_rate": 1e-12}
    assert run_main(monkeypatch, *tiny(data, tmp_path / "start", **settings)) == 0
    one, two, first = (flat(saved(tmp_path / name)["network"]) for name in ("one", "two", "start"))
    moved = one - first
    assert moved.norm() > 0.1
    # Adam makes whole steps out of gradients that are nothing but rounding: after the first step a weight in 300
    # differs, and from there the two drift apart; with other batches or gradients, nearly all differ by a whole step
    assert (two - one).norm() < 0.15 * moved.norm()
    other = flat(saved(tmp_path / "two")["average"]) - flat(saved(tmp_path / "one")["average"])
    assert other.norm() < 0.15 * moved.norm()


def test_stages_under_torchrun(tmp_path: Path) -> None:
    recipe, data = tmp_path / "recipe.toml", prepare(tmp_path / "data", clips=1)
    recipe.write_text("steps = 1\n[[stages]]\n[[stages]]\nlearning_rate = 1e-4\n")
    process = start("--config", str(recipe), *tiny(data, tmp_path / "run", workers=0), cwd=tmp_path, launcher=TORCHRUN)
    code, out, err = finish(process, seconds=120)
    assert code == 0, err
    checkpoints = [line for line in out.splitlines() if line.startswith("checkpoint: ")]
    assert checkpoints == [f"checkpoint: {tmp_path / 'run' / str(stage) / 'best.safetensors'}" for stage in (1, 2)]
    assert "destroy_process_group" not in err


def test_a_search_is_not_shared_by_torchrun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "grid.toml").write_text("folds = 2\n[grid]\nseed = [1, 2]\n")
    monkeypatch.setenv("WORLD_SIZE", "2")
    arguments = [*tiny(tmp_path / "data", tmp_path / "out"), "--search", str(tmp_path / "grid.toml")]
    assert run_main(monkeypatch, *arguments) == 2
    assert "start it without torchrun" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def flat(state: dict[str, Any]) -> torch.Tensor:
    """All weights in one vector."""
    return torch.cat([value.flatten().double() for value in state.values() if isinstance(value, torch.Tensor)])
