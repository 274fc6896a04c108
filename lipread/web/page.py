"""The page: what stands where, and which event calls what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from lipread.inputs import VIDEO_SUFFIXES
from lipread.insight import layers_and_heads
from lipread.outputs import USUAL_FORMATS
from lipread.web.about import about_markdown, api_markdown
from lipread.web.handlers import ALL_HEADS, Handlers
from lipread.web.service import DECODERS, LARGEST_BEAM, LONGEST_NBEST, NO_LM, TUNED, Service, grammars, lms
from lipread.web.timeline import small_html, table_html, text_html
from lipread.web.trim import LATEST_S
from lipread.web.visitors import Belongings, Page
from lipread.web.why import MADE

HERE = Path(__file__).parent
CSS = (HERE / "style.css").read_text(encoding="utf-8")
SCRIPTS = ("connection.js", "page.js", "names.js")
HEAD = "".join(f"<script>{(HERE / name).read_text(encoding='utf-8')}</script>" for name in SCRIPTS)
WINDOW = "(...values) => [...values.slice(0, -2), document.body.classList.contains('dark'), window.innerWidth]"
WAITING = "() => [lipreadPending.includes('{}')]"  # also in the queue, where nothing is read yet
SWEEP_S = 60
DOWNLOADS = (*USUAL_FORMATS, "film")
TITLE = "lipread: read lips in a video"


def make_theme() -> gr.themes.Base:
    """System fonts, so that nothing is fetched, and colours with the contrast of WCAG AA."""
    sans = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Noto Sans", "Arial", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace"]
    return gr.themes.Base(primary_hue="blue", neutral_hue="slate", font=sans, font_mono=mono).set(
        button_primary_background_fill="#1d4ed8",
        button_primary_background_fill_hover="#1e40af",
        button_primary_background_fill_dark="#1d4ed8",
        button_primary_background_fill_hover_dark="#2563eb",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        color_accent="#1d4ed8",
        body_text_color_subdued="#475569",
        body_text_color_subdued_dark="#cbd5e1",
        block_label_text_color="#334155",
        block_label_text_color_dark="#e2e8f0",
        block_title_text_color="#334155",
        block_title_text_color_dark="#e2e8f0",
        block_info_text_color="#475569",
        block_info_text_color_dark="#cbd5e1",
        input_placeholder_color="#64748b",
        input_placeholder_color_dark="#94a3b8",
    )


def build_page(service: Service, examples: Sequence[Path] = (), *, address: str = "http://127.0.0.1:7860") -> Page:
    """The whole page over one service. Needs GRADIO_TEMP_DIR to be what uploads may fill."""
    do = Handlers(service)
    limits = service.limits
    how = "the lips, and from the sound where it goes with them" if service.hears else "the lips alone, without sound"
    page: Page
    with Page(title=TITLE, analytics_enabled=False, delete_cache=(SWEEP_S, limits.keep_s)) as page:
        gr.HTML(
            '<header class="lr-header"><h1>lipread</h1><p>Drop a video of someone talking: it is read from '
            f"{how}, on this machine.</p></header>"
        )
        with gr.Tabs():
            with gr.Tab("Read a video", id="read"):
                video, options = _read_tab(do, service, examples)
            with gr.Tab("Many videos", id="many"):
                _many_tab(do, service, options)
            with gr.Tab("About", id="about"):
                gr.Markdown(about_markdown(service), elem_classes="lr-prose")
                gr.Markdown("## From Python\n\n" + api_markdown(address), elem_classes="lr-prose")
        _api(do, service, video, options)
        page.unload(do.leave)
    page.belongings = service.belongings = Belongings(
        Path(page.GRADIO_CACHE), left_s=limits.left_s, shared=page.shared_files()
    )
    page.queue(max_size=limits.waiting, default_concurrency_limit=limits.at_once, api_open=False)  # nobody passes it by
    return page


Components = list[gr.components.Component]


def _read_tab(do: Handlers, service: Service, examples: Sequence[Path]) -> tuple[gr.Video, Components]:
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=320):
            video = gr.Video(
                label="Video", sources=["upload", "webcam"], height=300, elem_id="lr-input", elem_classes="lr-video"
            )
            if examples:
                gr.Examples(
                    [[str(path)] for path in examples], [video], label="Examples: drawn people, not filmed ones",
                    example_labels=[path.stem.split("-", 2)[-1].replace("-", " ") for path in examples],
                    cache_examples=False, api_visibility="private", elem_id="lr-examples",
                )
            with gr.Row():
                what = "Read the video" if service.hears else "Read the lips"
                read = gr.Button(what, variant="primary", elem_id="lr-read")
                cancel = gr.Button("Cancel", variant="secondary", elem_id="lr-cancel")
            modality = gr.Radio(
                [("automatic", "auto"), ("lips", "video"), ("sound", "audio"), ("both", "both")], value="auto",
                label="Read from", info="automatic: the lips, and the sound where it goes with them",
                visible=service.hears, elem_id="lr-modality",
            )
            with gr.Accordion("Only a part of the video", open=False, elem_id="lr-part"), gr.Row():
                start = gr.Number(0, label="Start (seconds)", minimum=0, maximum=LATEST_S, step=0.1, min_width=120)
                end = gr.Number(
                    0, label="End (seconds)", info="0: to its end", minimum=0, maximum=LATEST_S, step=0.1, min_width=120
                )
            options = [*_advanced(), modality]
        with gr.Column(scale=1, min_width=320):
            text = gr.HTML(text_html(""), elem_id="lr-text")
            faces = gr.Gallery(
                label="Several people: choose whose lips to read", columns=4, fit_columns=False, height="auto",
                visible=False, allow_preview=False, interactive=False, buttons=[], object_fit="cover",
                elem_id="lr-faces",
            )
            notes = gr.HTML(elem_id="lr-notes")
            words = gr.HTML(elem_id="lr-words")
            with gr.Column(elem_id="lr-result"):  # hidden until there is one, so that nothing moves when it comes
                changes = gr.HTML(elem_id="lr-changes")
                film = gr.Video(
                    label="With captions", interactive=False, height=300, buttons=[], elem_id="lr-film",
                    elem_classes="lr-video",
                )
                summary = gr.HTML(elem_id="lr-summary")
                with gr.Row(elem_id="lr-files"):
                    copy = gr.Button("Copy", size="sm", min_width=64, elem_id="lr-copy")
                    files = [
                        gr.DownloadButton(name, interactive=False, size="sm", min_width=64, elem_id=f"lr-file-{name}")
                        for name in DOWNLOADS
                    ]
                with gr.Accordion("Other readings and their scores", open=False):
                    nbest = gr.HTML(elem_id="lr-nbest")
    video.change(do.noted, [video], None, queue=False, show_progress="hidden", api_visibility="private")
    key = gr.State(None)
    outputs = [text, notes, words, film, changes, nbest, summary, faces, key, *files]
    inputs = [video, start, end, *options]
    hidden: dict[str, Any] = {
        "api_visibility": "private", "concurrency_id": "read", "concurrency_limit": service.limits.at_once,
        "show_progress_on": [text], "scroll_to_output": False,
        "trigger_mode": "multiple",  # a click while the captioned film is being written takes its place
    }
    reading = read.click(do.read, inputs, outputs, **hidden)
    again = faces.select(do.read_face, inputs, outputs, **hidden)
    waiting = gr.Checkbox(False, visible=False)
    cancel.click(
        do.cancel, [waiting], [notes], queue=False, js=WAITING.format("lr-text"), cancels=[reading, again],
        api_visibility="private", show_progress="hidden",
    )
    copy.click(None, None, None, js="() => lipreadCopy()", api_visibility="private")
    _why(do, service, key, [read.click, faces.select], [reading, again])
    return video, options


def _advanced() -> Components:
    """How the text is found: in the order of the first fields of `Options`."""
    with gr.Accordion("Advanced", open=False, elem_id="lr-advanced"):
        decoder = gr.Dropdown(
            list(DECODERS), value=DECODERS[0], label="Decoder",
            info="automatic: the likeliest symbols, or a beam where a language model is chosen",
        )
        grammar = gr.Dropdown(
            list(grammars()), value="grid", label="Grammar", info="the only sentences that can be read", visible=False
        )
        lm = gr.Dropdown(list(lms()), value=NO_LM, label="Language model", info="prefers texts that make sense to it")
        weight = gr.Dropdown(
            [TUNED, "0.1", "0.3", "0.5", "1", "2"], value=TUNED, label="Weight of the language model",
            info="tuned: what was found best for it; or type a number", allow_custom_value=True, visible=False,
        )
        beam = gr.Slider(1, LARGEST_BEAM, value=50, step=1, label="Beam size", visible=False)
        nbest = gr.Slider(1, LONGEST_NBEST, value=5, step=1, label="Other readings to keep", visible=False)

    def fitting(chosen: str, model: str) -> list[Any]:
        grammatical, beams = chosen == "grammar", chosen == "beam" or (chosen == DECODERS[0] and model != NO_LM)
        return [gr.update(visible=shown) for shown in (grammatical, model != NO_LM, beams, grammatical or beams)]

    gr.on(
        [decoder.change, lm.change], fitting, [decoder, lm], [grammar, weight, beam, nbest], queue=False,
        show_progress="hidden", api_visibility="private",
    )
    return [decoder, grammar, lm, weight, beam, nbest]


def _why(do: Handlers, service: Service, key: gr.State, before: Sequence[Any], after: Sequence[Any]) -> None:
    """Pictures of what the network looked at: the last ones go before a reading, the next ones come after it."""
    layers, heads = layers_and_heads(service.base)
    with gr.Accordion("Why: what the model looked at", open=False, elem_id="lr-why"):
        note = gr.HTML(small_html(MADE), elem_id="lr-why-note")
        strip = _picture("The mouth, as the model sees it 25 times a second, with the words read", "lr-strip")
        with gr.Row():
            crops = _film("The same as a film", "lr-crops")
            salient = _film("Bright: what spoke for or against the words", "lr-salient")
        with gr.Row():
            saliency = _picture("The moment that mattered most to each word", "lr-saliency")
            curves = _picture("How far the mouth opens, and how wide it is", "lr-curves")
        with gr.Row():
            posteriorgram = _picture("How probable each word or letter is over time", "lr-posteriorgram")
            with gr.Column(min_width=320):
                attention = _picture("Attention: which moments each moment looks at", "lr-attention")
                with gr.Row():
                    layer = gr.Dropdown(
                        list(range(1, layers + 1)), value=layers, label="Attention layer", min_width=120
                    )
                    head = gr.Dropdown(
                        [ALL_HEADS, *map(str, range(1, heads + 1))], value=ALL_HEADS, label="Attention head",
                        min_width=120,
                    )
    dark, width = gr.Checkbox(False, visible=False), gr.Number(0, visible=False)
    inputs = [key, layer, head, dark, width]
    outputs = [strip, posteriorgram, attention, curves, saliency, crops, salient, note]
    settings: dict[str, Any] = {
        "js": WINDOW, "api_visibility": "private", "concurrency_id": "why", "concurrency_limit": 1,
        "show_progress": "minimal",
    }
    gr.on(
        before, lambda: (*[None] * 7, small_html(MADE)), None, outputs, queue=False, show_progress="hidden",
        api_visibility="private",
    )
    for reading in after:
        reading.then(do.why, inputs, outputs, trigger_mode="multiple", **settings)  # also while others are being made
    for choice in (layer, head):
        choice.input(do.attention, inputs, [attention], trigger_mode="multiple", **settings)


def _picture(caption: str, elem_id: str) -> gr.Image:
    """A picture below its caption: gradio's own label would lie over it."""
    with gr.Column(min_width=320):
        gr.HTML(f'<h2 class="lr-caption">{caption}</h2>')
        return gr.Image(
            label=caption, show_label=False, interactive=False, buttons=["fullscreen"], elem_id=elem_id,
            elem_classes="lr-picture", container=False,
        )


