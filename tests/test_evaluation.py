"""Figures of a network on prepared clips: the batch that it reads, and texts against reading clip by clip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lipread.alphabet import Alphabet
from lipread.config import TrainConfig
from lipread.decoding.greedy import greedy_decode
from lipread.errors import DataError
from lipread.metrics import score
from lipread.model.network import LipNetwork
from lipread.mouth import centre_crop, read_crops
from lipread.training import evaluation
from lipread.training.clips import Clip, load_clips
from lipread.training.evaluation import Classification, classify, evaluate, whole_clips
from lipread.training.word_clips import cuts_of
from networks import TINY, tiny_network
from prepared import prepare

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return load_clips(prepare(tmp_path_factory.mktemp("data") / "made_up", splits=("train",)))


def test_clips_are_read_as_they_are(clips: list[Clip]) -> None:
    batch = whole_clips(clips, 88)
    assert batch.crops is not None
    for row, clip in enumerate(clips):
        assert batch.names[row] == clip.name
        assert batch.texts[row] == clip.text
        assert np.array_equal(batch.points[row, : clip.frames].numpy(), clip.points)
        assert batch.use_pixels[row].item() == bool(clip.crops_path)
        if clip.crops_path:
            assert np.array_equal(batch.crops[row, : clip.frames].numpy(), read_crops(clip.crops_path)[:, 4:92, 4:92])
    assert batch.use_points.all()
    assert whole_clips(clips, 88, use_pixels=False).crops is None


def test_crops_of_another_length_are_told(clips: list[Clip]) -> None:
    longer = replace(clips[0], frames=clips[0].frames + 1)
    with pytest.raises(DataError, match=r"mp4: 38 frames, the manifest says 39; prepare that clip again"):
        whole_clips([clips[1], longer], 88)


def test_a_clip_without_points_does_not_use_them(clips: list[Clip]) -> None:
    bare = replace(clips[0], points=np.full_like(clips[0].points, np.nan))
    assert whole_clips([bare, clips[1]], 88).use_points.tolist() == [False, True]


def alone(network: LipNetwork, clip: Clip, *, pixels: bool, points: bool) -> str:
    crops = None
    if pixels and clip.crops_path:
        crops = torch.from_numpy(centre_crop(read_crops(clip.crops_path), 88))[None]
    log_probs, _ = network(
        crops, torch.from_numpy(clip.points)[None] if points or crops is None else None, torch.tensor([clip.frames])
    )
    return greedy_decode(log_probs[0].detach().numpy(), Alphabet.english()).text


@pytest.mark.parametrize(("pixels", "points"), [(True, True), (False, True), (True, False)])
def test_figures_equal_reading_clip_by_clip(
    pixels: bool, points: bool, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 4)  # one batch is not full, and lengths are mixed
    network = tiny_network()
    chosen = [clip for clip in clips if points or clip.crops_path]
    found = evaluate(network, chosen, Alphabet.english(), CPU, use_pixels=pixels, use_points=points)
    assert found.references == tuple(clip.text for clip in chosen)
    assert found.hypotheses == tuple(alone(network, clip, pixels=pixels, points=points) for clip in chosen)
    assert any(found.hypotheses)
    assert found.score == score(list(found.references), list(found.hypotheses))
    assert found.as_dict() == {
        "wer": round(found.score.wer, 4), "cer": round(found.score.cer, 4), "clips": len(chosen)
    }


# -- classes ----------------------------------------------------------------------------------------------------------


CLASSES = ("ah", "bin", "blue", "no", "soon", "three")


def test_figures_of_classes_by_hand() -> None:
    said, told = ("bin", "red", "at", "b"), ("bin", "red", "eight", "b")
    found = Classification(score(said, told), said, told)
    assert found.accuracy == 0.75
    assert found.error == pytest.approx(0.25)
    assert str(found) == "top-1 accuracy 75.0% of 4"
    assert found.as_dict() == {"accuracy": 0.75, "wer": 0.25, "cer": round(4 / 9, 4), "clips": 4}


@pytest.mark.parametrize(("pixels", "points"), [(True, True), (False, True), (True, False)])
def test_classes_equal_telling_them_cut_by_cut(
    pixels: bool, points: bool, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "CUTS_AT_ONCE", 4)  # clips are divided among batches, and lengths are mixed
    network = tiny_network(TINY.model_copy(update={"classes": len(CLASSES)}))
    config = TrainConfig(task="words", word_frames=40)
    cuts = [cut for clip in clips if points or clip.crops_path for cut in cuts_of(clip, config)]
    assert len({cut.end - cut.start for cut in cuts}) > 1
    rows = []
    for cut in cuts:
        frames = slice(cut.start, cut.end)
        crops = None
        if pixels and cut.clip.crops_path:
            crops = torch.from_numpy(centre_crop(read_crops(cut.clip.crops_path)[frames], 88))[None]
        lips = torch.from_numpy(cut.clip.points[frames])[None] if points or crops is None else None
        states = network.encode(crops, lips, torch.tensor([cut.end - cut.start]))
        rows.append(network.class_scores(states)[0].detach())
    scores = torch.stack(rows)
    with torch.no_grad():
        network.classifier.linear.bias -= scores.mean(0)  # or this random network would say the same of all
    told = [CLASSES[number] for number in (scores - scores.mean(0)).argmax(1).tolist()]
    assert len(set(told)) > 1
    found = classify(network, cuts, CLASSES, CPU, use_pixels=pixels, use_points=points)
    assert found.hypotheses == tuple(told)
    assert found.references == tuple(cut.label for cut in cuts)


def test_no_gradient_is_kept(clips: list[Clip]) -> None:
    network = tiny_network()
    evaluate(network, clips[:1], Alphabet.english(), CPU)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_folder_of_the_fixture_is_real(clips: list[Clip]) -> None:
    assert {clip.source for clip in clips} == {"real", "points"}
    assert all(isinstance(clip.crops_path, Path | None) for clip in clips)
