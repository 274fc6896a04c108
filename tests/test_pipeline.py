"""The whole way with small networks: pieces, stillness, speakers, real clips, and what goes wrong."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import media
from lipread.alphabet import Alphabet
from lipread.audio import read_audio_blocks
from lipread.batch import nobody_there
from lipread.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lipread.cli import main
from lipread.config import PRESETS
from lipread.crowd import Mouths
from lipread.decoding.beam import BeamDecoder
from lipread.decoding.search import Search
from lipread.errors import CheckpointError, ConfigError, NoFaceError, NoPictureError, NoSoundError, VideoError
from lipread.hearing import SoundStream
from lipread.metrics import score
from lipread.model.network import LipNetwork
from lipread.noise import make_noise
from lipread.outputs import as_json
from lipread.pipeline import LipReader, load_model, watch_mouth
from lipread.reading import Reading
from lipread.speaking import LASTING_FACES, LATEST_FACES, SeenFace
from lipread.turns import Look, Turns, looks_at
from lipread.values import Array, Mouth, MouthTrack, Segment
from lipread.watch import CROWDED_FRAMES, Clock, Watch, crowd_warnings

ENGLISH = Alphabet.english()


class LookAndTell(nn.Module):
    """Says the symbol whose number is the grey level (modulo V) of a frame's crop; notes what it was given."""

    hears, device = False, torch.device("cpu")

    def __init__(self, symbols: int = ENGLISH.size) -> None:
        super().__init__()
        self.symbols = symbols
        self.config = SimpleNamespace(frontend=SimpleNamespace(crop_side_px=88))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, crops: Tensor, points: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        assert crops.dtype == torch.uint8
        assert points.shape == (*crops.shape[:2], 9, 2)
        assert lengths.max() == crops.shape[1]
        self.shapes.append(tuple(crops.shape))
        sure = torch.nn.functional.one_hot(crops[:, :, 44, 44].long() % self.symbols, self.symbols).float()
        return torch.log(sure * 0.9 + 0.1 / self.symbols), lengths


def teller(max_faces: int = 4) -> LipReader:
    return LipReader(Checkpoint(LookAndTell(), ENGLISH, {}, "teller"), max_faces=max_faces)  # type: ignore[arg-type]


