"""Text to mouth shapes: pronunciations, durations against published and real ones, what lips do around each sound."""

from __future__ import annotations

import csv
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipread.data.lips import Mouth
from lipread.data.people import EYE_X, Identity
from lipread.data.synthetic import GRAMMAR, sentence_of
from lipread.data.visemes import DIPHTHONGS, PHONES, SHAPE, Segment, Speech, blend, phones, speak
from lipread.errors import DataError
from lipread.values import FRAME_RATE_HZ, Array

JAW, SPREAD, ROUND, PRESS, BITE, TONGUE, UPPER, LOWER = range(8)
VOWELS = {"AA", "AE", "AH", "AO", "EH", "ER", "IH", "IY", "UH", "UW", *DIPHTHONGS}
# mean durations in ms of stressed sounds in connected speech, with room for slow and quick speakers (Klatt 1976;
# Crystal & House 1988, "Segmental durations in connected-speech signals", JASA 83): class -> (least, most)
MEAN_MS = {
    "tense vowels": ("AA AE AO IY UW ER", 100, 240),
    "lax vowels": ("AH EH IH UH", 60, 150),
    "diphthongs": (" ".join(DIPHTHONGS), 130, 300),
    "voiceless stops": ("P T K", 60, 150),
    "voiced stops": ("B D G", 45, 110),
    "voiceless fricatives": ("F TH S SH", 80, 170),
    "voiced fricatives": ("V DH Z ZH", 40, 120),
    "affricates": ("CH JH", 80, 180),
    "nasals": ("M N NG", 50, 110),
    "glides, liquids, h": ("L R W Y HH", 45, 110),
}


def said(text: str, seed: int = 0, frames: int | None = None) -> Speech:
    return speak(text, np.random.default_rng([seed, 1]), frames=frames)


def frame_at(seconds: float) -> int:
    return int(seconds * FRAME_RATE_HZ)


@pytest.fixture(scope="module")
def durations_ms() -> dict[str, float]:
    """Mean duration of every sound, from what is said rather than from the table."""
    text = "hot cat but bought bet bird bit beat book boot buy cow bay bow boy pet tack keg fan vet thin this so zoo \
        shoe measure chew judge man sing let red wet yes hat dog bad go now"
    heard: dict[str, list[float]] = defaultdict(list)
    for seed in range(120):
        for sound in said(text, seed).sounds[:-1]:
            heard[sound.text].append(1000 * (sound.end_s - sound.start_s))
    return {sound: float(np.mean(times)) for sound, times in heard.items()}


# --- pronunciation


@pytest.mark.parametrize(
    ("word", "expected"),
    [("bin", "B IH N"), ("White", "W AY T"), ("please", "P L IY Z"), ("seven", "S EH V AH N"), ("it's", "IH T S")],
)
def test_words_are_said_as_the_dictionary_says(word: str, expected: str) -> None:
    assert phones(word) == expected.split()


@pytest.mark.parametrize(
    ("letter", "expected"),
    [("a", "EY"), ("b", "B IY"), ("h", "EY CH"), ("w", "D AH B AH L Y UW"), ("x", "EH K S"), ("Z", "Z EH D")],
)
def test_a_letter_is_its_name(letter: str, expected: str) -> None:
    assert phones(letter) == expected.split()  # z is zed: the corpus is British


def test_every_letter_and_word_of_the_grammar_can_be_said() -> None:
    for word in [*(word for choices in GRAMMAR for word in choices), *"abcdefghijklmnopqrstuvwxyz"]:
        assert phones(word)
        assert set(phones(word)) <= (PHONES.keys() - {"-"}) | DIPHTHONGS.keys(), word


def test_unknown_words_are_spelled_out() -> None:
    assert phones("zzqx") == ["Z", "K", "K", "S"]
    assert phones("blorfs'x") == ["B", "L", "AO", "R", "F", "S", "K", "S"]
    assert phones("shoothing") == ["SH", "UW", "TH", "IH", "NG"]
    assert phones("glope") == ["G", "L", "AA", "P"]  # the last e is silent


def test_figures_are_said_and_other_signs_are_not() -> None:
    assert phones("42") == phones("four") + phones("two")
    assert phones("Please,") == phones("please") and phones("'tis!") == phones("tis")


@pytest.mark.parametrize("word", ["'", "--", "привет", "…"])
def test_what_cannot_be_said_is_named(word: str) -> None:
    with pytest.raises(DataError, match="no letter that can be said"):
        said(f"bin {word} now")


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_empty_text(text: str) -> None:
    with pytest.raises(DataError, match="at least one word"):
        said(text)


# --- durations


@pytest.mark.parametrize("group", MEAN_MS)
def test_sounds_last_as_long_as_measured_ones(group: str, durations_ms: dict[str, float]) -> None:
    sounds, least, most = MEAN_MS[group]
    for sound in sounds.split():
        assert least < durations_ms[sound] < most, sound


def test_every_sound_is_in_a_class() -> None:
    classed = {sound for sounds, _, _ in MEAN_MS.values() for sound in sounds.split()}
    assert classed == (PHONES.keys() - {"-"}) | DIPHTHONGS.keys()


