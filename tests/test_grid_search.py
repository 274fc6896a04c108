"""A search over settings: folds that tile the data, every combination once, killed, shared, refused."""

from __future__ import annotations

import os
import signal
import sys
import time
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from lipread.config import GridConfig, TrainConfig
from lipread.errors import ConfigError, LipreadError, MissingDependencyError, OutputError, TrainingError
from lipread.training import grid_search as module
from lipread.training.clips import load_clips
from lipread.training.grid_search import grid_search, with_values
from prepared import prepare
from test_train import finish, program, run_main, start, tiny

GRID = GridConfig(grid={"augment.flip": (0.0, 0.5), "network.encoder.hidden_dropout_prob": (0.0, 0.2)}, folds=2)


def settings(data: Path, out: Path, **values: Any) -> TrainConfig:
    config: TrainConfig
    (config,) = program.parse(tiny(data, out, steps=2, **values))
    return config


def write_grid(path: Path) -> Path:
    dropout = '"network.encoder.hidden_dropout_prob" = [0.0, 0.2]'
    path.write_text(f"folds = 2\n[grid]\naugment.flip = [0.0, 0.5]\n{dropout}\n")
    return path


def test_every_combination_once_and_no_work_the_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = prepare(tmp_path / "data")
    config = settings(data, tmp_path / "search")
    trained: list[TrainConfig] = []

    def counting(chosen: TrainConfig, **options: Any) -> Path:
        trained.append(chosen)
        return real_train(chosen, **options)

    real_train = module.train
    monkeypatch.setattr(module, "train", counting)
    trials = grid_search(config, GRID)
    assert len(trained) == 4 * 2
    assert {(each.fold, each.augment.flip, each.network_config.encoder.hidden_dropout_prob) for each in trained} == {
        (fold, flip, dropout) for fold in (0, 1) for flip in (0.0, 0.5) for dropout in (0.0, 0.2)
    }
    assert [each.score.wer for each in trials] == sorted(each.score.wer for each in trials)
    clips = [clip for clip in load_clips(data) if clip.split in ("train", "val") and clip.source == "real"]
    assert all(each.score.clips == len(clips) and len(each.wers) == 2 for each in trials)  # every clip chose once
    table = (config.out / "search.tsv").read_text().splitlines()
    assert table[0].split("\t")[:3] == ["augment.flip", "network.encoder.hidden_dropout_prob", "wer"]
    assert len(table) == 5 and float(table[1].split("\t")[2]) == pytest.approx(trials[0].score.wer, abs=1e-4)
    assert (config.out / "search.png").read_bytes().startswith(b"\x89PNG")
    assert not list(config.out.rglob("latest.pt"))  # they would fill the disk
    assert grid_search(config, GRID) == trials
    assert len(trained) == 4 * 2


def test_variants_are_changed_alone_and_a_part_of_the_folds_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "variants.toml"
    path.write_text(
        'folds = 3\nmeasured_folds = 1\n[variants.recipe]\n[variants."no flip"]\naugment.flip = 0.0\n'
        '[variants."few people"]\nmost_people = 1\nmost_clips = 2\n'
    )
    grid = program.parse_grid(str(path))
    config, trained = settings(prepare(tmp_path / "data"), tmp_path / "search"), []
    real_train = module.train

    def counting(chosen: TrainConfig, **options: Any) -> Path:
        trained.append((chosen.fold, chosen.augment.flip, chosen.most_people, chosen.most_clips))
        return real_train(chosen, **options)

    monkeypatch.setattr(module, "train", counting)
    trials = grid_search(config, grid)
    assert sorted(trained, key=str) == [(0, 0.0, None, None), (0, 0.5, 1, 2), (0, 0.5, None, None)]
    assert {each.values["variant"] for each in trials} == {"recipe", "no flip", "few people"}
    table = [line.split("\t") for line in (config.out / "search.tsv").read_text().splitlines()]
    assert table[0][:4] == ["variant", "wer", "wer_low", "wer_high"]
    assert all(float(low) <= float(wer) <= float(high) for _, wer, low, high, *_ in table[1:])
    assert (config.out / "search.png").read_bytes().startswith(b"\x89PNG")


