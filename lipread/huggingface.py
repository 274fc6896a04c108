"""Any Hugging Face masked or causal language model -> scores of texts.

Source: Salazar et al. 2020, arXiv:1910.14659, for the pseudo-log-likelihood of masked models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from lipread.errors import ConfigError, MissingDependencyError

BATCH = 64  # masked copies, or texts, that are looked at together


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
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(name_or_folder)
            config = transformers.AutoConfig.from_pretrained(name_or_folder)
            architectures = " ".join(config.architectures or [])
            if not ("MaskedLM" in architectures or "CausalLM" in architectures or "LMHead" in architectures):
                raise ConfigError(
                    f"{name_or_folder}: its architectures are {architectures or 'not named'}; "
                    "a masked or a causal language model is wanted"
                )
            self.masked = "MaskedLM" in architectures
            kind = transformers.AutoModelForMaskedLM if self.masked else transformers.AutoModelForCausalLM
            self._model: Any = kind.from_pretrained(name_or_folder).eval()
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            said = (str(error) or type(error).__name__).splitlines()[0]
            raise ConfigError(f"{name_or_folder}: cannot be used as a language model ({said})") from error
        if self.masked and self._tokenizer.mask_token_id is None:
            raise ConfigError(f"{name_or_folder}: its tokenizer has no mask token, so it cannot score by masking")

    @torch.inference_mode()
    def scores(self, texts: Sequence[str]) -> list[float]:
        """Natural-log probability of each text, or its pseudo-log-likelihood; 0 for an empty one."""
        return [self._score(text) if text.strip() else 0.0 for text in texts]

    def _score(self, text: str) -> float:
        ids = self._tokenizer(text, return_tensors="pt")["input_ids"][0]  # (L,)
        return self._pseudo(ids) if self.masked else self._causal(ids)

    def _causal(self, ids: torch.Tensor) -> float:
        start = self._tokenizer.bos_token_id
        if start is None:
            start = self._model.config.bos_token_id
        if start is not None and (not len(ids) or int(ids[0]) != start):
            ids = torch.cat([torch.tensor([start]), ids])
        log_probs = F.log_softmax(self._model(ids[None]).logits[0].float(), -1)  # (L, words)
        return float(log_probs[:-1].gather(1, ids[1:, None]).sum())

    def _pseudo(self, ids: torch.Tensor) -> float:
        special = self._tokenizer.get_special_tokens_mask(ids.tolist(), already_has_special_tokens=True)
        places = [place for place, is_special in enumerate(special) if not is_special]
        total = 0.0
        for first in range(0, len(places), BATCH):
            some = torch.tensor(places[first : first + BATCH])
            copies = ids.repeat(len(some), 1)  # (n, L), each with one word masked
            copies[torch.arange(len(some)), some] = self._tokenizer.mask_token_id
            logits = self._model(copies).logits[torch.arange(len(some)), some].float()  # (n, words)
            total += float(F.log_softmax(logits, -1).gather(1, ids[some][:, None]).sum())
        return total
