"""What all requests share: the model, searches by their options, readings to look back at, who wants to stop."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import secrets
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lipread.config import SearchConfig, make_config
from lipread.decoding.search import Found, Search
from lipread.errors import ConfigError
from lipread.hearing import MODALITIES, Modality
from lipread.language_models import bundled_language_models, make_search
from lipread.pipeline import LipReader, checkpoint_path, load_model
from lipread.values import Array
from lipread.web.limits import Limits

if TYPE_CHECKING:
    from lipread.web.many import Batch
    from lipread.web.reading import Reading
    from lipread.web.visitors import Belongings

NO_LM = "none"
TUNED = "tuned"
AUTOMATIC = "automatic"
DECODERS = (AUTOMATIC, "greedy", "beam", "grammar")
SEARCHES_KEPT = 8
LARGEST_BEAM = 200
LONGEST_NBEST = 20
TRIM_EVERY_S = 5.0
PASS_S, POLL_S = 10.0, 0.05


@dataclass(frozen=True)
class Options:
    """How a visitor wants a video to be read; names only, never paths."""

    decoder: str = AUTOMATIC
    grammar: str = "grid"
    lm: str = NO_LM
    lm_weight: str | float | None = TUNED
    beam_size: float = 50  # as sliders give them
    nbest: float = 5
    modality: Modality = "auto"

    def config(self) -> SearchConfig:
        """The search options that this asks for.

        Raises: ConfigError: a name is not bundled, a number is out of bounds, or the options do not fit one another.
        """
        checks: tuple[tuple[str, str, tuple[str, ...]], ...] = (
            ("decoder", self.decoder, DECODERS), ("grammar", self.grammar, grammars()), ("lm", self.lm, lms()),
            ("modality", self.modality, MODALITIES),
        )
        for name, value, known in checks:
            if value not in known:
                raise ConfigError(f"{name}={value!r} is not known here; choose from {', '.join(known)}")
        for name, number, most in (("beam size", self.beam_size, LARGEST_BEAM), ("n-best", self.nbest, LONGEST_NBEST)):
            if not 1 <= number <= most:
                raise ConfigError(f"{name} {number:g} is out of bounds; choose from 1 to {most}")
        given: dict[str, Any] = {}
        if self.decoder != AUTOMATIC:
            given["decoder"] = self.decoder
        if self.decoder == "grammar":
            given["grammar"] = self.grammar
        if self.lm != NO_LM:
            given["lm"] = self.lm
            if self.lm_weight not in (TUNED, None, ""):
                given["lm_weight"] = self.lm_weight  # a number, maybe as text
        chosen = make_config(SearchConfig, given, origin="advanced options").chosen_decoder
        if chosen == "beam":
            given["beam_size"] = int(self.beam_size)
        if chosen != "greedy":
            given["nbest"] = int(self.nbest)
        return make_config(SearchConfig, given, origin="advanced options")


def grammars() -> tuple[str, ...]:
    """Names of the grammars that ship."""
    import lipread.decoding

    folder = Path(lipread.decoding.__file__).parent / "grammars"
    return tuple(sorted(path.stem for path in folder.glob("*.txt")))


def lms() -> tuple[str, ...]:
    """Names of the language models that ship, and that of none."""
    return (NO_LM, *bundled_language_models())


class SharedSearch(Search):
    """A search that requests use one after the other: decoders keep tables that they fill as they go."""

    def __init__(self, search: Search) -> None:
        super().__init__(
            search.alphabet, search.decoder, search.rescore, nbest=search.nbest, name=search.name,
            sentences=search.sentences,
        )
        self._one_at_a_time = threading.Lock()

    def read(self, log_probs: Array, before: str) -> Found:
        """As `Search.read`."""
        with self._one_at_a_time:
            return super().read(log_probs, before)


@dataclass
class Service:
    """One loaded model and what its visitors share.

    Attributes:
        base: reads greedily.
        limits: what visitors may ask for.
        card: the model card, Markdown; empty where the model has none.
        belongings: whose files are whose; None where nobody looks.
    """

    base: LipReader
    limits: Limits = field(default_factory=Limits)
    card: str = ""
    belongings: Belongings | None = None
    _batches: dict[str, Batch] = field(default_factory=dict)  # the last of each session
    _searches: OrderedDict[SearchConfig, SharedSearch] = field(default_factory=OrderedDict)
    _readings: OrderedDict[str, tuple[str, Reading]] = field(default_factory=OrderedDict)
    _working: dict[str, dict[threading.Event, bool]] = field(default_factory=dict)  # session: what stops it: alone?
    _open: Counter[str] = field(default_factory=Counter)  # how many connections hold a session's page open
    _closed: bool = False
    _trimmed_s: float = field(default_factory=time.monotonic)  # when freed memory was given back
    _loading: threading.Lock = field(default_factory=threading.Lock)  # guards the searches
    _lock: threading.RLock = field(default_factory=threading.RLock)  # guards all else

    @property
    def model(self) -> str:
        """Name of the loaded checkpoint."""
        return self.base.checkpoint.name

    @property
    def hears(self) -> bool:
        """Whether it can read from sound too."""
        return self.base.hears

    def reader(self, options: Options) -> LipReader:
        """A reader with these options; searches that were used lately are kept.

        Raises: ConfigError, DataError, MissingDependencyError: as `make_search`.
        """
        config = options.config()
        with self._loading:  # held while a language model is loaded: nobody but those who want another one waits
            if config not in self._searches:
                self._searches[config] = SharedSearch(make_search(config, self.base.alphabet))
            self._searches.move_to_end(config)
            while len(self._searches) > SEARCHES_KEPT:
                self._searches.popitem(last=False)
            reader = copy.copy(self.base)  # with the same networks: folding them takes time, and memory
            reader.search = self._searches[config]
            return reader

    def remember(self, session: str, reading: Reading) -> str:
        """Keep a reading for a while -> a key that nobody can guess; the oldest ones are forgotten."""
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._readings[key] = (session, reading)
            while len(self._readings) > self.limits.remembered:
                self._readings.popitem(last=False)
        return key

    def recall(self, key: str | None) -> Reading | None:
        """The reading of a key, or None where it was forgotten."""
        with self._lock:
            found = self._readings.get(key or "")
            return found[1] if found else None

    def begin(self, session: str, *, alone: bool = False) -> threading.Event:
        """Note that work for a session begins -> is set when the session wants it to stop.

        Args:
            alone: takes the place of work that the session began alone before.
        """
        stop = threading.Event()
        with self._lock:
            if self._closed:
                stop.set()
            working = self._working.setdefault(session, {})
            for other, replaced in working.items():
                if alone and replaced:
                    other.set()
            working[stop] = alone
        return stop

    def end(self, session: str, stop: threading.Event) -> None:
        """Note that the work that `begin` noted is over."""
        with self._lock:
            self._working.get(session, {}).pop(stop, None)
            if not self._working.get(session):
                self._working.pop(session, None)
            due = time.monotonic() - self._trimmed_s >= TRIM_EVERY_S
            if due:
                self._trimmed_s = time.monotonic()
        if due:
            give_back_memory()

    def let_pass(self) -> None:
        """Wait while videos are read one by one, a few seconds at most: pictures of what was read come after texts."""
        until = time.monotonic() + PASS_S
        while time.monotonic() < until:
            with self._lock:
                if not any(alone for working in self._working.values() for alone in working.values()):
                    return
            time.sleep(POLL_S)

    def cancel(self, session: str, *, alone: bool | None = None) -> bool:
        """Stop the work of a session -> whether there was any; `alone`: only what began so, or only the rest."""
        with self._lock:
            working = self._working.get(session, {})
            stops = [stop for stop, began in working.items() if alone is None or began == alone]
        for stop in stops:
            stop.set()
        return bool(stops)

    def close(self) -> None:
        """Stop all work, and what begins from now on: the program ends."""
        with self._lock:
            self._closed = True
            for session in self._working:
                self.cancel(session)

    def begin_batch(self, session: str, batch: Batch) -> None:
        """Note a batch of a session, so that it can ask for what was finished when it cancels it."""
        with self._lock:
            last = self._batches.pop(session, None)
            self._batches[session] = batch
        if last is not None:
            last.discard()

    def take_batch(self, session: str) -> Batch | None:
        """The last batch of a session where it was cancelled; it is the caller's to discard."""
        with self._lock:
            batch = self._batches.get(session)
            return self._batches.pop(session) if batch is not None and batch.stop.is_set() else None

    @contextlib.contextmanager
    def page_open(self, session: str) -> Iterator[None]:
        """While a connection holds a visitor's page open: who had left is back."""
        with self._lock:
            self._open[session] += 1
        if self.belongings is not None:
            self.belongings.note(session, [], here=True)
        try:
            yield
        finally:
            with self._lock:
                self._open[session] -= 1
                if not self._open[session]:
                    del self._open[session]

    def leave(self, session: str) -> None:
        """The visitor has gone: stop the work, forget the readings and what was finished, delete the files soon.

        Not where the page has another connection: one that broke may be found out late.
        """
        with self._lock:
            if self._open[session] > 1:  # the one that ended is still counted
                return
        self.cancel(session)
        with self._lock:
            for key in [key for key, (owner, _) in self._readings.items() if owner == session]:
                del self._readings[key]
            batch = self._batches.pop(session, None)
        if batch is not None:
            batch.discard()
        if self.belongings is not None:
            self.belongings.leave(session)


def give_back_memory() -> None:
    """Return what requests have freed to the system: glibc keeps it in pieces, and takes more and more."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library does it by itself
        ctypes.CDLL(None).malloc_trim(0)


def open_service(model: str, device: str, limits: Limits | None = None) -> Service:
    """Load a model and its card. Raises: as `load_model`."""
    reader = load_model(model, device)
    reader.require_text()
    own, heard = checkpoint_path(model).with_suffix(".md"), reader.checkpoint.with_sound
    cards = [card for card in (own, heard and own.with_name(f"{heard.name}.md")) if card and card.is_file()]
    return Service(reader, limits or Limits(), "\n\n".join(card.read_text(encoding="utf-8") for card in cards))
