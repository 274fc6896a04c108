"""Networks that many processes ask: what comes while they are busy goes through them together.

    worker: LipReader with `AwayNetwork`s ──┐
    worker: LipReader with `AwayNetwork`s ──┼──► `NetworkServer`, threads of their parent: the networks, on a GPU
    ...                                   ──┘

A GPU serves one process better than many: each would hold a context of its own on it, and they take turns. The batch of
a call is whatever came during the call before, from any number of videos; nobody waits for one to fill.

Shapes: B clips, T frames at 25 Hz, N frames that a stream has, D features.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from multiprocessing.context import AuthenticationError
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from lipread.errors import ConfigError
from lipread.model.fusion import Streams
from lipread.model.masks import Frames
from lipread.model.network import LipNetwork
from lipread.values import SAMPLES_PER_FRAME, Array
from lipread.workers import sendable

MOST_FRAMES = 16_000  # that go through a network together
MOST_WAITING = 1024  # workers that may knock at once
CLOSE_S = 10.0  # that a call which is under way at the end may still take

Address = str | tuple[str, int]


@dataclass(frozen=True)
class Call:
    """What is asked of a network.

    Attributes:
        number: of the network.
        wanted: the features of streams, or the states that the encoder makes of features.
        lengths: frames of each clip, (B,).
        frames: T, to which they are padded.
        given: for features: crops, points or sound of every clip, and which clips have them, (B,); for states: name of
            the stream -> features (N, D), and in which frames they are, (B, T).
    """

    number: int
    wanted: Literal["features", "states"]
    lengths: Array
    frames: int
    given: dict[str, tuple[Array, Array]]


_Asked = tuple[Call, "Future[Any]"]


class AwayNetwork(LipNetwork):
    """A network whose front-ends and encoder are in a `NetworkServer`; its head is here.

    Args:
        network: the same one, of which the head is taken.
        line: to the server, shared by all networks of this process.
        number: of the network there.
    """

    def __init__(self, network: LipNetwork, line: Line, number: int) -> None:
        nn.Module.__init__(self)  # without layers of its own
        self.config, self.cls, self.ctc = network.config, network.cls, network.ctc
        self._line, self._number = line, number
        self.eval()

    def front_ends(
        self, crops: Tensor | None, points: Tensor | None, lengths: Tensor, sound: Tensor | None = None,
        *, use_pixels: Tensor | None = None, use_points: Tensor | None = None, use_sound: Tensor | None = None,
    ) -> Streams:
        """As `LipNetwork`."""
        frames = self._frames(crops, points, sound)
        given = {"crops": (crops, use_pixels), "points": (points, use_points), "sound": (sound, use_sound)}
        sent = {
            name: (values.numpy(), np.ones(len(values), bool) if use is None else use.numpy())
            for name, (values, use) in given.items()
            if values is not None
        }
        found = self._line.ask(Call(self._number, "features", lengths.numpy(), frames, sent))
        return {
            name: (torch.from_numpy(features), Frames.of(torch.from_numpy(valid)))
            for name, (features, valid) in found.items()
        }

    def encode_streams(self, streams: Streams, lengths: Tensor, frames: int) -> list[Tensor]:
        """As `LipNetwork`."""
        sent = {name: (features.numpy(), where.valid.numpy()) for name, (features, where) in streams.items()}
        found = self._line.ask(Call(self._number, "states", lengths.numpy(), frames, sent))
        return [torch.from_numpy(states) for states in found]


class Line:
    """A process's line to a `NetworkServer`."""

    def __init__(self, address: Address) -> None:
        self._pipe = Client(address, authkey=multiprocessing.current_process().authkey)
        self._one_at_a_time = threading.Lock()

    def ask(self, call: Call) -> Any:
        """The answer to a call. Raises: what the network raised. ConfigError: its device has too little memory.

        Ends the process where the line is broken.
        """
        with self._one_at_a_time:
            try:
                self._pipe.send(call)
                answer, error = self._pipe.recv()
            except (EOFError, OSError) as broken:
                raise SystemExit("the line to the networks is broken") from broken  # another process may try again
        if isinstance(error, torch.OutOfMemoryError):
            raise ConfigError(f"the GPU has too little memory free ({error}); use --device cpu") from error
        if error is not None:
            raise error
        return answer


def networks_away(address: Address, networks: tuple[LipNetwork, LipNetwork]) -> tuple[LipNetwork, LipNetwork]:
    """What stands for these two, or for one that is both, in the server of this address, which has them too."""
    line, (lips, listener) = Line(address), networks
    away = AwayNetwork(lips, line, 0)
    return away, away if listener is lips else AwayNetwork(listener, line, 1)