def _film(caption: str, elem_id: str) -> gr.Video:
    with gr.Column(min_width=320):
        gr.HTML(f'<h2 class="lr-caption">{caption}</h2>')
        return gr.Video(
            label=caption, show_label=False, interactive=False, buttons=[], loop=True, height=300, elem_id=elem_id
        )


def _many_tab(do: Handlers, service: Service, options: Components) -> None:
    limits = service.limits
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=320):
            files = gr.File(
                label=f"Videos, or a zip of them (up to {limits.files})", file_count="multiple",
                file_types=[*sorted(VIDEO_SUFFIXES), ".zip"], height=240, elem_id="lr-many-files",
            )
            captioned = gr.Checkbox(False, label="Also films with captions (takes longer)")
            first = "“Read from”, " if service.hears else ""
            gr.HTML(small_html(f"{first}decoder and language model are those that are chosen in the first tab."))
            with gr.Row():
                start = gr.Button("Read all", variant="primary", elem_id="lr-many-read")
                cancel = gr.Button("Cancel", elem_id="lr-many-cancel")
        with gr.Column(scale=2, min_width=320):
            status = gr.HTML(elem_id="lr-many-notes")
            table = gr.HTML(table_html([]), elem_id="lr-table", min_height=80)
            result = gr.File(label="All results in one zip", interactive=False, height=110, elem_id="lr-zip")
    outputs = [table, result, status]
    running = start.click(
        do.read_many, [files, captioned, *options], outputs, api_visibility="private",
        concurrency_id="batch", concurrency_limit=1, show_progress_on=[status], scroll_to_output=False,
    )
    waiting = gr.Checkbox(False, visible=False)
    cancel.click(
        do.cancel_many, [waiting], outputs, queue=False, js=WAITING.format("lr-many-notes"), cancels=[running],
        api_visibility="private", show_progress="hidden",
    ).then(
        do.finished, None, outputs, concurrency_id="finished", concurrency_limit=None, api_visibility="private",
        show_progress="hidden",
    )
    files.change(do.noted, [files], None, queue=False, show_progress="hidden", api_visibility="private")


def _api(do: Handlers, service: Service, video: gr.Video, options: Components) -> None:
    """Endpoints with names and types; everything else is private to the page."""
    with gr.Column(visible=False):
        speaker = gr.Textbox("auto", label="Speaker", info="auto, largest, or a number from 0, left to right")
        start, end = gr.Number(0, label="Start (seconds)"), gr.Number(0, label="End (seconds), 0: the video's end")
        text, details = gr.Textbox(label="Text"), gr.JSON(label="Details")
        files = gr.File(label="Videos or zip archives", file_count="multiple")
        captioned = gr.Checkbox(False, label="Captioned films too")
        table, result = gr.JSON(label="Table"), gr.File(label="Results")
        one, many = gr.Button("transcribe"), gr.Button("batch")
    one.click(
        do.transcribe, [video, speaker, start, end, *options], [text, details], api_name="transcribe",
        concurrency_id="read", concurrency_limit=service.limits.at_once,
    )
    many.click(
        do.batch, [files, captioned, *options], [table, result], api_name="batch",
        concurrency_id="batch", concurrency_limit=1,
    )
