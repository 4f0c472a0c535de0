"""Draws, plays and writes the three default media of the simulator; run it only to change them.

    .venv/bin/python tools/simulator_media.py

The results are committed under `src/whaul/simulator/samples`, so that the simulator needs neither Pillow nor
soundfile. Opus encoders differ between releases: a new run may give other bytes for the same melody.
"""

from pathlib import Path

import numpy as np
import soundfile
from PIL import Image, ImageDraw, ImageFilter

MEDIA = Path(__file__).parents[1] / "src" / "whaul" / "simulator" / "samples"
WIDTH, HEIGHT, SUPERSAMPLING = 1280, 960, 2
HORIZON = 0.56

SKY = [(0.0, (38, 42, 92)), (0.45, (150, 88, 140)), (0.8, (244, 150, 110)), (1.0, (255, 214, 150))]
SEA = [(0.0, (226, 150, 124)), (0.25, (110, 96, 140)), (1.0, (22, 38, 74))]

RATE = 48_000  # Hz; Opus knows 8, 12, 16, 24 and 48 kHz
BEAT = 0.42  # seconds
MELODY = [("D4", 1), ("F4", 1), ("A4", 1), ("C5", 1.5), ("A4", 0.5), ("G4", 1), ("F4", 1), ("E4", 1), ("D4", 3)]
SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def gradient(stops: list[tuple[float, tuple[int, int, int]]], rows: int) -> np.ndarray:
    """Colours from top to bottom, one row each."""
    places = [place for place, _ in stops]
    along = np.linspace(0, 1, rows)
    return np.stack([np.interp(along, places, [colour[i] for _, colour in stops]) for i in range(3)], axis=1)


def evening() -> Image.Image:
    """A sea at sunset with a whale's fluke above the water."""
    width, height = WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING
    horizon = int(height * HORIZON)
    pixels = np.empty((height, width, 3))
    pixels[:horizon] = gradient(SKY, horizon)[:, None, :]
    pixels[horizon:] = gradient(SEA, height - horizon)[:, None, :]

    rows, columns = np.mgrid[0:height, 0:width]
    sun_x, sun_y, radius = width * 0.66, horizon - height * 0.09, height * 0.062
    distance = np.hypot(columns - sun_x, rows - sun_y)
    glow = np.exp(-distance / (height * 0.16))[..., None] * (rows < horizon)[..., None]
    pixels += glow * np.array([120, 90, 40])
    disc = np.clip((radius - distance) / 3 + 0.5, 0, 1)[..., None] * (rows < horizon)[..., None]
    pixels = pixels * (1 - disc) + disc * np.array([255, 240, 205])

    depth = np.clip((rows - horizon) / (height - horizon), 0, 1)
    ripple = np.sin(rows / (3 + 26 * depth) + np.sin(columns / (40 + 160 * depth)) * 2.2)
    pixels += (ripple * (4 + 12 * depth) * (rows >= horizon))[..., None]
    path = np.exp(-(((columns - sun_x) / (width * (0.02 + 0.11 * depth))) ** 2))
    sparkle = path * (ripple > 0.25) * (rows >= horizon) * (1 - 0.55 * depth)
    pixels += sparkle[..., None] * np.array([110, 84, 52])

    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.polygon(fluke(width * 0.34, height * 0.70, height * 0.30), fill=(20, 27, 54))
    for spread, shade in ((0.075, (196, 148, 142)), (0.052, (232, 190, 168)), (0.03, (20, 30, 60))):
        x, y, across = width * 0.34, height * 0.70, width * spread
        draw.ellipse((x - across, y - across * 0.13, x + across, y + across * 0.13), fill=shade)
    return image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(0.4))


def fluke(x: float, y: float, size: float) -> list[tuple[float, float]]:
    """The outline of a whale's tail that stands in the water at (x, y)."""
    along = np.linspace(0, 1, 60)
    lobe_x = 0.05 + 0.55 * along
    top = 0.80 + 0.18 * along + 0.06 * np.sin(along * np.pi)
    under = 0.62 + 0.36 * along**0.9 - 0.02 * np.sin(along * np.pi)
    stem_y = np.linspace(0, 0.62, 30)
    stem_x = 0.17 - 0.12 * (stem_y / 0.62) ** 0.8
    half = [*zip(stem_x, stem_y, strict=True), *zip(lobe_x, under, strict=True)]
    half += [*zip(lobe_x[::-1], top[::-1], strict=True), (0.0, 0.76)]
    outline = [(x + px * size, y - py * size) for px, py in half]
    return outline + [(2 * x - px, py) for px, py in reversed(outline)]


def melody() -> np.ndarray:
    """Soft bell-like notes over a low drone, mono."""
    seconds = sum(beats for _, beats in MELODY) * BEAT + 1.0
    sound = np.zeros(int(seconds * RATE))
    start = 0.1
    for note, beats in MELODY:
        pitch = 440 * 2 ** ((SEMITONES[note[0]] - 9) / 12 + int(note[1]) - 4)
        along = np.arange(int(min(beats * BEAT + 0.9, seconds - start) * RATE)) / RATE
        envelope = np.minimum(along / 0.03, 1) * np.exp(-along * 2.4)
        tone = sum(np.sin(2 * np.pi * pitch * n * along) * level for n, level in ((1, 1), (2, 0.35), (3, 0.1)))
        offset = int(start * RATE)
        sound[offset : offset + len(along)] += tone * envelope
        start += beats * BEAT
    along = np.arange(len(sound)) / RATE
    sound += 0.22 * np.sin(2 * np.pi * 146.83 * along) * (1 + 0.15 * np.sin(2 * np.pi * 0.7 * along))
    fade = np.minimum(np.minimum(along / 0.2, 1), np.minimum((along[-1] - along) / 0.8, 1))
    return 0.5 * sound * fade / np.abs(sound).max()


def page() -> bytes:
    """One A4 page of text, written by hand: five objects and their table."""
    lines = [
        ("F2", 26, 760, "A document from the whaul simulator"),
        ("F1", 13, 716, "This page stands for a PDF that a customer sent over WhatsApp. It is one of the three"),
        ("F1", 13, 696, "default media of the Graph API simulator, beside a JPEG picture and an Opus voice note."),
        ("F1", 13, 660, "No person wrote it and it says nothing about anyone. Fetch it, store it, compare its"),
        ("F1", 13, 640, "SHA-256 with the one that the simulator announced: if they are equal, your code works."),
    ]
    text = "\n".join(f"BT /{font} {size} Tf 56 {y} Td ({line}) Tj ET" for font, size, y, line in lines)
    drawing = f"0.08 0.11 0.21 rg\n{text}\n0.95 0.59 0.43 RG 3 w 56 742 m 250 742 l S".encode("ascii")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
            b" /Resources << /Font << /F1 5 0 R /F2 6 0 R >> >> >>"
        ),
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(drawing), drawing),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >>",
    ]
    pdf = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(pdf))
        pdf += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    count = len(objects) + 1
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (count, len(pdf))
    return pdf + b"xref\n0 %d\n0000000000 65535 f \n" % count + table + trailer


if __name__ == "__main__":
    MEDIA.mkdir(exist_ok=True)
    evening().save(MEDIA / "evening.jpg", quality=86, optimize=True)
    soundfile.write(MEDIA / "melody.ogg", melody(), RATE, format="OGG", subtype="OPUS", compression_level=0.85)
    (MEDIA / "page.pdf").write_bytes(page())
    for path in sorted(MEDIA.iterdir()):
        print(path.name, path.stat().st_size)
