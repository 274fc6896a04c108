"""What requests share: options, searches, readings, cancelling; examples, the card, and the page's own rules."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import media
from lipread.errors import ConfigError
from lipread.pipeline import load_model
from lipread.web import examples
from lipread.web.about import about_markdown, offline
from lipread.web.server import OpenPages
from lipread.web.service import DECODERS, NO_LM, Options, Service, grammars, lms, open_service
from lipread.web.visitors import Belongings
from lipread.web.why import columns_for
from test_pipeline import spelling_track, teller, tiny

__all__ = ["tiny"]  # a fixture


def reading(name: str) -> Any:
    return SimpleNamespace(name=name)


@pytest.fixture
def service() -> Service:
    return Service(teller())


def test_every_choice_of_the_page_makes_a_search(service: Service) -> None:
    for decoder in DECODERS:
        for lm in lms():
            options = Options(decoder=decoder, lm=lm)
            if decoder == "greedy" and lm != NO_LM:
                with pytest.raises(ConfigError, match="greedy"):
                    options.config()
            else:
                config = options.config()
                assert config.lm == (None if lm == NO_LM else lm)
                automatic = "beam" if config.lm else "greedy"
                assert config.chosen_decoder == (automatic if decoder == "automatic" else decoder)
    weights = [Options(lm="grid-ngram", lm_weight=given).config().lm_weight for given in ("tuned", "", None, "0.3", 2)]
    assert weights == [None, None, None, 0.3, 2.0]
    assert Options(decoder="grammar").config().grammar in grammars()
    assert "grid" in grammars()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(decoder="magic"), "decoder='magic'"),
        (Options(lm="/etc/passwd"), "lm='/etc/passwd' is not known here; choose from none"),
        (Options(lm="owner/name"), "lm='owner/name'"),
        (Options(grammar="../../secret.txt", decoder="grammar"), "grammar="),
        (Options(beam_size=100_000), "beam size 100000 is out of bounds; choose from 1 to 200"),
        (Options(nbest=0), "n-best 0"),
        (Options(lm="grid-ngram", lm_weight=-1.0), "lm_weight=-1.0"),
        (Options(lm="grid-ngram", lm_weight="much"), "lm_weight='much'"),
    ],
)
def test_what_a_visitor_may_not_ask_for(options: Options, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        options.config()


def test_searches_are_made_once_and_few_are_kept(service: Service) -> None:
    beam = Options(decoder="beam", beam_size=7)
    assert service.reader(beam).search is service.reader(beam).search
    assert service.reader(beam).search.name == "beam"
    for size in range(1, 12):
        service.reader(Options(decoder="beam", beam_size=size))
    assert len(service._searches) == 8
    assert service.reader(beam).read_track(spelling_track("bin blue")).raw_text == "bin blue"


def test_searches_are_used_one_after_the_other(service: Service) -> None:
    reader = service.reader(Options(decoder="beam"))
    inside, most = [0], [0]

    class Slow:
        def decode(self, log_probs: Any) -> Any:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            inside[0] -= 1
            return teller().search.decoder.decode(log_probs)

    reader.search.decoder = Slow()
    threads = [threading.Thread(target=reader.read_track, args=(spelling_track("bin blue"),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_readings_are_remembered_for_a_while(service: Service) -> None:
    keys = [service.remember("anna", reading(str(number))) for number in range(20)]
    assert len(set(keys)) == 20
    assert [service.recall(key) is not None for key in keys] == [False] * 8 + [True] * 12
    assert service.recall(keys[-1]).name == "19"  # type: ignore[union-attr]
    assert service.recall(None) is service.recall("") is service.recall("19") is None
    other = service.remember("ben", reading("ben"))
    service.leave("anna")
    assert [service.recall(key) for key in keys] == [None] * 20
    assert service.recall(other).name == "ben"  # type: ignore[union-attr]


def test_who_has_another_connection_has_not_left(service: Service, tmp_path: Path) -> None:
    upload = media.touch(tmp_path / "hash" / "x.mp4")
    belongings = service.belongings = Belongings(tmp_path, left_s=0.2)
    belongings.note("anna", {"path": str(upload)})
    key = service.remember("anna", reading("x"))

    async def heartbeat(scope: Any, receive: Any, send: Any) -> None:
        """One that ends: gradio tells so before its answer is over."""
        await asyncio.sleep(scope["lasts_s"])
        service.leave("anna")

    async def twice() -> None:
        path = "/gradio_api/heartbeat/anna"
        pages = OpenPages(heartbeat, service)
        await asyncio.gather(*(pages({"path": path, "lasts_s": lasts_s}, None, None) for lasts_s in (0, 0.5)))  # type: ignore

    async def both() -> None:
        ended = asyncio.create_task(twice())
        await asyncio.sleep(0.4)  # the older connection is found out to be broken
        assert service.recall(key) and upload.exists()
        await ended

    belongings.leave("anna")  # an even older one was found out before
    asyncio.run(both())
    assert service.recall(key) is None
    end_s = time.monotonic() + 10
    while upload.exists() and time.monotonic() < end_s:
        time.sleep(0.02)
    assert not upload.exists()


def test_pictures_let_readings_pass(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def waited_s() -> float:
        began_s = time.monotonic()
        service.let_pass()
        return time.monotonic() - began_s

    monkeypatch.setattr("lipread.web.service.PASS_S", 2.0)
    service.begin("anna")  # a batch, which may take an hour, is not waited for
    assert waited_s() < 1
    reading = service.begin("ben", alone=True)
    threading.Timer(0.5, service.end, ("ben", reading)).start()
    assert 0.4 < waited_s() < 1.9
    service.begin("ben", alone=True)  # and never longer than is bearable
    assert 1.9 < waited_s() < 10


def test_cancel_stops_ones_own_work_only(service: Service) -> None:
    first, second, other = service.begin("anna"), service.begin("anna"), service.begin("ben")
    assert service.cancel("anna")
    assert (first.is_set(), second.is_set(), other.is_set()) == (True, True, False)
    for session, stop in (("anna", first), ("anna", second), ("ben", other)):
        service.end(session, stop)
    assert not service.cancel("anna")
    assert service._working == {}
    service.end("nobody", other)


def test_at_the_end_all_work_stops_and_none_begins(service: Service) -> None:
    works = [service.begin("anna"), service.begin("ben", alone=True)]
    service.close()
    assert all(work.is_set() for work in [*works, service.begin("carl")])


def test_readers_share_the_networks(service: Service) -> None:
    readers = [service.reader(Options(decoder=decoder)) for decoder in ("greedy", "beam")]
    assert {reader.network for reader in readers} == {service.base.network}
    assert [reader.search.name for reader in readers] == ["greedy", "beam"]
    assert service.base.search not in [reader.search for reader in readers]


def test_a_model_brings_its_card(tiny: Path) -> None:
    assert open_service(str(tiny), "cpu").card == ""
    (tiny.parent / "tiny.md").write_text("# Model card: tiny\n\n![x](http://a/b.png) and [log](../log.md)")
    service = open_service(str(tiny), "cpu")
    shown = about_markdown(service)
    assert "# Model card: tiny" in shown
    assert "b.png" not in shown
    assert "not calibrated" in shown
    assert "30 minutes" in shown
    with pytest.raises(ConfigError, match="'huge'"):
        open_service("huge", "cpu")


def test_cards_stand_on_the_page_without_loading_anything() -> None:
    assert offline("a [b](c.md) [d](https://e.org) ![f](g.png)") == "a b [d](https://e.org) "
    assert offline("# Model card\n\n## Data #1") == "## Model card\n\n### Data #1"  # the page has a title already


def test_examples_are_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, int]] = []

    def draw(path: Path, text: str, number: int) -> bool:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        drawn.append((text, number))
        return False

    monkeypatch.setattr("lipread.drawn.draw_video", draw)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    clips = examples.make_examples(3)
    assert [number for _, number in drawn] == [0, 1, 2]
    assert len({text for text, _ in drawn}) == 3
    assert all(clip.parent == tmp_path / "lipread" / "examples" for clip in clips)
    assert examples.make_examples(3) == clips
    assert len(drawn) == 3
    (tmp_path / "file").write_text("")
    instead = examples.make_examples(1, tmp_path / "file" / "below", tmp_path / "instead")
    assert instead[0].parent == tmp_path / "instead"


def test_mouths_in_a_row_fit_the_window() -> None:
    assert [columns_for(width) for width in (0, 390, 1000, 1280, 1920, 4000)] == [6, 6, 9, 12, 15, 15]


def test_the_shipped_model_loads() -> None:
    pytest.importorskip("gradio")
    service = open_service("small", "cpu")
    assert service.model == "small"
    assert "Model card" in about_markdown(service)
    assert load_model("small", "cpu").alphabet.symbols == service.base.alphabet.symbols
