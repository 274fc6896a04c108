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

    Args:
        log_probs: natural-log probabilities, float, shape (T, V); T may be 0.
        alphabet: its size is V.
    Returns: the text with single spaces and none at its ends; its score is the log-probability of the path.
    Raises: ConfigError: the shape does not fit the alphabet, or a value is not a number.
    """
    check_log_probs(log_probs, alphabet)
    best = log_probs.argmax(axis=1)  # (T,)
    starts = np.ones(len(best), dtype=bool)
    starts[1:] = best[1:] != best[:-1]
    text = " ".join(alphabet.decode(best[starts].tolist()).split())
    score = float(log_probs.max(axis=1).sum()) if len(best) else 0.0
    return Hypothesis(text=text, score=score, acoustic_score=score)


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