def test_held_out_people_are_measured_beside_the_folds(tmp_path: Path) -> None:
    data = prepare(tmp_path / "data", speakers=("anna", "ben", "cleo"), clips=3, points_only=2)
    config = settings(data, tmp_path / "search").model_copy(update={"held_out_speakers": ("ben",)})
    grid = GridConfig(variants={"as it is": {}, "still": {"augment.flip": 0.0}}, folds=2)
    trials = grid_search(config, grid)
    seen = [clip for clip in load_clips(data) if clip.crops_path]
    strangers = [clip for clip in seen if clip.split == "train" and clip.speaker == "ben"]
    others = [clip for clip in seen if clip.speaker != "ben"]
    for trial in trials:
        assert trial.held_out and trial.held_out.clips == 2 * len(strangers)  # by the network of either fold
        assert trial.score.clips == len(others)
    heading, *rows = [line.split("\t") for line in (config.out / "search.tsv").read_text().splitlines()]
    assert heading[-5:] == [f"held_out_{name}" for name in ("wer", "wer_low", "wer_high", "cer", "clips")]
    for row, trial in zip(rows, trials, strict=True):
        assert float(row[-5]) == pytest.approx(trial.held_out.wer, abs=1e-4)  # type: ignore[union-attr]
        assert len(row) == len(heading) and row[-1] == str(2 * len(strangers))
    nobody = config.model_copy(update={"held_out_speakers": ("dora",), "out": tmp_path / "nobody"})
    with pytest.raises(LipreadError, match="dora|held-out"):
        grid_search(nobody, grid)


@pytest.mark.parametrize(
    ("base", "name", "count"),
    [
        ("grid.toml", "ablations", 19), ("grid.toml", "curves", 9), ("grid.toml", "dropout", 24),
        ("points.toml --batch_pixels 20 --consistency 0.2", "points_ablations", 22),
    ],
)
def test_the_studies_of_the_recipe_can_all_be_run(base: str, name: str, count: int) -> None:
    recipes = Path(str(files("lipread.data"))) / "recipes"
    recipe, *changes = base.split()
    (config,) = program.parse(["--config", str(recipes / recipe), *changes])
    grid = program.parse_grid(recipes / f"{name}.toml")
    asked = [grid.settings(dict(zip(grid.choices, each, strict=True))) for each in product(*grid.choices.values())]
    changed = [with_values(config, each) for each in asked]
    assert len({repr(each) for each in changed}) == count  # no two are the same


def test_a_failed_trial_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(prepare(tmp_path / "data"), tmp_path / "search")
    real_train, calls = module.train, []

    def interrupted(chosen: TrainConfig, **options: Any) -> Path:
        calls.append(chosen)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real_train(chosen, **options)

    monkeypatch.setattr(module, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        grid_search(config, GRID)
    assert len(grid_search(config, GRID)) == 4
    assert len(calls) == 4 * 2 + 1  # what was finished is not trained again


def test_a_trial_that_diverges_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, calls, said = settings(tmp_path / "data", tmp_path / "search"), [], []
    grid = GridConfig(grid={"augment.flip": (0.0, 0.5, 1.0)}, folds=2, measured_folds=1)
    wrong = [0.0]

    def diverging(_: TrainConfig, values: dict[str, float], fold: int, folds: int) -> dict[str, list[str]]:
        calls.append(values["augment.flip"])
        if values["augment.flip"] in wrong:
            raise TrainingError("step 2: the loss is not finite")
        return {"said": ["bin blue"], "read": ["bin"]}

    monkeypatch.setattr(module, "measure_fold", diverging)
    told = "of 3 combinations could not be trained; augment.flip=0.0: step 2: the loss is not finite"
    for tries in (1, 2):  # started again, it tries once more
        with pytest.raises(TrainingError, match=f"1 {told}"):
            grid_search(config, grid, note=said.append)
        assert calls.count(0.0) == tries
        table = (config.out / "search.tsv").read_text().splitlines()
        assert sorted(line.split("\t")[0] for line in table[1:]) == ["0.5", "1.0"]
        assert (config.out / "search.png").exists()
    assert said.count("augment.flip=0.0: step 2: the loss is not finite") == 2
    wrong.clear()
    assert len(grid_search(config, grid)) == 3
    wrong.extend((0.0, 0.5, 1.0))
    nothing = config.model_copy(update={"out": tmp_path / "nothing"})
    with pytest.raises(TrainingError, match="3 of 3 combinations"):
        grid_search(nothing, grid)
    assert not (nothing.out / "search.tsv").exists()


def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path: Path) -> None:
    data = prepare(tmp_path / "data")
    (tmp_path / "file").touch()
    for name in ("lock", "db", "json"):
        (tmp_path / name / f"search.{name}").mkdir(parents=True)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "search.db").write_text("no store")
    for out, said in (
        ("file", "a file has the name of its folder"), ("file/search", "a file has the name of its folder"),
        ("lock", "search.lock cannot be"), ("db", "unable to open database file"),
        ("damaged", "search.db cannot be used \\(file is not a database\\); choose another --out"),
    ):
        with pytest.raises(OutputError, match=said) as caught:
            grid_search(settings(data, tmp_path / out), GRID)
        assert "choose another --out" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.slow