def spelling_track(text: str, *, frames_each: int = 4, moving: bool = True) -> MouthTrack:
    """A mouth whose crops spell a text for `LookAndTell`, a blank after each character."""
    symbols = [number for character in text for number in (ENGLISH.encode(character) or [1])]
    levels = np.array([level for number in symbols for level in [number, 0] + [0] * (frames_each - 2)], np.uint8)
    points = np.zeros((len(levels), 9, 2), np.float32)
    points[:, 3, 1] = 0.2 * np.sin(np.arange(len(levels))) * moving
    crops = np.broadcast_to(levels[:, None, None], (len(levels), 96, 96)).copy()
    return MouthTrack(crops, points, np.ones(len(levels), bool), eye_px=25.0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the tiny preset with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_checkpoint(path, LipNetwork(PRESETS["tiny"]), ENGLISH, {"steps": 0})
    return path


def test_joined_windows_say_each_frame_once() -> None:
    text = "bin blue at f two now " * 15
    transcript = teller().read_track(spelling_track(text))
    assert transcript.text == text.strip()
    assert [word.text for word in transcript.words] == text.split()
    assert transcript.duration_s == len(text) * 4 / 25
    for number, word in enumerate(transcript.words):
        spoken_s = text.index(word.text, sum(len(w.text) + 1 for w in transcript.words[:number])) * 4 / 25
        assert word.start_s <= spoken_s <= word.end_s
        assert spoken_s - word.start_s <= 0.13
    assert 0.85 < transcript.confidence < 0.95
    assert transcript.reason is None
    assert transcript.nbest[0].text == transcript.text


def test_still_lips_say_nothing_whatever_the_crops_look_like() -> None:
    reader = teller()
    transcript = reader.read_track(spelling_track("bin blue at f", moving=False))
    assert (transcript.text, transcript.segments, transcript.nbest) == ("", (), ())
    assert "hardly move" in (transcript.reason or "")
    assert reader.network.shapes == []  # type: ignore[comparison-overlap]


def test_moving_lips_without_words_have_a_reason_too() -> None:
    transcript = teller().read_track(spelling_track("          "))
    assert transcript.text == ""
    assert "no word was recognised" in (transcript.reason or "")


def test_words_that_the_search_may_not_write_are_a_reason_of_their_own() -> None:
    search = Search(ENGLISH, BeamDecoder(ENGLISH, lexicon=["zzzz"]))
    reader = LipReader(Checkpoint(LookAndTell(), ENGLISH, {}, "teller"), search=search)  # type: ignore[arg-type]
    transcript = reader.read_track(spelling_track("bin blue"))
    assert (transcript.text, transcript.utterances[0].raw_text) == ("", "bin blue")
    assert "none of the texts that may be written fits" in (transcript.reason or "")


def test_words_run_together_into_more_than_the_frames_can_hold_are_not_text() -> None:
    words = ENGLISH.with_words(["please"])
    reader = LipReader(Checkpoint(LookAndTell(words.size), words, {}, "teller"))  # type: ignore[arg-type]
    track = spelling_track("bin blue")
    track.crops[::2], track.crops[1::2] = words.encode("please")[0], words.encode("a")[0]
    transcript = reader.read_track(track)
    assert (transcript.text, transcript.segments) == ("", ())
    assert "too much for 32 frames" in (transcript.reason or "")


def test_nothing_is_said_where_there_is_no_face() -> None:
    track = spelling_track("bin blue at f two now")
    points = track.points.copy()
    points[16:32] = np.nan  # "blue"
    present = np.isfinite(points).all(axis=(1, 2))
    transcript = teller().read_track(MouthTrack(track.crops, points, present, start_s=1.0, eye_px=25.0))
    assert transcript.text == "bin at f two now"
    assert transcript.face_share == pytest.approx(68 / 84)
    assert transcript.warnings == ("No face was found from 1.64 to 2.28 s; nothing could be read there.",)


def test_empty_track() -> None:
    nothing = MouthTrack(np.zeros((0, 96, 96), np.uint8), np.zeros((0, 9, 2), np.float32), np.zeros(0, bool))
    assert teller().read_track(nothing).reason == "no face was found in any of the 0 frames"


def test_windows_change_nothing_for_a_real_network_in_one_piece(tiny: Path) -> None:
    reader = LipReader(load_checkpoint(tiny))
    track = spelling_track("bin blue at f two now")
    direct, _ = reader.checkpoint.network(
        torch.from_numpy(track.crops[None, :, 4:92, 4:92]), torch.from_numpy(track.points[None]), torch.tensor([84])
    )
    np.testing.assert_allclose(reader.moving_log_probs(track), direct[0].detach().numpy(), atol=1e-5)


def test_a_real_clip_from_file_to_transcript(tiny: Path, grid_dir: Path) -> None:
    clip = sorted((grid_dir / "clips").glob("s1_*.mp4"))[0]
    told: list[tuple[str, float]] = []
    reader = load_model(tiny, "cpu")
    transcript = reader.transcribe(clip, progress=lambda stage, share: told.append((stage, share)))
    assert (transcript.source, transcript.model, transcript.duration_s) == (str(clip), "tiny", 3.0)
    assert transcript.face_share == 1.0
    assert set(transcript.stage_s) == {"video", "landmarks", "mouth", "network", "decoding"}
    assert all(seconds > 0 for seconds in transcript.stage_s.values())
    assert told[-1] == ("network", 1.0)
    assert [share for stage, share in told if stage == "video"][-1] == 1.0
    assert all(0 <= word.start_s < word.end_s <= 3.0 for word in transcript.words)
    again = reader.transcribe(str(clip))
    assert (again.text, again.words) == (transcript.text, transcript.words)


def test_words_have_a_second_confidence_where_dropout_goes_on(grid_dir: Path) -> None:
    """Of lips, of lips and sound, and through pauses: the words are those without, each doubted where it is said."""
    clip = sorted((grid_dir / "clips").glob("s1_*.mp4"))[0]
    plain, doubting = (load_model("small", "cpu", dropout_passes=passes) for passes in (0, 5))
    one = watch_mouth(clip).track
    often = MouthTrack(*(np.concatenate([each] * 4) for each in (one.crops, one.points, one.present)))
    transcripts = [doubting.transcribe(clip, modality="video"), doubting.transcribe(clip, modality="both")]
    wanted = [plain.transcribe(clip, modality="video"), plain.transcribe(clip, modality="both")]
    transcripts.append(doubting.read_track(often))
    wanted.append(plain.read_track(often))
    assert len(wanted[2].words) == 4 * len(wanted[0].words) > 0
    assert len(wanted[2].utterances) == 4
    for found, alone in zip(transcripts, wanted, strict=True):
        assert [replace(word, dropout_confidence=None) for word in found.words] == list(alone.words)
        doubted = [word.dropout_confidence for word in found.words]
        assert all(each is not None and 0.05 < each <= 1 for each in doubted)
        written = as_json(found)["segments"][0]["words"][0]
        assert written["dropout_probability"] == pytest.approx(doubted[0], abs=1e-4)
        assert "dropout_probability" not in as_json(alone)["segments"][0]["words"][0]
    # a sure word stays sure in every one of the same four sentences: none is measured at another's place
    figures = np.reshape([word.dropout_confidence for word in transcripts[2].words], (4, -1))
    assert figures.mean() > 0.6
    assert np.abs(figures - figures.mean(axis=0)).max() < 0.35


def side_by_side(grid_dir: Path, out: Path, *, still: str) -> Path:
    """A film of two people, one of them kept still."""
    from lipread.video import read_frames

    images: list[list[Array]] = []
    for side, name in (("left", "s1_*.mp4"), ("right", "s4_*.mp4")):
        with read_frames(sorted((grid_dir / "clips").glob(name))[0]) as frames:
            own = [frame.image for frame in frames]
        images.append([own[0]] * len(own) if side == still else own)
    return media.write_video(out, [np.concatenate(pair, axis=1) for pair in zip(*images, strict=False)])


def test_segments_are_told_as_soon_as_they_are_over() -> None:
    """Of sentences with pauses between them, each is told long before the last one is read."""
    sentence = spelling_track("bin blue at f" + 14 * "x")
    sentence.crops[-56:] = 0  # a pause of 56 frames
    length = len(sentence.crops)
    crops, points = np.tile(sentence.crops, (6, 1, 1)), np.tile(sentence.points, (6, 1, 1))
    told: list[tuple[int, str]] = []
    reading = teller().reading(Clock())
    for look in looks_at(MouthTrack(crops, points, np.ones(6 * length, bool))):
        told += [(look.frame, segment.text) for segment in reading.push(look)]
    told += [(10**6, segment.text) for segment in reading.end()]
    assert [text for _, text in told] == 6 * ["bin blue at f"]
    assert all(frame <= (number + 1) * length + 250 for number, (frame, _) in enumerate(told[:3]))


@pytest.mark.parametrize(("still", "talker"), [("left", 1), ("right", 0)])
def test_of_two_faces_the_talking_one_is_read(grid_dir: Path, tmp_path: Path, still: str, talker: int) -> None:
    film = side_by_side(grid_dir, tmp_path / "two.mp4", still=still)
    watched = watch_mouth(film)
    assert watched.faces == 2
    assert f"number {talker} from the left" in watched.warnings[-1]
    assert (watched.chosen, len(watched.portraits)) == (talker, 2)
    assert all(min(portrait.shape[:2]) > 80 and portrait.ndim == 3 for portrait in watched.portraits)
    silent = watch_mouth(film, speaker=1 - talker)
    assert "hardly move" in (teller().read_track(silent.track).reason or "")
    with pytest.raises(NoFaceError, match=r"two\.mp4: there is no face 2"):
        watch_mouth(film, speaker=2)


def two_people(grid_dir: Path) -> tuple[list[Array], list[Array]]:
    """Pictures of two people, 360 x 288, who both talk."""
    return media.frames_of(grid_dir, "s1_bbaf2n"), media.frames_of(grid_dir, "s3_bbaf1s")


def test_everyone_is_read_through_a_cut_and_an_occlusion(grid_dir: Path, tmp_path: Path) -> None:
    """Two people side by side change places at a cut; one is hidden for a third of a second."""
    one, other = two_people(grid_dir)
    images = [np.concatenate([a, b], axis=1) for a, b in zip(one, other, strict=False)]
    images += [np.concatenate([b, a], axis=1) for a, b in zip(one, other, strict=False)]
    for image in images[20:28]:
        image[:, 360:] = 60
    film = media.write_video(tmp_path / "two.mp4", images)
    watch, seen = Watch(film, speaker="all"), {}
    for look in watch:
        if look.mouth is not None:
            seen.setdefault(look.face, {})[look.frame] = float(look.mouth.box[:, 0].mean())
    assert sorted(len(frames) for frames in seen.values()) == [150, 150]
    for frames in seen.values():  # each on one side before the cut, on the other one after it
        left = np.array([frames[at] < 360 for at in range(150)])
        assert left[:75].all() != left[75:].all() and len(set(left[:75])) == len(set(left[75:])) == 1
    transcript = load_model("small", "cpu").transcribe(film, speaker="all")
    assert {segment.speaker for segment in transcript.segments} == {"Speaker 1", "Speaker 2"}
    said = " ".join(segment.text for segment in transcript.segments if segment.speaker == "Speaker 1")
    assert score([" ".join(["bin blue at f two now"] * 2)], [said]).wer <= 2 / 12  # "at" and "in" look alike
    assert transcript.warnings == ()


class PretendWatch:
    """Looks at everyone in hand-made frames."""

    def __init__(self, frames: Iterable[Mouths]) -> None:
        self._frames, self._turns = frames, Turns("all")
        self.warnings = ()

    @property
    def faces(self) -> dict[int, SeenFace]:
        return self._turns.faces

    def __iter__(self) -> Iterator[Look]:
        for mouths in self._frames:
            yield from self._turns.push(mouths)
        yield from self._turns.end()


def spelling_mouths(text: str, left_px: float = 0.0) -> list[Mouth]:
    """The mouths of `spelling_track`."""
    track = spelling_track(text)
    box = np.array([(left_px, 10), (left_px + 60, 90)], np.float32)
    return [Mouth(crop, points, 25.0, box) for crop, points in zip(track.crops, track.points, strict=True)]


def passers_by(people: int) -> Iterator[Mouths]:
    """Person 0 says "bin" over and over, and beside them others come and go, each with a "red", one after the other."""
    stays = spelling_mouths("bin ")
    for identity in range(1, people + 1):
        for mine, theirs in zip(stays, [*spelling_mouths("red", 100.0), *[None] * len(stays)], strict=False):
            yield {0: mine} if theirs is None else {0: mine, identity: theirs}


def segments_of(frames: Iterable[Mouths], patch: pytest.MonkeyPatch, reader: LipReader) -> Iterator[Segment]:
    """What everyone says, as soon as it is over."""
    with patch.context() as here:
        here.setattr("lipread.pipeline.Watch", lambda path, **_: PretendWatch(frames))
        yield from reader.segments("pretended.mp4", speaker="all")


def test_of_hundreds_who_speak_the_words_are_kept_and_few_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, alive = teller(), weakref.WeakSet[Reading]()
    begin, most = reader.reading, 0

    def noted(*args: Any, **options: Any) -> Reading:
        nonlocal most
        alive.add(reading := begin(*args, **options))
        most = max(most, len(alive))
        return reading

    monkeypatch.setattr(reader, "reading", noted)
    said: dict[str | None, list[str]] = {}
    for segment in segments_of(passers_by(300), monkeypatch, reader):
        said.setdefault(segment.speaker, []).append(segment.text)
    assert most < LATEST_FACES + LASTING_FACES + 15 < 300  # 15: there in the seconds that are looked at
    assert "".join(said.pop("Speaker 1")).replace(" ", "") == 300 * "bin"  # whoever stays
    assert said == {f"Speaker {number}": ["red"] for number in range(2, 302)}


def test_who_comes_back_keeps_the_label_and_is_told_of_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more people than are kept: one speaks, is away while others come and go, then nobody, and speaks again."""
    early, late, one = LATEST_FACES + LASTING_FACES, LATEST_FACES - 10, 1000
    frames = [  # four at a time, each for longer than the one who is watched here
        {first + side: mouth for side in range(4)} for first in range(0, early, 4) for mouth in spelling_mouths("b" * 9)
    ]
    frames += [{one: each} for each in spelling_mouths("bin red")]
    frames += [{2000 + number: mouth} for number in range(late) for mouth in spelling_mouths("bb")]
    frames += [{}] * 200 + [{one: each} for each in spelling_mouths("blue")] + [{}] * 250
    pushed = 0

    def counted() -> Iterator[Mouths]:
        nonlocal pushed
        for mouths in frames:
            pushed += 1
            yield mouths

    told = [(each.speaker, each.text, pushed) for each in segments_of(counted(), monkeypatch, teller())]
    (first, _), (again, when) = [(speaker, when) for speaker, text, when in told if text in ("bin red", "blue")]
    assert first == again == f"Speaker {early + 1}" and when < len(frames)
    assert {speaker for speaker, *_ in told} == {f"Speaker {number + 1}" for number in range(early + 1 + late)}


def test_more_faces_than_are_followed_are_told_of(grid_dir: Path, tmp_path: Path) -> None:
    """Four people; two are followed, or all."""
    one, other = two_people(grid_dir)
    rows = [np.concatenate([a, b], axis=1) for a, b in zip(one[:25], other[:25], strict=True)]
    film = media.write_video(tmp_path / "four.mp4", [np.concatenate([row, row[:, ::-1]]) for row in rows])
    for speaker in ("auto", "all"):
        *_, told = teller(max_faces=2).transcribe(film, speaker=speaker).warnings
        assert told.startswith("There were more than 2 faces in the picture for 1 s")
        assert "--max-faces" in told
        assert not any("max-faces" in each for each in teller().transcribe(film, speaker=speaker).warnings)
    assert not Watch(film).portraits
    watch = Watch(film)
    assert len(list(watch)) == 25 and len(watch.ordered) == 4 and watch.portraits == []  # only the app needs them


@pytest.mark.parametrize(
    ("crowded", "frames", "warned"),
    [(0, 0, False), (0, 100, False), (24, 100, False), (25, 100, True), (CROWDED_FRAMES, 90_000, True),
     (CROWDED_FRAMES - 1, 90_000, False)],
)
def test_a_crowd_for_a_moment_is_no_worry(crowded: int, frames: int, warned: bool) -> None:
    assert bool(crowd_warnings(crowded, frames, 4)) == warned


def test_the_number_of_faces_goes_from_the_command_to_whoever_reads(
    tmp_path: Path, tiny: Path, grid_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (load_model(tiny, "cpu", max_faces=7).max_faces, load_model(tiny, "cpu").max_faces) == (7, 4)
    clip = sorted((grid_dir / "clips").glob("s1_*.mp4"))[0]
    asked: list[dict[str, Any]] = []

    def load(name: str, device: str, **options: Any) -> LipReader:
        asked.append(options)
        raise ConfigError("enough")

    monkeypatch.setattr("lipread.pipeline.load_model", load)
    monkeypatch.setattr(
        "lipread.engines.WorkerEngine", lambda preparation, workers: load("", "", **preparation.search)
    )
    command = ["transcribe", str(clip), "-o", str(tmp_path), "--decoder", "greedy"]
    for more in (["--workers", "0"], ["--workers", "1"]):
        assert main([*command, *more, "--max-faces", "7"]) == main([*command, *more]) == 2  # by `load`
    assert asked == [{"decoder": "greedy", "max_faces": 7}, {"decoder": "greedy"}] * 2
    assert main([*command, "--max-faces", "0"]) == 2
    assert "--max-faces" in capsys.readouterr().err


def test_video_without_a_face(tmp_path: Path) -> None:
    film = media.write_video(tmp_path / "wall.mp4", [np.full((120, 160, 3), 90, np.uint8)] * 20)
    told: list[tuple[str, float]] = []
    transcript = teller().transcribe(film, progress=lambda stage, share: told.append((stage, share)))
    assert [stage for stage, _ in told].count("video") == 21  # every picture, and the last faces
    assert (transcript.text, transcript.face_share, transcript.duration_s) == ("", 0.0, 0.8)
    assert transcript.reason == "no face was found in any of the 20 frames"
    for speaker in ("auto", "all"):
        other = teller().transcribe(film, speaker=speaker)
        assert (other.duration_s, other.reason) == (transcript.duration_s, transcript.reason)
    with pytest.raises(NoFaceError, match=r"wall\.mp4.*no face was found"):
        teller().transcribe(film, speaker=0)


def test_bad_calls(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a video")
    with pytest.raises(VideoError, match=r"notes\.txt"):
        teller().transcribe(tmp_path / "notes.txt")
    with pytest.raises(ConfigError, match="'loudest'"):
        teller().transcribe(tmp_path / "notes.txt", speaker="loudest")
    with pytest.raises(ConfigError, match="'huge' is not known; bundled:"):
        load_model("huge")
    with pytest.raises(CheckpointError, match=r"gone\.safetensors"):
        load_model(tmp_path / "gone.safetensors")
    with pytest.raises(ConfigError, match="'abacus' cannot be used"):
        load_model(tiny, "abacus")
    for passes in (-1, 1.5):
        with pytest.raises(ConfigError, match=f"dropout_passes={passes} must be a whole number"):
            load_model(tiny, dropout_passes=passes)  # type: ignore[arg-type]


# --- models that read no sentences


@pytest.fixture
def untaught(tmp_path: Path) -> Path:
    """Trained without words."""
    network = LipNetwork(PRESETS["tiny"])
    save_checkpoint(path := tmp_path / "frames.safetensors", network, ENGLISH, {"config": {"task": "frames"}})
    return path


def test_a_model_that_was_not_taught_sentences_reads_none(tmp_path: Path, hearing: LipReader, untaught: Path) -> None:
    partner = replace(hearing.checkpoint, record={"classes": ["bin"]}, name="words")
    for reader, said in (
        (load_model(untaught, "cpu"), r"model 'frames' was .* --task frames .* with `train\.py --init FILE`$"),
        (
            LipReader(replace(hearing.checkpoint, with_sound=partner)),
            r"model 'words' was .* or measure it with `train\.py --task words --init FILE --evaluate-only`$",
        ),
    ):
        with pytest.raises(CheckpointError, match=said):
            reader.transcribe(tmp_path / "gone.mp4")
        for read in (reader.read_track, reader.moving_log_probs):
            with pytest.raises(CheckpointError, match=said):
                read(spelling_track("bin"))


@pytest.mark.parametrize("command", ["transcribe", "evaluate", "compare", "calibrate", "lm tune", "noise"])
def test_commands_refuse_a_model_that_was_not_taught_sentences(
    command: str, hearing: LipReader, tmp_path: Path, grid_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, network = tmp_path / "frames.safetensors", hearing.checkpoint.network
    save_checkpoint(model, network, ENGLISH, {"config": {"task": "frames"}})
    video = sorted((grid_dir / "clips").glob("s1_*.mp4"))[0]
    given = {"transcribe": [str(video)], "lm tune": ["grid-ngram", str(grid_dir)]}.get(command, [str(grid_dir)])
    output = {"transcribe": ["-o", str(tmp_path)], "calibrate": ["-o", str(tmp_path / "new.safetensors")]}
    assert main([*command.split(), *given, *output.get(command, []), "--model", str(model), "--device", "cpu"]) == 1
    said = capsys.readouterr().err
    assert said.count("was trained for --task frames") == said.count("lipread: error: ") == 1
    assert list(tmp_path.glob("new*")) == list(tmp_path.glob("*.txt")) == []


def test_its_encoder_is_of_use_all_the_same(untaught: Path, tmp_path: Path, grid_dir: Path) -> None:
    video = str(sorted((grid_dir / "clips").glob("s1_*.mp4"))[0])
    assert main(["features", video, "-o", str(tmp_path), "--model", str(untaught)]) == 0
    assert main(["adapt", video, "-o", str(tmp_path / "mine.safetensors"), "--model", str(untaught)]) == 0


# --- sound


@pytest.fixture(scope="module")
def hearing() -> LipReader:
    """Random weights that hear; whatever they say is not the point."""
    torch.manual_seed(1)
    network = LipNetwork(PRESETS["tiny"].model_copy(update={"streams": ("pixels", "points", "sound")}))
    return LipReader(Checkpoint(network.eval(), ENGLISH, {}, "hearing"))


@pytest.fixture(scope="module")
def with_sound(tmp_path_factory: pytest.TempPathFactory, grid_dir: Path) -> Path:
    """A second of a real clip among a second of noise."""
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 16_000)).astype(np.float32)
    pictures = media.frames_of(grid_dir, "s1_bbaf2n")[20:45]
    return media.write_video(tmp_path_factory.mktemp("sound") / "talk.mp4", pictures, sound=noise)


def test_lips_alone_are_what_a_network_that_hears_makes_of_them(hearing: LipReader, with_sound: Path) -> None:
    """Sound that is not looked at changes nothing."""
    track = watch_mouth(with_sound).track
    alone = hearing.read_track(track)
    assert hearing.transcribe(with_sound, modality="video").text == alone.text
    assert all(segment.modality == "video" for segment in alone.segments)
    assert alone.sound_late_s is None


def test_both_and_why(hearing: LipReader, with_sound: Path) -> None:
    said = hearing.transcribe(with_sound, modality="both")
    assert {(each.modality, each.why[:16]) for each in said.segments} == {("both", "as was asked for")}
    assert said.modality == "both" and said.sound_late_s is None  # how late noise is, nobody knows


def test_lips_are_read_by_one_model_and_what_has_sound_by_the_other(hearing: LipReader, with_sound: Path) -> None:
    torch.manual_seed(2)
    lips = Checkpoint(LipNetwork(PRESETS["tiny"]).eval(), ENGLISH, {"calibration": {"temperature": 9.0}}, "lips")
    pair = LipReader(replace(lips, with_sound=hearing.checkpoint))
    alone = LipReader(lips)
    track = watch_mouth(with_sound).track
    heard = next(iter(read_audio_blocks(with_sound)))
    assert pair.hears and not alone.hears
    assert np.array_equal(pair.moving_log_probs(track), alone.moving_log_probs(track))
    by_ear = pair.moving_log_probs(track, sound=SoundStream([heard]))
    assert np.array_equal(by_ear, hearing.moving_log_probs(track, sound=SoundStream([heard])))
    assert not np.allclose(by_ear, alone.moving_log_probs(track), atol=0.1)
    with pytest.raises(ConfigError, match="reads lips only"):
        alone.moving_log_probs(track, sound=SoundStream([heard]))
    silent = SoundStream([np.zeros_like(heard)])  # nothing to listen to: as the lips' model reads it
    assert pair.read_track(track, sound=silent).text == alone.read_track(track).text
    for modality in ("video", "audio", "both"):
        one = alone if modality == "video" else hearing
        said, wanted = (each.transcribe(with_sound, modality=modality) for each in (pair, one))
        assert said.text == wanted.text
        assert said.words
        assert [word.confidence for word in said.words] == [word.confidence for word in wanted.words]


def test_of_two_who_talk_at_once_the_one_is_read_whose_sound_it_is(grid_dir: Path, tmp_path: Path) -> None:
    """Two real people side by side; the shipped model; the sound of the left one, then of the right one."""
    names = "s1_bbaf2n", "s1_srah6p"
    clips = [media.frames_of(grid_dir, name) for name in names]
    film = media.write_video(tmp_path / "two.mp4", [np.hstack(pair) for pair in zip(*clips, strict=True)])
    reader = load_model("small", "cpu")
    for place, name in enumerate(names):
        sound = np.concatenate(list(read_audio_blocks(grid_dir / "clips" / f"{name}.mp4")))
        agreement = reader.agreement(SoundStream([sound]))
        assert agreement is not None
        watched = watch_mouth(film, agreement=agreement)
        assert watched.chosen == place
        assert watched.warnings[-1].startswith(f"2 faces were seen; number {place} from the left")
        said = reader.transcribe(film, sound=SoundStream([sound]))
        alone = reader.transcribe(film, speaker=place, sound=SoundStream([sound]))
        assert said.text == alone.text


def test_sound_alone_needs_no_face(hearing: LipReader, with_sound: Path, tmp_path: Path) -> None:
    said = hearing.transcribe(with_sound, modality="audio")
    assert (said.duration_s, said.face_share) == (pytest.approx(1.0, abs=0.13), 0.0)
    assert said.segments and said.modality == "audio"
    tone = media.tone(300, 2.0, 48_000)
    spoken = media.write_sound(tmp_path / "spoken.wav", tone, rate_hz=48_000, codec="pcm_s16le")
    for modality in ("audio", "auto"):
        assert hearing.transcribe(spoken, modality=modality).duration_s == pytest.approx(2.0, abs=0.05)
    with pytest.raises(NoPictureError, match="no picture to read lips from"):
        hearing.transcribe(spoken, modality="video")


def test_where_no_face_is_seen_the_sound_is_read(hearing: LipReader, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, (1, 16_000)).astype(np.float32)
    grey = [np.full((96, 96, 3), 90, np.uint8)] * 25
    faceless = media.write_video(tmp_path / "grey.mp4", grey, sound=noise)
    said = hearing.transcribe(faceless)
    assert said.segments and {(each.modality, each.why) for each in said.segments} == {("audio", "no face is seen")}
    assert "no face was found" in (hearing.transcribe(faceless, modality="video").reason or "")


def test_silent_sound_is_left_out(hearing: LipReader, tmp_path: Path, grid_dir: Path) -> None:
    pictures = media.frames_of(grid_dir, "s1_bbaf2n")[20:45]
    silent = media.write_video(tmp_path / "silent.mp4", pictures, sound=np.zeros((1, 16_000), np.float32))
    said = hearing.transcribe(silent)
    assert {(each.modality, each.why) for each in said.segments} == {("video", "the sound is silent here")}
    assert said.text == hearing.transcribe(silent, modality="video").text
    assert hearing.transcribe(silent, modality="audio").reason == "no word was recognised in the sound"


@pytest.mark.parametrize("kind", ["tone", "white", "speech-shaped"])
def test_sound_without_speech_is_left_out(tmp_path: Path, grid_dir: Path, kind: Any) -> None:
    """A real clip with other sound in place of its own, read by the shipped model."""
    made = media.tone(440, 3.0, 16_000) if kind == "tone" else 0.05 * make_noise(
        kind, 48_000, np.random.default_rng(3)
    )[None].astype(np.float32)
    film = media.write_video(tmp_path / "film.mp4", media.frames_of(grid_dir, "s1_bbaf2n"), sound=made)
    reader = load_model("small", "cpu")
    said = reader.transcribe(film)
    assert {(each.modality, each.why) for each in said.segments} == {
        ("video", "no speech is recognised in the sound here")
    }
    assert said.text == reader.transcribe(film, modality="video").text and said.sound_late_s is None


def test_silence_alone_is_empty_and_no_failure(hearing: LipReader, tmp_path: Path) -> None:
    quiet = media.write_sound(tmp_path / "a.wav", np.zeros((1, 32_000), np.float32), rate_hz=16_000, codec="pcm_s16le")
    assert not nobody_there(hearing.transcribe(quiet)) and not hearing.transcribe(quiet).text
    grey = [np.full((96, 96, 3), 90, np.uint8)] * 25
    faceless = media.write_video(tmp_path / "grey.mp4", grey, sound=np.zeros((1, 16_000), np.float32))
    assert nobody_there(hearing.transcribe(faceless))  # a face was looked for
    assert not nobody_there(hearing.transcribe(faceless, modality="audio"))


def test_sound_that_cannot_be_had(hearing: LipReader, tmp_path: Path, grid_dir: Path) -> None:
    mute = media.write_video(tmp_path / "mute.mp4", media.frames_of(grid_dir, "s1_bbaf2n")[20:45])
    for modality in ("audio", "both"):
        with pytest.raises(NoSoundError, match=rf"mute\.mp4 has no sound .* modality '{modality}'"):
            hearing.transcribe(mute, modality=modality)
        with pytest.raises(ConfigError, match="'teller' reads lips only"):
            teller().transcribe(mute, modality=modality)
    assert hearing.transcribe(mute).text == hearing.transcribe(mute, modality="video").text
    for modality, why in (("auto", "there is no sound"), ("video", "as was asked for")):
        assert {each.why for each in hearing.transcribe(mute, modality=modality).segments} == {why}
    with pytest.raises(ConfigError, match="modality 'lips' is not known"):
        hearing.transcribe(mute, modality="lips")  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0.3, 2.5])
@pytest.mark.parametrize(
    ("rate_hz", "layout", "channels"), [(8_000, "mono", 1), (192_000, "stereo", 2), (48_000, "7.1", 8)]
)
def test_sound_of_any_kind_and_length(
    hearing: LipReader, tmp_path: Path, grid_dir: Path, seconds: float, rate_hz: int, layout: str, channels: int
) -> None:
    """Shorter than the picture: silence follows. Longer: the rest is not read. Clipped and loud: as any other."""
    pictures = media.frames_of(grid_dir, "s1_bbaf2n")[20:45]
    loud = np.sign(np.random.default_rng(2).normal(0, 1, (channels, round(seconds * rate_hz)))).astype(np.float32)
    film = media.write_video(
        tmp_path / "film.mkv", pictures, sound=loud, sound_rate_hz=rate_hz, sound_codec="pcm_s16le", sound_layout=layout
    )
    said = hearing.transcribe(film, modality="both")
    assert said.duration_s == pytest.approx(1.0, abs=0.05) and said.modality in ("both", "")
    assert any("goes on after the picture" in warning for warning in said.warnings) == (seconds > 2)