@pytest.mark.parametrize(
    ("longer", "shorter"),
    [("P", "B"), ("T", "D"), ("K", "G"), ("F", "V"), ("S", "Z"), ("TH", "DH"), ("SH", "ZH"), ("CH", "JH"),
     ("IY", "IH"), ("UW", "UH"), ("AE", "EH"), ("AY", "AH"), ("CH", "T"), ("S", "D"), ("AA", "P")],
)  # fmt: skip
def test_known_orders_of_duration(longer: str, shorter: str, durations_ms: dict[str, float]) -> None:
    assert durations_ms[longer] > 1.05 * durations_ms[shorter]


def test_last_sound_is_drawn_out() -> None:
    def last(text: str) -> float:
        return float(np.mean([s.sounds[2].end_s - s.sounds[2].start_s for s in (said(text, n) for n in range(60))]))

    assert 1.1 < last("bin") / last("bin bin") < 1.4


def test_sentences_take_a_plausible_time() -> None:
    lengths = []
    for seed in range(150):
        words = said(sentence_of(seed), seed).words
        lengths.append(words[-1].end_s - words[0].start_s)
    assert min(lengths) > 1.1 and max(lengths) < 3.5  # of six words, five of them short
    assert 1.4 < np.mean(lengths) < 2.3


def test_longer_real_words_are_longer_here(grid_dir: Path) -> None:
    real: dict[str, list[float]] = defaultdict(list)
    with open(grid_dir / "words.tsv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            real[row["word"]].append(float(row["end_s"]) - float(row["start_s"]))
    drawn: dict[str, list[float]] = defaultdict(list)
    for seed in range(300):
        for word in said(sentence_of(seed), seed).words:
            drawn[word.text].append(word.end_s - word.start_s)
    known = [word for word in drawn if len(real.get(word, ())) >= 20]
    if len(known) < 20:
        pytest.skip("too few words with times in this copy of GRID")
    means = np.array([[np.mean(real[word]), np.mean(drawn[word])] for word in known])
    assert np.corrcoef(means.T)[0, 1] > 0.6
    assert 0.8 < means[:, 1].mean() / means[:, 0].mean() < 1.6


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=7), min_size=1, max_size=8),
    st.integers(0, 10_000),
    st.one_of(st.none(), st.integers(5, 200)),
)
def test_words_and_sounds_lie_in_order_inside_the_clip(words: list[str], seed: int, frames: int | None) -> None:
    try:
        speech = said(" ".join(words), seed, frames)
    except DataError:
        assert frames is not None
        return
    assert [word.text for word in speech.words] == words
    assert frames in (None, len(speech.shapes))
    assert speech.words[0].start_s > 0
    assert speech.words[-1].end_s < len(speech.shapes) / FRAME_RATE_HZ
    for series in (speech.words, speech.sounds):
        assert all(item.start_s < item.end_s for item in series)
        assert all(a.end_s <= b.start_s + 1e-9 for a, b in pairwise(series))
    for word in speech.words:
        there = [sound.text for sound in speech.sounds if word.start_s <= sound.start_s < word.end_s]
        variants = [phones(word.text, variant) for variant in range(4)]
        assert there in variants or there in [[s for s in said_so if s != "R"] for said_so in variants] or "R" in there
    starts = [sound.start_s for sound in speech.sounds]
    assert all(word.start_s in starts for word in speech.words)
    assert np.isfinite(speech.shapes).all() and np.abs(speech.shapes).max() < 1.5


def test_frames_leave_room_or_hurry() -> None:
    free = said("place red at c two now", 3)
    roomy, tight = said("place red at c two now", 3, 150), said("place red at c two now", 3, 40)
    assert (len(roomy.shapes), len(tight.shapes)) == (150, 40)
    assert roomy.words == free.words
    both = len(free.shapes) - 8  # the end of its silence aside
    np.testing.assert_allclose(roomy.shapes[:both], free.shapes[:both], atol=1e-3)
    ratios = [(b.end_s - b.start_s) / (a.end_s - a.start_s) for a, b in zip(free.words, tight.words, strict=True)]
    assert np.ptp(ratios) < 1e-9 and 0.4 <= ratios[0] < 1


@pytest.mark.parametrize("frames", [-3, 0, 1, 15])
def test_no_room_for_the_words(frames: int) -> None:
    with pytest.raises(DataError, match=f"does not fit into {frames} frames"):
        said("place red at c two now", 0, frames)


# --- what the lips do


def gaps(speech: Speech, person: Identity) -> Array:
    return np.array([Mouth.formed(person, shape).gap / (2 * EYE_X) for shape in speech.shapes])


