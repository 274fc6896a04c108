"""What CTC says of texts, by the definition: sums over every path, and over every way to write one text."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from lipread.alphabet import Alphabet
from lipread.values import Array


def log_softmax(scores: Array) -> Array:
    """Any numbers (T, V) -> natural-log probabilities, float32."""
    scores = scores.astype(np.float64)
    return np.asarray(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)), dtype=np.float32)


def frames_needed(symbols: Sequence[int]) -> int:
    """Least frames that CTC needs for a text: its symbols, and a blank between equal neighbours."""
    return len(symbols) + sum(one == other for one, other in itertools.pairwise(symbols))


@st.composite
def log_probs(draw: st.DrawFn, symbols: int, most_frames: int = 4) -> Array:
    """Log-probabilities of few frames: vague ones, sure ones and equal ones."""
    frames = draw(st.integers(0, most_frames))
    numbers = draw(st.lists(st.integers(-6, 6), min_size=frames * symbols, max_size=frames * symbols))
    return log_softmax(np.array(numbers, dtype=np.float64).reshape(frames, symbols))


def probabilities_of_all_texts(scores: Array, alphabet: Alphabet) -> dict[str, float]:
    """Every path there is, collapsed and added up by its text."""
    found: defaultdict[str, float] = defaultdict(float)
    for path in itertools.product(range(alphabet.size), repeat=len(scores)):
        written = "".join(alphabet.symbols[symbol] for symbol, _ in itertools.groupby(path) if symbol)
        found[" ".join(written.split())] += math.exp(sum(scores[t, symbol] for t, symbol in enumerate(path)))
    return dict(found)


def probability_of_text(scores: Array, text: str, alphabet: Alphabet) -> float:
    """Forward over (what is written, last symbol), keeping what can still become the text."""
    mass: dict[tuple[str, int], float] = {("", 0): 1.0}
    for frame in np.exp(scores.astype(np.float64)):
        after: defaultdict[tuple[str, int], float] = defaultdict(float)
        for (written, last), probability in mass.items():
            for symbol in range(alphabet.size):
                longer = written if symbol in (0, last) else (written + alphabet.symbols[symbol]).lstrip()
                while "  " in longer:
                    longer = longer.replace("  ", " ")
                if f"{text} ".startswith(longer):
                    after[longer, symbol] += probability * frame[symbol]
        mass = after
    return sum(probability for (written, _), probability in mass.items() if written.strip() == text)
