"""CTC log-probabilities -> the text of the best path.

Shapes: T frames, V symbols (0 = blank).
Source: Graves et al. 2006, "Connectionist temporal classification", best path decoding.
"""

from __future__ import annotations

import numpy as np

from lipread.alphabet import Alphabet
from lipread.errors import ConfigError
from lipread.values import Array, Hypothesis


def greedy_decode(log_probs: Array, alphabet: Alphabet) -> Hypothesis:
    """Take the likeliest symbol of each frame, merge repeats, drop blanks.

    Where the likeliest symbols of neighbouring frames are different whole words, the network is in doubt, for nobody
    says two words within 80 ms: all these frames get the word with the most probability in them together.

    Args:
        log_probs: natural-log probabilities, float, shape (T, V); T may be 0.
        alphabet: its size is V.
    Returns: the text with single spaces and none at its ends; its score is the log-probability of the path.
    Raises: ConfigError: the shape does not fit the alphabet, or a value is not a number.
    """
    check_log_probs(log_probs, alphabet)
    best = one_word_at_a_time(log_probs.argmax(axis=1), log_probs, alphabet)  # (T,)
    starts = np.ones(len(best), dtype=bool)
    starts[1:] = best[1:] != best[:-1]
    text = " ".join(alphabet.decode(best[starts].tolist()).split())
    score = float(log_probs[np.arange(len(best)), best].sum())
    return Hypothesis(text=text, score=score, acoustic_score=score)


def one_word_at_a_time(path: Array, log_probs: Array, alphabet: Alphabet) -> Array:
    """A path (T,) in which neighbouring frames never have the symbols of different whole words."""
    path, whole = path.copy(), np.flatnonzero(alphabet.whole_words)
    for frames in np.split(np.arange(len(path)), np.flatnonzero(np.diff(alphabet.whole_words[path])) + 1):
        if len(frames) and path[frames[0]] in whole and (path[frames] != path[frames[0]]).any():
            path[frames] = whole[np.exp(log_probs[frames][:, whole]).sum(axis=0).argmax()]
    return path


def check_log_probs(log_probs: Array, alphabet: Alphabet) -> None:
    """Refuse what cannot be log-probabilities over this alphabet: shape (T, V), no NaN, nothing above zero."""
    if log_probs.ndim != 2 or log_probs.shape[1] != alphabet.size:
        raise ConfigError(
            f"log_probs has shape {tuple(log_probs.shape)}; it must be (frames T, symbols V={alphabet.size})"
        )
    if log_probs.size and not (log_probs <= 1e-3).all():  # also false for NaN
        frame = int(np.argmin((log_probs <= 1e-3).all(axis=1)))
        raise ConfigError(
            f"log_probs[{frame}] has the value {log_probs[frame].max()}; natural-log probabilities are at most 0"
        )