def test_killed_and_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out, grid = prepare(tmp_path / "data"), tmp_path / "search", write_grid(tmp_path / "grid.toml")
    arguments = [*tiny(data, out, steps=2), "--search", str(grid)]
    killed = start(*arguments, cwd=tmp_path)
    deadline = time.monotonic() + 300
    while not list(out.glob("trials/*/*.json")):
        assert killed.poll() is None, killed.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    monkeypatch.setattr(module, "HEARTBEAT_S", 1)
    monkeypatch.setattr(module, "DEAD_AFTER_S", 2)
    assert run_main(monkeypatch, *arguments) == 0
    assert len(set((out / "search.tsv").read_text().splitlines())) == 5


@pytest.mark.slow
def test_processes_share_the_work(tmp_path: Path) -> None:
    data, out, grid = prepare(tmp_path / "data"), tmp_path / "search", write_grid(tmp_path / "grid.toml")
    arguments = [*tiny(data, out, steps=2), "--search", str(grid)]
    all_at_once = [start(*arguments, cwd=tmp_path) for _ in range(4)]
    for code, said, err in map(finish, all_at_once):
        assert code == 0, err
        assert "search.tsv" in said
    assert len(set((out / "search.tsv").read_text().splitlines())) == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("folds = 2\n[grid]\n", "give the values to try under [grid], or"),
        ("[grid]\nseed = [3]\n[variants.a]\nseed = 4\n", "not both"),
        ("folds = 2\nmeasured_folds = 3\n[grid]\nseed = [1, 2]\n", "measured_folds=3 is more than there are"),
        ("[variants.\"no flip\"]\n\"augment.flap\" = 0\n", "did you mean flip?"),
        ("[variants]\nseed = 3\n", "variants.seed=3"),
        ("folds = 1\n[grid]\nseed = [1, 2]\n", "folds=1"),
        ("[grid]\nstepz = [1]\n", "stepz is not a setting"),
        ("[grid]\naugment.flip = [2.0]\n", "augment.flip=2.0"),
        ("[grid]\naugment.flip.hard = [2.0]\n", "augment.flip.hard is not a setting"),
        ("[grid]\nseed = 3\n", "grid.seed=3"),
        ("[gird]\nseed = [3]\n", "did you mean grid?"),
        ("[grid]\nseed = []\n", "grid.seed=[]: it should have at least 1 item"),
        ("[grid]\nfolds = [2, 3]\n", "grid: folds is set by the search itself"),
        ("[variants.a]\nout = \"elsewhere\"\n", "grid: out is set by the search itself"),
        ("[variants.a]\npreset = \"small\"\nnetwork.fusion_layers = 2\n", "a preset changes nothing beside settings"),
        ("not toml", "not valid TOML"),
    ],
)
def test_a_wrong_grid_is_one_sentence(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "grid.toml").write_text(text)
    data = prepare(tmp_path / "data")
    assert run_main(monkeypatch, *tiny(data, tmp_path / "out"), f"--search={tmp_path / 'grid.toml'}") == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_another_search_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    config = settings(prepare(tmp_path / "data"), tmp_path / "search")
    small = GridConfig(grid={"seed": (0,)}, folds=2)
    grid_search(config, small)
    with pytest.raises(ConfigError, match="holds a search with another grid"):
        grid_search(config, GRID)
    with pytest.raises(ConfigError, match="holds a search with another learning_rate"):
        grid_search(config.model_copy(update={"learning_rate": 0.1}), small)
    for damage in ('{"settings": {', "[]", "{}", '{"settings": 1, "search": 2}'):
        (config.out / "search.json").write_text(damage)
        with pytest.raises(ConfigError, match=r"search\.json: is damaged"):
            grid_search(config, small)


def test_what_has_no_error_rate_cannot_be_searched_by(tmp_path: Path) -> None:
    config = settings(prepare(tmp_path / "data"), tmp_path / "search")
    with pytest.raises(ConfigError, match="has no error rate to search by"):
        grid_search(config.model_copy(update={"task": "frames"}), GRID)
    assert not config.out.exists()


def test_without_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'lipread\[search\]'"):
        grid_search(settings(prepare(tmp_path / "data"), tmp_path / "search"), GRID)


def test_values_replace_settings_of_the_preset() -> None:
    config = TrainConfig(preset="tiny")
    changed = with_values(config, {"network.encoder.num_hidden_layers": 3, "learning_rate": 1e-3})
    assert changed.network_config.encoder.num_hidden_layers == 3
    assert changed.network_config.frontend == config.network_config.frontend
    assert changed.learning_rate == 1e-3
    assert with_values(config, {"augment.snr_db": (0.0, 5.0)}).augment.snr_db == (0.0, 5.0)
    assert with_values(config, {"preset": "base"}).network_config.encoder.hidden_size == 512
    with pytest.raises(ConfigError, match="a preset changes nothing beside settings of network"):
        with_values(changed, {"preset": "base"})
