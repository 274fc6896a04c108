"""More than 400 files that a video reader should not trust, made by seed from a few drawn clips.

Some are odd but whole, most are damaged, some are no files at all. `python tests/hostile.py FOLDER` writes them.
"""

from __future__ import annotations

import fnmatch
import os
import random
import shutil
import socket
import struct
import sys
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

import media
from shell import head_pictures, talking

SEED = 6
BASES = {  # file -> how a whole one is written
    "a.mp4": {"options": {"g": "4"}},
    "b.mkv": {"options": {"g": "4", "bf": "2"}},
    "c.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "ticks_hz": 25},
    "d.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "e.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "f.gif": {"codec": "gif", "pix_fmt": "rgb8", "ticks_hz": 25},
    "g.ts": {"codec": "mpeg2video", "ticks_hz": 25},
    "h.mp4": {"sound": media.tone(220, 0.5, 16_000), "options": {"crf": "1"}},
}
SOUNDS = {  # file -> codec, how many frames of picture beside half a second of sound
    "aac.mp4": ("aac", 12), "flac.mkv": ("flac", 12), "mp2.ts": ("mp2", 12), "mp3.avi": ("libmp3lame", 12),
    "pcm.wav": ("pcm_s16le", 0), "opus.ogg": ("libopus", 0), "aac.m4a": ("aac", 0),
}  # fmt: skip
MOVING = {"options": {"crf": "1"}}  # H.264 would take the small movements of the lips away
CUTS = (0.01, 0.1, 0.3, 0.6, 0.9, 0.99)
WHOLE = (  # patterns of what is odd at most: a good reader reads it
    "whole/*", "names/*", "renamed/*", "odd_times/*", "odd_pictures/*", "no_pictures/one.*", "no_pictures/sound.*",
    "no_pictures/many.mkv", "sounds/whole-*", "odd_sounds/*", "no-files/good.mp4", "no-files/up.mp4", "*/circle/*",
    "scrambled/twice-*", "sounds/*.mkv", "sounds/*.ts", "sounds/*.avi", "sounds/zeros-aac.mp4", "sounds/1*-aac.mp4",
)  # fmt: skip
DAMAGED = (  # ... but for these, and those too small for a face
    "odd_times/backwards.ts", "odd_times/shuffled.ts", "odd_pictures/20000.*", "odd_pictures/65500.*",
    "odd_sounds/wav-*", "odd_pictures/[12]x[12].mkv", "odd_pictures/15x15.mkv", "odd_pictures/4x2000.mkv",
    "odd_pictures/2000x4.mkv", "no-files/circle/*/too-deep.mp4",
)  # fmt: skip
NAMES = (
    " leading and trailing .mp4", "two\nlines.mp4", "tab\there.mp4", "🎬👩‍🦰.mp4", "-o.mp4", "--help.mp4", "-",
    "a;b&c|d.mp4", "$(touch pwned).mp4", "`id`.mp4", "%s%n%d.mp4", "it's \"quoted\".mp4", "back\\slash.mp4",
    "http:x.mp4", "pipe:0", "concat:a|b.mp4", "file:x.mp4", "[red]bold.mp4", "\x1b[31mred.mp4", "..mp4", "...", "~.mp4",
    "*.mp4", "a[1-3]?.mp4", "#hash.mp4", "?query=1.mp4", "con.mp4", "nul", "%2e%2e%2fx.mp4", "x.tar.gz.mp4",
    "no suffix", "x.json", "x.txt.mp4", "lipread-run.jsonl", ".hidden.mp4", "ü" * 120 + ".mp4", "\u202egnp.mp4",
    "e\u0301.mp4", "é.mp4", "TALK.MP4", "talk.mp4", "Talk.mp4", "\udcff\udcfe.mp4",
)  # fmt: skip
_CLUSTER = b"\x1f\x43\xb6\x75"  # what a stretch of mkv begins with
_FLV_PICTURE = 9  # kind of a tag
_OLD_CODEC: dict[str, dict[str, Any]] = {
    ".avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "ticks_hz": 25}, ".ts": {"codec": "mpeg2video", "ticks_hz": 25},
}  # fmt: skip