def test_same_seed_same_speech() -> None:
    one, two, other = (said("lay green in f six soon", seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.shapes, two.shapes)
    assert one.words == two.words and one.sounds == two.sounds
    assert one.words != other.words


def test_lips_close_for_p_b_m_in_every_context() -> None:
    texts = ["apa upu ipi opo epe papa pop", "aba obo bob abby hobby", "ama omo mama my map him come", "wow bumblebee"]
    at_centre, before_open = [], []
    for seed in range(12):
        person = Identity.draw(np.random.default_rng(seed))
        for text in texts:
            speech = said(text, seed)
            gap = gaps(speech, person)
            for earlier, sound in pairwise(speech.sounds):
                if sound.text in ("P", "B", "M"):
                    at_centre.append(gap[frame_at((sound.start_s + sound.end_s) / 2)])
                    if earlier.text in ("AA", "AE", "AO"):
                        before_open.append(gap[frame_at((earlier.start_s + earlier.end_s) / 2)])
    assert len(at_centre) > 250 and len(before_open) > 40
    assert np.percentile(at_centre, 98) < 0.02  # eye distances; below this the lips are drawn as one line
    assert max(at_centre) < 0.1  # closures may be shorter than a frame
    assert np.median(before_open) > 0.12


def test_lips_round_before_uw_starts() -> None:
    early = []
    for seed in range(20):
        rounded, spread = said("set ooze", seed), said("set ease", seed)
        onset = rounded.words[1].start_s
        assert onset == spread.words[1].start_s
        frame = frame_at(onset - 0.05)  # still in the /t/
        early.append(rounded.shapes[frame, ROUND] - spread.shapes[frame, ROUND])
        begun = rounded.shapes[: frame_at(onset - 0.35), ROUND]
        assert np.abs(begun).max(initial=0) < 0.02  # but not at once
    assert np.median(early) > 0.1
    assert min(early) > 0.02


def test_the_jaw_of_a_consonant_is_its_vowels_too() -> None:
    opened = {"heat he heel": 0.0, "hot ha hollow": 0.0}
    for text in opened:
        speeches = [said(text, seed) for seed in range(30)]
        centres = [(s, frame_at((h.start_s + h.end_s) / 2)) for s in speeches for h in s.sounds if h.text == "HH"]
        opened[text] = float(np.mean([speech.shapes[frame, JAW] for speech, frame in centres]))
    assert opened["hot ha hollow"] > opened["heat he heel"] + 0.08


@pytest.mark.parametrize(
    ("text", "sound", "column", "least"),
    [("off over five", "F", BITE, 0.5), ("loathe thin think", "TH", TONGUE, 0.5), ("see essay sassy", "S", UPPER, 0.7),
     ("woo wow away", "W", ROUND, 0.5), ("be see tea", "IY", SPREAD, 0.5), ("pa papa hot", "AA", JAW, 0.5),
     ("papa apple", "P", PRESS, 0.6), ("shoe shy ash", "SH", ROUND, 0.4)],
)  # fmt: skip
def test_each_shape_has_its_sound(text: str, sound: str, column: int, least: float) -> None:
    there, rest = [], []
    for seed in range(10):
        speech = said(text, seed)
        for part in speech.sounds:
            if part.text == sound:
                there.append(speech.shapes[frame_at((part.start_s + part.end_s) / 2), column])
        rest.append(abs(speech.shapes[0, column]))
    assert np.mean(there) > least, SHAPE[column]
    if column != PRESS:  # lips that rest are closed
        assert max(rest) < 0.15


def test_mouth_rests_before_and_after() -> None:
    for seed in range(10):
        person = Identity.draw(np.random.default_rng(seed))
        gap = gaps(said("are our all", seed), person)
        assert max(gap[:3].max(), gap[-3:].max()) < 0.02 < 0.1 < gap.max()


def test_vowels_are_short_before_voiceless_sounds_and_when_unstressed() -> None:
    def vowel_s(word: str, sound: str) -> float:
        found = [s for seed in range(60) for s in said(f"{word} now", seed).sounds if s.text == sound]
        return float(np.mean([s.end_s - s.start_s for s in found]))

    assert vowel_s("bat", "AE") < 0.85 * vowel_s("bad", "AE")
    assert vowel_s("seat", "IY") < 0.85 * vowel_s("seed", "IY")
    assert vowel_s("sofa", "AH") < 0.9 * vowel_s("cub", "AH")


def test_some_people_drop_their_r() -> None:
    ends = [[sound.text for sound in said("four now", seed).sounds][2] for seed in range(40)]
    assert 0.3 < np.mean([sound == "N" for sound in ends]) < 0.9
    assert all("R" in [sound.text for sound in said("red", seed).sounds] for seed in range(10))


def test_dominance_formula_by_hand() -> None:
    """Two equal segments: each alone far from their border, and their mean at it."""
    track = [Segment("AA", 1.0, 1.0), Segment("IY", 1.0, 1.0)]
    shapes = blend(track, 50)
    np.testing.assert_allclose(shapes[5], PHONES["AA"][2], atol=1e-6)
    np.testing.assert_allclose(shapes[45], PHONES["IY"][2], atol=1e-6)
    middle = blend([Segment("AA", 1.01, 1.0), Segment("IY", 1.0, 1.0)], 50)[25, JAW]  # exposed around 1.01 s
    assert middle == pytest.approx((PHONES["AA"][2][JAW] + PHONES["IY"][2][JAW]) / 2, abs=0.01)
    assert np.all(np.diff(shapes[15:35, JAW]) <= 1e-9)
