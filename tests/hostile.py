"""More than 300 files that a video reader should not trust, made by seed from a few drawn clips.

Some are odd but whole, most are damaged, some are no files at all. `python tests/hostile.py FOLDER` writes them.
"""

from __future__ import annotations

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

import av
import numpy as np

import media
from shell import talking

SEED = 6
BASES = {  # file -> how a whole one is written
    "a.mp4": {"options": {"g": "4"}},
    "b.mkv": {"options": {"g": "4", "bf": "2"}},
    "c.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "ticks_hz": 25},
    "d.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "e.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "f.gif": {"codec": "gif", "pix_fmt": "rgb8", "ticks_hz": 25},
    "g.ts": {"codec": "mpeg2video", "ticks_hz": 25},
    "h.mp4": {"sound": media.tone(220, 0.5, 16_000)},
}
CUTS = (0.01, 0.1, 0.3, 0.6, 0.9, 0.99)
NAMES = (
    " leading and trailing .mp4", "two\nlines.mp4", "tab\there.mp4", "🎬👩‍🦰.mp4", "-o.mp4", "--help.mp4", "-",
    "a;b&c|d.mp4", "$(touch pwned).mp4", "`id`.mp4", "%s%n%d.mp4", "it's \"quoted\".mp4", "back\\slash.mp4",
    "http:x.mp4", "pipe:0", "concat:a|b.mp4", "file:x.mp4", "[red]bold.mp4", "\x1b[31mred.mp4", "..mp4", "...", "~.mp4",
    "*.mp4", "a[1-3]?.mp4", "#hash.mp4", "?query=1.mp4", "con.mp4", "nul", "%2e%2e%2fx.mp4", "x.tar.gz.mp4",
    "no suffix", "x.json", "x.txt.mp4", "lipread-run.jsonl", ".hidden.mp4", "ü" * 120 + ".mp4", "\u202egnp.mp4",
    "e\u0301.mp4", "é.mp4", "TALK.MP4", "talk.mp4", "Talk.mp4", "\udcff\udcfe.mp4",
)  # fmt: skip


def make_corpus(folder: Path, seed: int = SEED) -> list[Path]:
    """Write the files into a folder of their own; returns the path of each, in order."""
    bases = folder / "whole"
    for name, options in BASES.items():
        talking(bases / name, **options)  # type: ignore[arg-type]
    found = [bases / name for name in BASES]
    for make in (_cut, _flipped, _scrambled, _sizes_changed, _renamed, _odd_times, _odd_pictures, _no_pictures, _texts):
        part = folder / make.__name__.strip("_")
        part.mkdir()
        random_of = random.Random(f"{seed} {make.__name__}")
        found += [path for path in make(bases, part, random_of) if path not in found]
    return found + list(_named(bases, folder / "names")) + list(_no_files(bases, folder / "no-files"))


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
    """Stretches of zeros, of noise, twice, in another order; an encrypted header."""
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
    for start_s in (-3.0, 3600.0, 90_000.0):
        yield talking(folder / f"from{start_s}.mkv", start_s=start_s)
    steps = {
        "jump": [0.04 * i + (5000 if i > 5 else 0) for i in range(12)],
        "hour-apart": [3600.0 * i for i in range(12)],
        "still": [0.001 * i for i in range(12)],
        "bursts": [0.5 * (i // 4) + 0.002 * (i % 4) for i in range(12)],
    }
    for name, times_s in steps.items():
        yield talking(folder / f"{name}.mp4", times_s=times_s)
        yield talking(folder / f"{name}.mkv", times_s=times_s, ticks_hz=1000)
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
    for turn in (90, 180, 270, 33):
        yield talking(folder / f"turned{turn}.mp4", rotation_deg=turn)
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


def _texts(bases: Path, folder: Path, rng: random.Random) -> Iterator[Path]:
    """Lists that point elsewhere, pages, scripts, archives, transcripts."""
    other = bases / "a.mp4"
    texts = {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n",
        "list.mp4": f"ffconcat version 1.0\nfile '{other}'\n",
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