def make_corpus(folder: Path, seed: int = SEED) -> list[Path]:
    """Write the files into a folder of their own; returns the path of each, in order."""
    bases = folder / "whole"
    for name, options in BASES.items():
        talking(bases / name, **options)  # type: ignore[arg-type]
    found = [bases / name for name in BASES]
    for make in (
        _cut, _flipped, _scrambled, _sizes_changed, _renamed, _odd_times, _odd_pictures, _no_pictures, _sounds,
        _odd_sounds, _texts,
    ):  # fmt: skip
        part = folder / make.__name__.strip("_")
        part.mkdir()
        random_of = random.Random(f"{seed} {make.__name__}")
        found += [path for path in make(bases, part, random_of) if path not in found]
    return found + list(_named(bases, folder / "names")) + list(_no_files(bases, folder / "no-files"))


def is_whole(path: Path) -> bool:
    """Whether a good reader reads a file of the corpus; of the others nothing is expected but an answer."""
    below = str(Path(*path.parts[-2:])) if "circle" not in path.parts else str(path)[str(path).index("no-files") :]
    return any(fnmatch.fnmatchcase(below, each) for each in WHOLE) and not any(
        fnmatch.fnmatchcase(below, each) for each in DAMAGED
    )


def _cut(bases: Path, folder: Path, rng: random.Random) -> Iterator[Path]:
    """Cut off at the end, or at the beginning."""
    for name in BASES:
        content = (bases / name).read_bytes()
        for share in CUTS:
            yield _written(folder / f"{share}-{name}", content[: int(len(content) * share)])
        yield _written(folder / f"headless-{name}", content[rng.randrange(1, len(content) // 2) :])


def _flipped(bases: Path, folder: Path, rng: random.Random) -> Iterator[Path]:
    """One bit in so many bytes is flipped, or some in the first kilobyte."""
    for name in BASES:
        content = (bases / name).read_bytes()
        for every in (20, 200, 2000, 20_000):
            changed = bytearray(content)
            for _ in range(max(1, len(content) // every)):
                changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            yield _written(folder / f"{every}-{name}", changed)
        for number in range(6):
            changed = bytearray(content)
            for _ in range(4):
                changed[rng.randrange(min(1024, len(content)))] ^= 1 << rng.randrange(8)
            yield _written(folder / f"head{number}-{name}", changed)


def _scrambled(bases: Path, folder: Path, rng: random.Random) -> Iterator[Path]:
    """Stretches of zeros, of noise, twice, in another order; encrypted at the start, or after the type."""
    for name in BASES:
        content = (bases / name).read_bytes()
        middle, length = len(content) // 2, max(16, len(content) // 10)
        noise = rng.randbytes(length)
        yield _written(folder / f"zeros-{name}", content[:middle] + bytes(length) + content[middle + length :])
        yield _written(folder / f"noise-{name}", content[:middle] + noise + content[middle + length :])
        yield _written(folder / f"twice-{name}", content + content)
        yield _written(folder / f"halves-{name}", content[middle:] + content[:middle])
        key = rng.randbytes(16)
        locked = bytes(byte ^ key[index % 16] for index, byte in enumerate(content[:4096]))
        yield _written(folder / f"locked-{name}", locked + content[4096:])
    for name in ("a.mp4", "d.mov", "h.mp4"):
        content = (bases / name).read_bytes()
        (kept,) = struct.unpack_from(">I", content)
        assert content[4:8] == b"ftyp"
        yield _written(folder / f"encrypted-{name}", content[:kept] + rng.randbytes(len(content) - kept))
        begin, end = content.find(b"mdat") + 4, content.find(b"moov") - 4
        assert kept < begin < end
        yield _written(folder / f"drm-{name}", content[:begin] + rng.randbytes(end - begin) + content[end:])
    yield _written(folder / "noise.mp4", rng.randbytes(50_000))


def _sizes_changed(bases: Path, folder: Path, rng: random.Random) -> Iterator[Path]:
    """MP4 boxes and tables that say they are larger or hold more than they do."""
    content = (bases / "a.mp4").read_bytes()
    for box in (b"moov", b"mdat", b"trak", b"stsd", b"stts", b"stsz", b"stco", b"stsc", b"avcC", b"tkhd", b"mvhd"):
        at = content.find(box)
        for value in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF):
            field = at - 4 if value < 2 or rng.random() < 0.5 else at + 12  # its size, or its first count
            changed = content[:field] + struct.pack(">I", value) + content[field + 4 :]
            yield _written(folder / f"{box.decode()}-{value:x}.mp4", changed)


def _renamed(bases: Path, folder: Path, rng: random.Random) -> Iterator[Path]:
    """Another suffix than the content's."""
    for name, other in zip(BASES, ("avi", "mp4", "gif", "ts", "mov", "mkv", "webm", "txt"), strict=True):
        yield _written(folder / f"{name}.{other}", (bases / name).read_bytes())


def _odd_times(bases: Path, folder: Path, rng: random.Random) -> Iterator[Path]:
    """Rates from 0.1 to 1000, times that are negative, stand still, jump, go back."""
    for fps in (Fraction(1, 10), Fraction(1, 2), 1, 7, 240, 1000):
        frames = 3 if fps < 1 else 12  # each is held for up to 10 s
        yield talking(folder / f"{float(fps)}fps.mp4", frames=frames, fps=fps, ticks_hz=90_000)
        yield talking(folder / f"{float(fps)}fps.mkv", frames=frames, fps=fps, ticks_hz=1000)
    for start_s in (3600.0, 90_000.0):
        yield talking(folder / f"from{start_s}.mkv", start_s=start_s)
    kept = {"start_s": -3.0, "container_options": {"avoid_negative_ts": "disabled"}}  # else the muxer moves them to 0
    yield talking(folder / "negative.ts", **kept)
    yield talking(folder / "negative.mpg", codec="mpeg2video", ticks_hz=25, **kept)
    yield talking(folder / "negative.mkv", ticks_hz=1000, **kept)  # it is read as having no times at all
    yield talking(folder / "negative.flv", codec="flv", ticks_hz=1000, **kept)  # ... and it as 24 days
    steps = {
        "jump": [0.04 * i + (5000 if i > 5 else 0) for i in range(12)],
        "hour-apart": [3600.0 * i for i in range(12)],
        "still": [0.001 * i for i in range(12)],
        "bursts": [0.5 * (i // 4) + 0.002 * (i % 4) for i in range(12)],
    }
    for name, times_s in steps.items():
        yield talking(folder / f"{name}.mp4", times_s=times_s)
        yield talking(folder / f"{name}.mkv", times_s=times_s, ticks_hz=1000)
    yield _with_flv_times(folder / "back.flv", [40 * i for i in range(8)] + [40 * i for i in range(4)])
    yield _with_flv_times(folder / "down.flv", [40 * i for i in range(12, 0, -1)])
    yield _with_flv_times(folder / "far-back.flv", [60_000 + 40 * i if i < 6 else 40 * i for i in range(12)])
    short = {"cluster_time_limit": "80"}
    forwards = talking(
        folder / "down.mkv", codec="mjpeg", pix_fmt="yuvj420p", ticks_hz=1000, container_options=short
    )  # fmt: skip
    head, *clusters = forwards.read_bytes().split(_CLUSTER)
    yield _written(folder / "down.mkv", _CLUSTER.join([head, *reversed(clusters)]))
    whole = (bases / "g.ts").read_bytes()
    packets = [whole[at : at + 188] for at in range(0, len(whole), 188)]
    yield _written(folder / "backwards.ts", b"".join(reversed(packets)))
    rng.shuffle(packets)
    yield _written(folder / "shuffled.ts", b"".join(packets))


def _odd_pictures(bases: Path, folder: Path, rng: random.Random) -> Iterator[Path]:
    """From 1x1 to 8K and beyond, turned, squeezed, with 10 bits, alpha, HDR, no colour, changing in size."""
    for width, height in ((1, 1), (2, 2), (15, 15), (16, 16), (4, 2000), (2000, 4)):
        flat = [np.full((height, width, 3), 99, np.uint8)] * 3
        options = {"codec": "ffv1", "pix_fmt": "yuv444p"}
        yield media.write_video(folder / f"{width}x{height}.mkv", flat, **options)  # type: ignore[arg-type]
    for width, height in ((7680, 4320), (4320, 7680)):
        large = [np.full((height, width, 3), 40 * i, np.uint8) for i in range(2)]
        yield media.write_video(folder / f"{width}x{height}.mp4", large, options={"preset": "ultrafast"})
    for side in (20_000, 65_500):  # a few bytes that unpack to gigabytes
        yield _written(folder / f"{side}.gif", _gif_of(side))
        yield _written(folder / f"{side}.png", _png_of(side))
    for turn in (90, 180, 270, 33):  # upright when it is shown, or nearly so
        lying = [np.rot90(picture, -(turn // 90)) for picture in head_pictures()[:12]]
        yield media.write_video(folder / f"turned{turn}.mp4", lying, rotation_deg=turn)
    yield talking(folder / "flat-matrix.mp4", matrix=[0] * 9)
    for aspect in (Fraction(1, 60), Fraction(16, 11), Fraction(60, 1)):
        yield talking(folder / f"aspect{aspect.numerator}-{aspect.denominator}.mp4", pixel_aspect=aspect)
    formats = {
        "ten-bit.mp4": {"pix_fmt": "yuv420p10le"},
        "full-colour.mp4": {"pix_fmt": "yuv444p"},
        "rgb.mp4": {"codec": "libx264rgb", "pix_fmt": "rgb24"},
        "hdr.mp4": {
            "codec": "libx265", "pix_fmt": "yuv420p10le",
            "options": {"x265-params": "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:log-level=none"},
        },
        "alpha.webm": {"codec": "libvpx-vp9", "pix_fmt": "yuva420p", "options": {"cpu-used": "8"}},
        "alpha.mov": {"codec": "prores_ks", "pix_fmt": "yuva444p10le"},
        "alpha.png.mov": {"codec": "png", "pix_fmt": "rgba"},
        "grey.mkv": {"codec": "ffv1", "pix_fmt": "gray"},
        "sixteen-bit.mkv": {"codec": "ffv1", "pix_fmt": "gray16le"},
        "raw.avi": {"codec": "rawvideo", "pix_fmt": "bgr24", "ticks_hz": 25},
    }  # fmt: skip
    for name, options in formats.items():
        yield talking(folder / name, **options)  # type: ignore[arg-type]
    one, two = folder / "small.ts", folder / "large.ts"
    talking(one, codec="mpeg2video", ticks_hz=25)
    media.write_video(two, [media.quarters(320, 240)] * 5, codec="mpeg2video", ticks_hz=25)
    yield _written(folder / "grows.ts", one.read_bytes() + two.read_bytes())


def _no_pictures(bases: Path, folder: Path, rng: random.Random) -> Iterator[Path]:
    """One picture, none, sound alone, very many streams, very many zeros."""
    yield talking(folder / "one.mp4", frames=1)
    yield talking(folder / "one.gif", frames=1, codec="gif", pix_fmt="rgb8", ticks_hz=25)
    for name in ("none.mp4", "none.mkv", "none.avi"):
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width = stream.height = 64
            container.start_encoding()
        yield folder / name
    for name, codec in (("sound.mp4", "aac"), ("sound.mp3", "libmp3lame"), ("sound.wav", "pcm_s16le")):
        yield media.write_sound(folder / name, media.tone(220, 0.3, 16_000), rate_hz=16_000, codec=codec)
    with av.open(str(folder / "many.mkv"), "w") as container:
        streams = [container.add_stream("mpeg4", rate=25) for _ in range(60)]
        for stream in streams:
            stream.width = stream.height = 32
        for stream in streams:
            container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        for stream in streams:
            container.mux(stream.encode(None))
    yield folder / "many.mkv"
    for name in ("hole.mp4", "hole.ts", "hole.mkv"):
        with open(folder / name, "wb") as file:  # a file system keeps next to nothing of it
            file.write((bases / "a.mp4").read_bytes()[:100])
            file.truncate(1 << 31)
        yield folder / name


def _sounds(bases: Path, folder: Path, rng: random.Random) -> Iterator[Path]:
    """Sound that is cut, or of which bits are flipped while the pictures are whole."""
    for name, (codec, frames) in SOUNDS.items():
        path, sound = folder / f"whole-{name}", media.tone(220, 0.5, 16_000)
        if frames:
            yield talking(path, sound=sound, sound_codec=codec, **_OLD_CODEC.get(path.suffix, MOVING))
        else:
            yield media.write_sound(path, sound, rate_hz=16_000, codec=codec)
        content = path.read_bytes()
        with av.open(str(path)) as container:
            packets = [(packet.pos, packet.size) for packet in container.demux(audio=0) if packet.pos and packet.size]
        assert packets
        for every in (10, 100, 1000):
            changed = bytearray(content)
            for at, size in packets:
                for _ in range(max(1, size // every)):
                    changed[min(at + rng.randrange(size), len(content) - 1)] ^= 1 << rng.randrange(8)
            yield _written(folder / f"{every}-{name}", changed)
        silenced = bytearray(content)
        for at, size in packets[len(packets) // 2 :]:
            silenced[at : at + size] = bytes(len(silenced[at : at + size]))
        yield _written(folder / f"zeros-{name}", silenced)
        at, size = packets[len(packets) // 2]
        yield _written(folder / f"cut-{name}", content[: at + size // 2])
        yield _written(folder / f"gone-{name}", content[:at] + content[at + size :])


def _odd_sounds(bases: Path, folder: Path, rng: random.Random) -> Iterator[Path]:
    """No numbers, many channels, odd rates, longer than the picture, early, late; WAV headers that are wrong."""
    tone = media.tone(220, 0.5, 16_000)
    for value in (np.nan, np.inf, -np.inf, 3e38, 1e-42):
        bad = tone.copy()
        bad[0, 1000:3000] = value
        yield media.write_sound(folder / f"{value}.wav", bad, rate_hz=16_000, codec="pcm_f32le")
        yield talking(folder / f"{value}.mkv", sound=bad, sound_codec="pcm_f32le", **MOVING)
    all_nan = np.full_like(tone, np.nan)
    yield media.write_sound(folder / "all-nan.wav", all_nan, rate_hz=16_000, codec="pcm_f32le")
    yield talking(folder / "all-nan.mkv", sound=all_nan, sound_codec="pcm_f32le", **MOVING)
    eight = np.repeat(tone, 8, axis=0) * (1 - 2 * (np.arange(8, dtype=np.float32)[:, None] % 2))
    yield media.write_sound(folder / "8channels.wav", eight, rate_hz=16_000, codec="pcm_s16le", layout="7.1")
    yield talking(folder / "8channels.mkv", sound=eight, sound_codec="flac", sound_layout="7.1", **MOVING)
    yield talking(folder / "8channels.mp4", sound=eight, sound_rate_hz=48_000, sound_layout="7.1", **MOVING)
    for rate_hz in (2000, 8000, 192_000, 384_000):
        sound = media.tone(220, 0.5, rate_hz)
        yield media.write_sound(folder / f"{rate_hz}hz.wav", sound, rate_hz=rate_hz, codec="pcm_s16le")
        options = {"sound_rate_hz": rate_hz, "sound_codec": "pcm_s16le", **MOVING}
        yield talking(folder / f"{rate_hz}hz.mkv", sound=sound, **options)
    yield talking(folder / "longer.mp4", sound=media.tone(220, 20.0, 16_000), **MOVING)
    yield talking(folder / "one-picture.mp4", frames=1, sound=media.tone(220, 5.0, 16_000), **MOVING)
    yield talking(folder / "shorter.mp4", sound=tone[:, :1024], **MOVING)
    yield media.write_sound(folder / "alone.mkv", tone, rate_hz=16_000, codec="flac")
    yield media.write_sound(folder / "one-sample.wav", tone[:, :1], rate_hz=16_000, codec="pcm_s16le")
    yield talking(folder / "late.mkv", sound=tone, sound_start_s=30.0, sound_codec="flac", **MOVING)
    yield talking(folder / "early.ts", start_s=30.0, sound=tone, sound_codec="mp2", **MOVING)
    whole = (folder / "8000hz.wav").read_bytes()
    at = whole.find(b"fmt ") + 8  # kind, channels, rate, bytes a second, bytes a sample, bits
    for place, form, values in ((2, "<H", (0, 255, 65_535)), (4, "<I", (0, 1, 0xFFFFFFFF)), (14, "<H", (0, 7, 64))):
        for value in values:
            yield _written(folder / f"wav-{place}-{value}.wav", _replaced(whole, at + place, struct.pack(form, value)))


def _texts(bases: Path, folder: Path, rng: random.Random) -> Iterator[Path]:
    """Lists that point elsewhere, pages, scripts, archives, transcripts."""
    other = bases / "a.mp4"
    texts = {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n",
        "list.mp4": f"ffconcat version 1.0\nfile '{other}'\n",
        "pipes.mp4": "ffconcat version 1.0\nfile 'endless.pipe'\n",
        "pipes.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nendless.ts\n#EXT-X-ENDLIST\n",
        "endless.idx": "# VobSub index file, v7 (do not modify this line!)\n",
        "itself.mp4": "ffconcat version 1.0\nfile 'itself.mp4'\n",
        "remote.mp4": "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n",
        "manifest.mpd": '<?xml version="1.0"?><MPD><Period><BaseURL>/etc/passwd</BaseURL></Period></MPD>',
        "session.sdp": "v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "page.mp4": "<!doctype html><title>404 Not Found</title>",
        "script.mp4": "#!/bin/sh\necho no\n",
        "words.srt": "1\n00:00:00,000 --> 00:00:01,000\nbin blue\n",
        "line.mp4": "x",
        "newlines.mp4": "\n" * 5000,
        "ansi.mp4": "\x1b[31mred\x1b[0m\n" * 200,
        "image.svg": "<svg xmlns='http://www.w3.org/2000/svg' width='64' height='64'/>",
    }  # fmt: skip
    for name, text in texts.items():
        yield _written(folder / name, text.encode())
    for name in ("endless.pipe", "endless.ts", "endless.sub", "endless0.png"):
        os.mkfifo(folder / name)  # the lists name these: who opens one waits for ever
    yield _written(folder / "endless%d.png", _png_of(64))
    shutil.make_archive(str(folder / "archive"), "zip", bases, "a.mp4")
    yield (folder / "archive.zip").rename(folder / "archive.mp4")


def _named(bases: Path, folder: Path) -> Iterator[Path]:
    """A good clip under names that shells, formats and terminals trip over."""
    folder.mkdir()
    for name in NAMES:
        path = folder / name
        if not path.exists():  # some file systems hold two of them for one
            shutil.copyfile(bases / "a.mp4", path)
            yield path


def _no_files(bases: Path, folder: Path) -> Iterator[Path]:
    """Links that loop or lead nowhere, folders, pipes, sockets, devices, and what may not be read."""
    folder.mkdir()
    links = {
        "loop.mp4": "loop.mp4", "ping.mp4": "pong.mp4", "pong.mp4": "ping.mp4", "dangling.mp4": "gone.mp4",
        "zeros.mp4": "/dev/zero", "null.mp4": "/dev/null", "terminal.mp4": "/dev/tty", "memory.mp4": "/proc/self/mem",
        "kernel.mp4": "/proc/version", "good.mp4": str(bases / "a.mp4"), "up.mp4": "../whole/b.mkv",
    }  # fmt: skip
    for name, target in links.items():
        (folder / name).symlink_to(target)
        yield folder / name
    (folder / "folder.mp4").mkdir()
    yield folder / "folder.mp4"
    os.mkfifo(folder / "pipe.mp4")
    yield folder / "pipe.mp4"
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(folder)  # the name of a socket has little room
        try:
            server.bind("socket.mp4")
        finally:
            os.chdir(here)
    yield folder / "socket.mp4"
    (folder / "circle").mkdir()
    shutil.copyfile(bases / "a.mp4", folder / "circle" / "talk.mp4")
    (folder / "circle" / "back").symlink_to(".")
    (folder / "circle" / "up").symlink_to("..")
    yield folder / "circle" / "back" / "back" / "up" / "circle" / "talk.mp4"
    yield folder.joinpath("circle", *["back"] * 60, "too-deep.mp4")
    yield _written(folder / "empty.mp4", b"")
    closed = _written(folder / "closed.mp4", (bases / "a.mp4").read_bytes())
    closed.chmod(0)
    yield closed
    yield folder / "gone" / "x.mp4"
    yield folder / ("x" * 300 + ".mp4")
    yield folder / "empty.mp4" / "below-a-file.mp4"


def _written(path: Path, content: bytes | bytearray) -> Path:
    path.write_bytes(content)
    return path


def _replaced(content: bytes, at: int, part: bytes) -> bytes:
    return content[:at] + part + content[at + len(part) :]


def _with_flv_times(path: Path, times_ms: list[int]) -> Path:
    """A clip in FLV whose pictures, each one whole in itself, state these times."""
    content = bytearray(talking(path, codec="flv", ticks_hz=1000, options={"g": "1"}).read_bytes())
    at, number = 13, 0  # past the header and the size of no tag before
    while at + 11 < len(content):
        size = int.from_bytes(content[at + 1 : at + 4], "big")
        if content[at] == _FLV_PICTURE and number < len(times_ms):
            stated = times_ms[number].to_bytes(4, "big")
            content[at + 4 : at + 8] = stated[1:] + stated[:1]
            number += 1
        at += 11 + size + 4
    assert number == len(times_ms)
    return _written(path, content)


def _gif_of(side: int) -> bytes:
    """A GIF that states a size, and two pictures of it with next to no data."""
    picture = b"\x2c" + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x4c\x01\x00"
    head = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes(3) + b"\xff" * 3
    return head + picture + picture + b"\x3b"


def _png_of(side: int) -> bytes:
    """A PNG in one colour, packed small."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    packed = b"".join(rows.compress(row) for _ in range(min(side, 20_000))) + rows.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


if __name__ == "__main__":
    print(*make_corpus(Path(sys.argv[1])), sep="\0", end="\0")
