"""The model card of the loaded checkpoint, and how to use the page as an API -> Markdown."""

from __future__ import annotations

import re

from lipread.web.limits import Limits
from lipread.web.service import Service

API_EXAMPLE = """from gradio_client import Client, handle_file

text, details = Client("{address}").predict(handle_file("talk.mp4"), api_name="/transcribe")
"""


def about_markdown(service: Service) -> str:
    """What the page does with a video, and what the model knows and does not."""
    card = offline(service.card) or f"There is no model card beside the checkpoint `{service.model}`."
    return f"{_privacy(service.limits)}\n\n{_confidence(service)}\n\n{card}"


def _privacy(limits: Limits) -> str:
    return (
        "Videos are read on this machine and sent nowhere. Uploads and results are deleted "
        f"{limits.left_s:.0f} seconds after you leave the page, in any case after {limits.keep_s // 60} minutes, and "
        f"when the app ends. Up to {limits.upload_mb} MB and "
        f"{limits.duration_s:.0f} s per video; the `lipread` command has no limits."
    )


def _confidence(service: Service) -> str:
    if service.base.checkpoint.temperature != 1.0:
        return "Word confidences were calibrated on clips that the training did not see."
    return "Word confidences of this checkpoint are not calibrated: take them as an order, not as probabilities."


def api_markdown(address: str) -> str:
    """How to call the page from Python."""
    return f"```python\n{API_EXAMPLE.format(address=address)}```"


def offline(markdown: str) -> str:
    """A card as it can stand on the page: no pictures from elsewhere, no links to files that are not served.

    The page has a title already, so headings are one level lower.
    """
    without_pictures = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", markdown)
    lowered = re.sub(r"^(#{1,5} )", r"#\1", without_pictures, flags=re.MULTILINE)
    return re.sub(r"\[([^\]]+)\]\((?!https?://)[^)]*\)", r"\1", lowered)
