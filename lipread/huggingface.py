"""Any Hugging Face masked or causal language model -> scores of texts.

Source: Salazar et al. 2020, arXiv:1910.14659, for the pseudo-log-likelihood of masked models.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from lipread.errors import ConfigError, MissingDependencyError

BATCH = 64  # masked copies that are looked at together


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
        for library in ("transformers", "huggingface_hub"):
            logging.getLogger(library).setLevel(logging.ERROR)  # what they warn of is in our error
        try:
            config = transformers.AutoConfig.from_pretrained(name_or_folder)
            architectures = " ".join(config.architectures or [])
            if not ("MaskedLM" in architectures or "CausalLM" in architectures or "LMHead" in architectures):
                raise ConfigError(
                    f"{name_or_folder}: its architectures are {architectures or 'not named'}; "
                    "a masked or a causal language model is wanted"
                )
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(name_or_folder)
            self.masked = "MaskedLM" in architectures
            kind = transformers.AutoModelForMaskedLM if self.masked else transformers.AutoModelForCausalLM
            self._model: Any = kind.from_pretrained(name_or_folder).eval()
        except ConfigError:
            raise
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            said = (str(error) or type(error).__name__).splitlines()[0]
            raise ConfigError(f"{name_or_folder}: cannot be used as a language model ({said})") from error
        if self.masked and self._tokenizer.mask_token_id is None:
            raise ConfigError(f"{name_or_folder}: its tokenizer has no mask token, so it cannot score by masking")

    @torch.inference_mode()
    def scores(self, texts: Sequence[str]) -> list[float]:
        """Natural-log probability of each text, or its pseudo-log-likelihood; 0 for an empty one."""
        sequences = {
            row: self._tokenizer(text, return_tensors="pt")["input_ids"][0]  # (L,)
            for row, text in enumerate(texts)
            if text.strip()
        }
        totals = [0.0] * len(texts)
        for row, score in self._pseudo(sequences) if self.masked else self._causal(sequences):
            totals[row] += score
        return totals

    def _causal(self, sequences: dict[int, torch.Tensor]) -> Iterator[tuple[int, float]]:
        start = self._tokenizer.bos_token_id
        if start is None:
            start = self._model.config.bos_token_id
        for row, ids in sequences.items():
            if start is not None and (not len(ids) or int(ids[0]) != start):
                ids = torch.cat([torch.tensor([start]), ids])
            log_probs = F.log_softmax(self._model(ids[None]).logits[0].float(), -1)  # (L, words)
            yield row, float(log_probs[:-1].gather(1, ids[1:, None]).sum())

    def _pseudo(self, sequences: dict[int, torch.Tensor]) -> Iterator[tuple[int, float]]:
        """Scores of single words: copies of all texts, each with one word masked, go in batches of like length."""
        copies: list[tuple[int, int]] = []  # (row of a text, place of the mask)
        for row, ids in sorted(sequences.items(), key=lambda each: len(each[1])):
            special = self._tokenizer.get_special_tokens_mask(ids.tolist(), already_has_special_tokens=True)
            copies += [(row, place) for place, is_special in enumerate(special) if not is_special]
        for first in range(0, len(copies), BATCH):
            rows, places = zip(*copies[first : first + BATCH], strict=True)
            lengths = torch.tensor([len(sequences[row]) for row in rows])
            ids = pad_sequence([sequences[row] for row in rows], batch_first=True)  # (n, L)
            each, place = torch.arange(len(rows)), torch.tensor(places)
            words = ids[each, place]
            ids[each, place] = self._tokenizer.mask_token_id
            valid = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
            logits = self._model(input_ids=ids, attention_mask=valid).logits[each, place].float()  # (n, words)
            yield from zip(rows, F.log_softmax(logits, -1)[each, words].tolist(), strict=True)
