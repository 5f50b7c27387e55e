"""A bank of synthesized speech (espeak-ng) from which excerpts are drawn, and the mix that training hears."""

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy
import soundfile
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly
from torch import Tensor

from tools.pocket.sound import RATE, synthetic_speech

_SECONDS = 290
# espeak-ng voice, words a minute, pitch 0..99.
_SPEAKERS = (
    ("en-us", 150, 45),
    ("en-us+f3", 155, 60),
    ("en-gb+m3", 140, 35),
    ("en-us+f2", 170, 70),
    ("en-gb+f4", 145, 55),
    ("en-us+m7", 165, 50),
    ("de", 150, 40),
    ("de+f3", 145, 62),
    ("fr", 155, 45),
    ("fr+f4", 150, 65),
    ("es", 160, 50),
    ("es+f2", 150, 60),
    ("it+m2", 150, 42),
    ("cmn+f3", 150, 60),
    ("cmn", 145, 45),
)
_SENTENCES = {
    "en": (
        "Hello! I am a little cartoon, and today I would like to tell you a story.",
        "Once upon a time there was a small blue boat that wanted to see the whole wide sea.",
        "Do you hear me? Good. Then let us count together: one, two, three, four, five, six, seven.",
        "My favourite animals are cats, elephants, owls and, of course, penguins.",
        "It rained all morning, so we stayed inside, baked a cake and sang every song we knew.",
        "Please open the window; the air is fresh, and the birds are already awake.",
        "Wow, what a beautiful day! Shall we go up the hill and look at the clouds?",
        "Slowly, very slowly, the moon came out from behind the dark and silent trees.",
    ),
    "de": (
        "Guten Tag! Ich bin eine kleine Zeichnung und erzähle euch heute eine Geschichte.",
        "Am Morgen war der Himmel grau, doch am Abend schien die Sonne über dem See.",
        "Könnt ihr mich hören? Eins, zwei, drei, vier, fünf, und los geht es!",
        "Mein Freund, der Bär, mag Honig, Äpfel und lange Spaziergänge im Wald.",
    ),
    "fr": (
        "Bonjour ! Je suis un petit dessin et je vais vous raconter une histoire.",
        "Ce matin il pleuvait, mais maintenant le soleil brille sur la montagne.",
        "Est-ce que vous m'entendez ? Un, deux, trois, quatre, cinq, six, sept.",
    ),
    "es": (
        "¡Hola! Soy un dibujo pequeño y hoy quiero contarte una historia muy bonita.",
        "Por la mañana llovía, pero ahora brilla el sol sobre el mar.",
        "¿Me oyes bien? Uno, dos, tres, cuatro, cinco, seis y siete.",
    ),
    "it": (
        "Ciao! Sono un piccolo disegno e oggi ti racconto una storia.",
        "La mattina pioveva, ma adesso il sole splende sulla montagna e sul mare.",
    ),
    "cmn": (
        "ni3 hao3, wo3 shi4 yi2 ge4 ka3 tong1 ren2 wu4, hen3 gao1 xing4 ren4 shi2 ni3.",
        "jin1 tian1 tian1 qi4 hen3 hao3, wo3 men5 yi4 qi3 chu1 qu4 wan2 ba5.",
    ),
}


@dataclass(frozen=True, slots=True)
class VoiceBank:
    """int16 speech at 16 kHz, one long row on the device that trains."""

    samples: Tensor

    def excerpts(self, count: int, length: int, generator: torch.Generator) -> Tensor:
        """Random pieces -> (count, length) float32, replayed up to 12 % slower or faster for more voices."""
        device = generator.device
        speed = 0.88 + 0.24 * torch.rand(count, 1, generator=generator, device=device)
        room = len(self.samples) - int(length * 1.12) - 2
        start = torch.rand(count, 1, generator=generator, device=device, dtype=torch.float64) * room
        place = start + speed * torch.arange(length, device=device)
        low = place.floor().long()
        weight = (place - low).float()
        return torch.lerp(self.samples[low].float(), self.samples[low + 1].float(), weight) / 32768.0


def load_voice_bank(path: Path, device: torch.device) -> VoiceBank:
    return VoiceBank(torch.from_numpy(numpy.load(path)).to(device))


def build_voice_bank(path: Path) -> None:
    """Write the bank, about five minutes and 9 MB; needs the program espeak-ng."""
    pieces: list[NDArray[numpy.int16]] = []
    for voice, speed, pitch in _SPEAKERS:
        language = voice.split("+")[0].split("-")[0]
        sentences = _SENTENCES[language]
        # Each speaker gets a part of the English sentences, so that all together fit the length.
        chosen = sentences[len(pieces) % 2 :: 2] if language == "en" else sentences
        pieces += [espeak(sentence, voice, speed, pitch) for sentence in chosen]
    numpy.save(path, numpy.concatenate(pieces)[: _SECONDS * RATE])


def espeak(text: str, voice: str, speed: int, pitch: int) -> NDArray[numpy.int16]:
    """One sentence spoken by espeak-ng, at 16 kHz."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.wav"
        # espeak-ng reads pinyin with tone digits as plain text by this voice alone.
        subprocess.run(
            [
                "espeak-ng",
                "-v",
                voice.replace("cmn", "cmn-latn-pinyin"),
                "-s",
                str(speed),
                "-p",
                str(pitch),
                "-w",
                str(file),
                text,
            ],
            check=True,
            capture_output=True,
        )
        wave, rate = soundfile.read(file, dtype="float32")
    wave = resample_poly(wave, RATE, rate)
    peak = float(numpy.abs(wave).max())
    scaled: NDArray[numpy.int16] = numpy.round(wave * (0.7 * 32767.0 / max(peak, 1e-3))).astype(numpy.int16)
    return scaled


def training_waves(count: int, length: int, generator: torch.Generator, voices: VoiceBank | None) -> Tensor:
    """Half babble, half excerpts of the bank, at any loudness; a few with a noisy room, a few silent."""
    device = generator.device
    waves = synthetic_speech(count, length, generator)
    chance = torch.rand(4, count, 1, generator=generator, device=device)
    if voices is not None:
        spoken = voices.excerpts(count, length, generator)
        waves = torch.where(chance[0] < 0.5, spoken, waves)
    peak = waves.abs().amax(-1, keepdim=True).clamp_min(0.02)
    noise = torch.randn(count, length, generator=generator, device=device)
    waves = waves / peak + noise * torch.where(chance[1] < 0.2, 0.004, 0.0)
    waves = waves * (0.12 + 0.78 * chance[2])
    return torch.where(chance[3] < 0.06, 2e-4 * noise, waves)
