"""Any Hugging Face masked or causal language model -> scores of texts.

Source: Salazar et al. 2020, arXiv:1910.14659, for the pseudo-log-likelihood of masked models.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from lipread.errors import ConfigError, MissingDependencyError

BATCH = 64  # masked copies that are looked at together
LONGEST = 1024  # pieces of a text that are scored as one; also where a model knows no bound

Part = tuple[torch.Tensor, range]  # ids (L,), and the places of the text among them


class HuggingFaceScorer:
    """Scores texts with a model of the `transformers` library.

    Args:
        name_or_folder: a local folder, or a name for which the library asks the network.
    Raises: MissingDependencyError: `transformers` is absent.
        ConfigError: the model cannot be had, or is neither a masked nor a causal language model.
    """

    def __init__(self, name_or_folder: str) -> None:
        try:
            import transformers
        except ImportError as error:
            raise MissingDependencyError(
                f"the language model {name_or_folder} needs the package transformers; pip install 'lipread[hf]'"
            ) from error
        for name in ("transformers", "huggingface_hub"):
            logging.getLogger(name).setLevel(logging.ERROR)  # what they warn of is in our error
        library: Any = transformers
        library.utils.logging.disable_progress_bar()
        try:
            config = transformers.AutoConfig.from_pretrained(name_or_folder)
            named = config.architectures or []
            architectures = named if isinstance(named, str) else " ".join(named)
            if not ("MaskedLM" in architectures or "CausalLM" in architectures or "LMHead" in architectures):
                raise ConfigError(
                    f"{name_or_folder}: its architectures are {architectures or 'not named'}; "
                    "a masked or a causal language model is wanted"
                )
            self.masked = "MaskedLM" in architectures
            kind: Any = transformers.AutoModelForMaskedLM if self.masked else transformers.AutoModelForCausalLM
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(name_or_folder)
            self._model: Any
            self._model, loading = kind.from_pretrained(name_or_folder, output_loading_info=True)
        except ConfigError:
            raise
        except Exception as error:  # each of the libraries below it has errors of its own for damaged files
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(f"{name_or_folder}: cannot be used as a language model ({said})") from error
        if missing := sorted(loading["missing_keys"]):
            raise ConfigError(
                f"{name_or_folder}: its weights lack {missing[0]} and {len(missing) - 1} more that config.json wants "
                "(the files do not belong together)"
            )
        if self.masked and self._tokenizer.mask_token_id is None:
            raise ConfigError(f"{name_or_folder}: its tokenizer has no mask token, so it cannot score by masking")
        self._model.eval()
        positions = getattr(config, "max_position_embeddings", None) or math.inf
        start = self._tokenizer.bos_token_id
        if start is None:
            start = config.bos_token_id
        self._start: list[int] = [] if start is None or self.masked else [start]
        around: list[int] = self._tokenizer("")["input_ids"] if self.masked else self._start
        used = max(self._tokenizer.vocab_size - 1, *around, self._tokenizer.mask_token_id if self.masked else 0)
        if used >= (getattr(config, "vocab_size", None) or math.inf):  # of what was added later some is never in a text
            raise ConfigError(
                f"{name_or_folder}: its tokenizer numbers pieces up to {used}, but the model has only "
                f"{config.vocab_size} (the files do not belong together)"
            )
        special = len(around) if self.masked else 1
        # some models number their positions from two on
        self._room = max(1, int(min(positions - 2, self._tokenizer.model_max_length, LONGEST)) - special)

    def knows(self, text: str) -> bool:
        """Whether any part of a text is in the vocabulary; without its files a tokenizer has none."""
        return not set(self._pieces(text)) <= {self._tokenizer.unk_token_id}

    @torch.inference_mode()
    def scores(self, texts: Sequence[str]) -> list[float]:
        """Natural-log probability of each text, or its pseudo-log-likelihood; 0 for an empty one.

        A text that is longer than the model's positions is scored in parts that fit.
        """
        parts: list[Part] = []
        rows: list[int] = []  # the text that each belongs to
        for row, text in enumerate(texts):
            new = list(self._parts(text))
            parts += new
            rows += [row] * len(new)
        totals = [0.0] * len(texts)
        for number, score in self._pseudo(parts) if self.masked else self._causal(parts):
            totals[rows[number]] += score
        return totals

    def _pieces(self, text: str) -> list[int]:
        pieces: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return pieces

    def _parts(self, text: str) -> Iterator[Part]:
        """A text in parts that fit, each with what the model wants before and after it."""
        words = self._pieces(text)
        before, after = self._start, []
        if self.masked and words:
            whole = self._tokenizer(text, verbose=False)["input_ids"]
            places = range(len(whole) - len(words) + 1)
            begin = next((place for place in places if whole[place : place + len(words)] == words), 0)
            before, after = whole[:begin], whole[begin + len(words) :]
        for first in range(0, len(words), self._room):
            part = words[first : first + self._room]
            yield torch.tensor([*before, *part, *after]), range(len(before), len(before) + len(part))

    def _causal(self, parts: Sequence[Part]) -> Iterator[tuple[int, float]]:
        for number, (ids, _) in enumerate(parts):
            log_probs = F.log_softmax(self._model(ids[None]).logits[0].float(), -1)  # (L, words)
            yield number, float(log_probs[:-1].gather(1, ids[1:, None]).sum())

    def _pseudo(self, parts: Sequence[Part]) -> Iterator[tuple[int, float]]:
        """Scores of single words: copies of all parts, each with one word masked, go in batches of like length."""
        by_length = sorted(range(len(parts)), key=lambda number: len(parts[number][0]))
        copies = [(number, place) for number in by_length for place in parts[number][1]]
        for first in range(0, len(copies), BATCH):
            numbers, places = zip(*copies[first : first + BATCH], strict=True)
            lengths = torch.tensor([len(parts[number][0]) for number in numbers])
            ids = pad_sequence([parts[number][0] for number in numbers], batch_first=True)  # (n, L)
            each, place = torch.arange(len(numbers)), torch.tensor(places)
            words = ids[each, place]
            ids[each, place] = self._tokenizer.mask_token_id
            valid = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
            logits = self._model(input_ids=ids, attention_mask=valid).logits[each, place].float()  # (n, words)
            yield from zip(numbers, F.log_softmax(logits, -1)[each, words].tolist(), strict=True)
