"""Dropout that goes on in reading: passes that differ, whose mean says how sure a network is.

Shapes: B clips, T frames, V symbols.
Source: Gal & Ghahramani 2016, "Dropout as a Bayesian approximation", arXiv:1506.02142.
"""

from __future__ import annotations

import copy
import threading

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lipread.model.encoder import BertSelfAttention
from lipread.model.fusion import Streams
from lipread.model.network import LipNetwork

SEED = 0  # the same clips give the same numbers
_one_at_a_time = threading.Lock()  # torch has one generator for all threads


class DropoutPasses:
    """A network that reads several times, each time without other features and states.

    The front-ends' convolutions are computed once; dropped are the features of the pixels, what the streams are joined
    to, and all that the encoder and the head drop in training.

    Args:
        network: in eval mode; its weights are shared, it stays as it is.
        passes: how often.
    """

    def __init__(self, network: LipNetwork, passes: int) -> None:
        shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
        self.network, self.passes = copy.deepcopy(network, shared), passes
        for module in self.network.modules():
            if isinstance(module, nn.Dropout | BertSelfAttention):
                module.training = True

    def log_probs(self, streams: Streams, lengths: Tensor, frames: int) -> Tensor:
        """What `LipNetwork.front_ends` gave -> logarithm of the mean probability of all passes, (B, T, V)."""
        device, total = lengths.device, torch.zeros((), device=lengths.device)
        share = self.network.config.frontend.dropout
        with _one_at_a_time, torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(SEED)
            for _ in range(self.passes):
                given = dict(streams)
                if "pixels" in given:
                    features, where = given["pixels"]
                    given["pixels"] = (F.dropout(features, share), where)
                states = self.network.encode_streams(given, lengths, frames)
                total = total + self.network.ctc(states[-1][:, 1:]).float().exp()
        return torch.log(total / self.passes)