class NetworkServer:
    """Answers the calls of other processes; use it in a `with` statement.

    Args:
        networks: in eval mode, on one device.
    Attributes:
        address: for `Line`; only processes started by this one get through.
    """

    def __init__(self, networks: Sequence[LipNetwork]) -> None:
        self._networks = networks
        self._calls: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        key = multiprocessing.current_process().authkey
        try:
            self._listener = Listener(authkey=key, backlog=MOST_WAITING)
        except OSError:  # the folder for temporary files has too long a name for a socket
            self._listener = Listener(("localhost", 0), authkey=key, backlog=MOST_WAITING)
        self.address = cast(Address, self._listener.address)
        self._open = True
        self._threads = [
            threading.Thread(target=work, name="lipread-network", daemon=True) for work in (self._accept, self._answer)
        ]

    def __enter__(self) -> NetworkServer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open = False
        self._calls.put(None)
        with contextlib.suppress(OSError):
            Client(self.address).close()  # knock, so that who waits at the door looks up
        for thread in self._threads:
            thread.join(CLOSE_S)  # whoever asked is gone
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                pipe = self._listener.accept()
            except (AuthenticationError, EOFError, OSError):  # somebody else's, or killed while it knocked
                pipe = None
            if not self._open:
                return
            if pipe is not None:
                threading.Thread(target=self._listen, args=(pipe,), name="lipread-line", daemon=True).start()

    def _listen(self, pipe: Connection) -> None:
        """Pass on the calls of one process, until it ends."""
        with pipe, contextlib.suppress(EOFError, OSError):
            while True:
                answer: Future[Any] = Future()
                self._calls.put((pipe.recv(), answer))
                error = answer.exception()
                pipe.send((None, sendable(error)) if isinstance(error, Exception) else (answer.result(), None))

    def _answer(self) -> None:
        while (first := self._calls.get()) is not None:
            waiting = [first]
            with contextlib.suppress(queue.Empty):
                while (more := self._calls.get_nowait()) is not None:
                    waiting.append(more)
                self._calls.put(None)  # it was the end
            for together in _groups(waiting):
                self._answer_together(together)

    def _answer_together(self, asked: list[_Asked]) -> None:
        calls = [call for call, _ in asked]
        try:
            with torch.inference_mode():
                answers = answers_to(self._networks[calls[0].number], calls)
        except Exception as error:  # memory is short, or one of them is odd: its error is no other video's
            if len(asked) == 1:
                asked[0][1].set_exception(error)
                return
            middle = len(asked) // 2
            self._answer_together(asked[:middle])
            self._answer_together(asked[middle:])
        else:
            for (_, future), answer in zip(asked, answers, strict=True):
                future.set_result(answer)


def _groups(asked: list[_Asked]) -> Iterator[list[_Asked]]:
    """Those that can go through a network together."""
    kinds: dict[tuple[int, str], list[_Asked]] = {}
    for each in asked:
        kinds.setdefault((each[0].number, each[0].wanted), []).append(each)
    for kind in kinds.values():
        group: list[_Asked] = []
        for each in kind:
            longest = max(call.frames for call, _ in [*group, each])
            clips = sum(len(call.lengths) for call, _ in [*group, each])
            if group and clips * longest > MOST_FRAMES:
                yield group
                group = []
            group.append(each)
        yield group


def answers_to(network: LipNetwork, calls: list[Call]) -> list[Any]:
    """Answers to calls that all want features, `Call.given` of the other kind, or all want states, a list of layers
    (B, 1 + T, D)."""
    lengths, frames = np.concatenate([call.lengths for call in calls]), max(call.frames for call in calls)
    ends = np.cumsum([len(call.lengths) for call in calls])
    rows = [slice(end - len(call.lengths), end) for call, end in zip(calls, ends, strict=True)]
    answer = _features if calls[0].wanted == "features" else _states
    return answer(network, calls, rows, torch.from_numpy(lengths).to(network.device), frames)


def _features(
    network: LipNetwork, calls: list[Call], rows: list[slice], lengths: Tensor, frames: int
) -> list[dict[str, tuple[Array, Array]]]:
    streams: dict[str, Tensor | None] = {"crops": None, "points": None, "sound": None}
    use: dict[str, Tensor] = {}
    for name in {name: None for call in calls for name in call.given}:
        sample = next(call.given[name][0] for call in calls if name in call.given)
        steps = SAMPLES_PER_FRAME if name == "sound" else 1
        padded = np.zeros((len(lengths), frames * steps, *sample.shape[2:]), sample.dtype)
        have = np.zeros(len(lengths), bool)
        for call, its in zip(calls, rows, strict=True):
            if name in call.given:
                values, have[its] = call.given[name]
                padded[its, : values.shape[1]] = values
        streams[name] = torch.from_numpy(padded).to(network.device)
        use["use_pixels" if name == "crops" else f"use_{name}"] = torch.from_numpy(have).to(network.device)
    found = network.front_ends(streams["crops"], streams["points"], lengths, streams["sound"], **use)
    answers: list[dict[str, tuple[Array, Array]]] = [{} for _ in calls]
    for name, (all_features, where) in found.items():
        features, valid = all_features.float().cpu().numpy(), where.valid.cpu().numpy()
        ends = np.concatenate([[0], np.cumsum(valid.sum(axis=1))])
        for answer, call, its in zip(answers, calls, rows, strict=True):
            if valid[its].any():
                answer[name] = features[ends[its.start] : ends[its.stop]], valid[its, : call.frames]
    return answers


def _states(
    network: LipNetwork, calls: list[Call], rows: list[slice], lengths: Tensor, frames: int
) -> list[list[Array]]:
    streams: Streams = {}
    for name in {name: None for call in calls for name in call.given}:
        valid = np.zeros((len(lengths), frames), bool)
        for call, its in zip(calls, rows, strict=True):
            if name in call.given:
                valid[its, : call.frames] = call.given[name][1]
        features = np.concatenate([call.given[name][0] for call in calls if name in call.given])
        where = Frames.of(torch.from_numpy(valid).to(network.device))
        streams[name] = torch.from_numpy(features).to(network.device), where
    states = [layer.float().cpu().numpy() for layer in network.encode_streams(streams, lengths, frames)]
    return [[layer[its, : 1 + call.frames] for layer in states] for call, its in zip(calls, rows, strict=True)]
