"""Banks of synthesized speech from which excerpts are drawn, and the mix that training hears.

Three engines speak: espeak-ng (formants), flite (diphones and statistical voices made from recordings of real
speakers) and festival's HTS voice. The training bank and the held-out bank share no sentence and no voice.
"""

import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy
import soundfile
import torch
from numpy.typing import NDArray
from scipy.signal import resample_poly
from torch import Tensor

from tools.pocket.sound import RATE, synthetic_speech

_HTS_VOICE = "cmu_us_slt_arctic_hts"
_PACKAGES = {"espeak-ng": "espeak-ng", "flite": "flite", "text2wave": "festival"}
# espeak-ng: voice, words a minute, pitch 0..99.
_ESPEAK_TRAINING = (
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
_ESPEAK_HELD_OUT = (
    ("en-gb-scotland+f1", 150, 55),
    ("en-gb-x-rp+m5", 150, 40),
    ("en-us-nyc+m1", 160, 48),
    ("en-us+f5", 145, 65),
    ("de+m4", 155, 45),
    ("fr+f1", 150, 60),
    ("es+m6", 155, 40),
)
# flite: voice, words a minute (150 is the voice's own pace), pitch in percent of the voice's own.
_FLITE_TRAINING = (
    ("slt", 150, 100),
    ("slt", 165, 125),
    ("rms", 150, 100),
    ("rms", 135, 88),
    ("rms", 160, 118),
    ("kal16", 150, 100),
    ("kal16", 160, 135),
)
_FLITE_HELD_OUT = (("awb", 150, 100), ("awb", 165, 120))

_TRAINING_SENTENCES = {
    "en": (
        "Hello! I am a little cartoon, and today I would like to tell you a story.",
        "Once upon a time there was a small blue boat that wanted to see the whole wide sea.",
        "Do you hear me? Good. Then let us count together: one, two, three, four, five, six, seven.",
        "My favourite animals are cats, elephants, owls and, of course, penguins.",
        "It rained all morning, so we stayed inside, baked a cake and sang every song we knew.",
        "Please open the window; the air is fresh, and the birds are already awake.",
        "Wow, what a beautiful day! Shall we go up the hill and look at the clouds?",
        "Slowly, very slowly, the moon came out from behind the dark and silent trees.",
        "The baker on the corner sells warm bread, and the whole street smells of it.",
        "My brother plays the piano, my sister plays the drums, and I play with the dog.",
        "Why is the sky blue in the morning and red in the evening?",
        "We took the early train, changed at the big station, and arrived before lunch.",
        "No, thank you. I have had enough soup, but I would love another piece of pie.",
        "A thousand stars were shining above the quiet village that night.",
        "If you turn left at the bridge, you will see a yellow house with a round door.",
        "She laughed so loudly that the pigeons flew away from the roof.",
        "Zero, eight, nine, eleven, twelve, thirteen: that is where my counting stops.",
        "The teacher drew a large circle on the board and asked us what it was.",
        "Could you help me carry these boxes to the kitchen before it gets dark?",
        "An old fisherman once showed me how to tie a knot that never opens.",
        "Yesterday we planted beans, peas and three tall sunflowers behind the shed.",
        "Oh dear! The cat has jumped onto the table, and the milk is everywhere.",
        "In winter the lake freezes, and people skate from one shore to the other.",
        "I think that your idea is good, although it may take a little longer than a week.",
        "Up in the attic we found a wooden ship, a rusty key and a map of the river.",
        "Listen carefully. First mix the flour with the sugar, then add two eggs.",
        "The orange balloon rose higher and higher until nobody could see it any more.",
        "Good evening, ladies and gentlemen, and welcome to our show.",
        "He put on his thick gloves, opened the gate, and whistled for the horses.",
        "Just between you and me, the best seat in the theatre is in the last row.",
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
_HELD_OUT_SENTENCES = {
    "en": (
        "Nobody in our family could remember who had painted the little green chair.",
        "What time does the museum close on Sundays, and may I bring my camera?",
        "The wind had changed, and soon heavy drops were falling on the tent.",
        "Be careful with that ladder; one of its steps is loose.",
        "After breakfast the twins went down to the harbour to watch the ships.",
        "Fifteen, forty, sixty, a hundred: every number has its own sound.",
    ),
    "de": (
        "Der Zug nach Norden fährt heute von einem anderen Gleis.",
        "Möchtest du lieber Tee oder eine Tasse heiße Schokolade?",
    ),
    "fr": (
        "La boulangerie ouvre très tôt, et tout le quartier sent le pain chaud.",
        "Où as-tu rangé les clés de la petite voiture rouge ?",
    ),
    "es": (
        "El tren llega a las ocho y el museo abre a las nueve y media.",
        "¿Quién ha dejado la puerta del jardín abierta esta noche?",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """One way to speak; `words` a minute and `pitch` are in the engine's own terms."""

    engine: str
    voice: str
    words: int
    pitch: int

    @property
    def language(self) -> str:
        """All voices but those of espeak-ng speak English."""
        return self.voice.split("+")[0].split("-")[0] if self.engine == "espeak-ng" else "en"


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


def speakers(held_out: bool = False) -> list[Speaker]:
    """Who speaks in a bank. No voice is in both; HTS has one voice alone, which is for training."""
    espeak, flite = (_ESPEAK_HELD_OUT, _FLITE_HELD_OUT) if held_out else (_ESPEAK_TRAINING, _FLITE_TRAINING)
    rows = [("espeak-ng", *row) for row in espeak] + [("flite", *row) for row in flite]
    if not held_out:
        rows.append(("festival", _HTS_VOICE, 150, 100))
    return [
        Speaker(engine=engine, voice=voice, words=words, pitch=pitch) for engine, voice, words, pitch in rows
    ]


def lines(held_out: bool = False) -> list[tuple[Speaker, str]]:
    """Who says what in a bank, in its order.

    In the training bank the many English speakers of espeak-ng and flite each say a part of the sentences,
    and the one HTS voice all of them, so that every engine has a fair share of the time.
    """
    table = _HELD_OUT_SENTENCES if held_out else _TRAINING_SENTENCES
    spoken: list[tuple[Speaker, str]] = []
    for number, speaker in enumerate(speakers(held_out)):
        sentences = table[speaker.language]
        if speaker.language == "en" and not held_out:
            step = {"espeak-ng": 6, "flite": 5, "festival": 1}[speaker.engine]
            sentences = sentences[number % step :: step]
        spoken += [(speaker, sentence) for sentence in sentences]
    return spoken


def build_voice_bank(path: Path, held_out: bool = False) -> None:
    """Write a bank: about ten minutes and 20 MB for training, three minutes held out.

    Needs the Debian packages espeak-ng, flite and, for training, festival and festvox-us-slt-hts; one that is
    missing raises FileNotFoundError with its name.
    """
    pieces = [speech(speaker, text) for speaker, text in lines(held_out)]
    numpy.save(path, numpy.concatenate(pieces))


def speech(speaker: Speaker, text: str) -> NDArray[numpy.int16]:
    """One sentence at 16 kHz, its peak at 0.7 of full scale."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.wav"
        _ENGINES[speaker.engine](speaker, text, file)
        if not file.exists():
            # festival ends well even if it lacks the voice that it is asked for.
            raise FileNotFoundError(f"{speaker.voice} said nothing: install the package festvox-us-slt-hts")
        wave, rate = soundfile.read(file, dtype="float32")
    wave = resample_poly(wave, RATE, rate)
    peak = float(numpy.abs(wave).max())
    scaled: NDArray[numpy.int16] = numpy.round(wave * (0.7 * 32767.0 / max(peak, 1e-3))).astype(numpy.int16)
    return scaled


def _espeak(speaker: Speaker, text: str, file: Path) -> None:
    # espeak-ng reads pinyin with tone digits as plain text by this voice alone.
    voice = speaker.voice.replace("cmn", "cmn-latn-pinyin")
    _run("espeak-ng", "-v", voice, "-s", f"{speaker.words}", "-p", f"{speaker.pitch}", "-w", f"{file}", text)


def _flite(speaker: Speaker, text: str, file: Path) -> None:
    stretch, shift = f"duration_stretch={150 / speaker.words:.3f}", f"f0_shift={speaker.pitch / 100:.2f}"
    _run("flite", "-voice", speaker.voice, "--setf", stretch, "--setf", shift, "-t", text, "-o", str(file))


def _festival(speaker: Speaker, text: str, file: Path) -> None:
    script = file.with_suffix(".txt")
    script.write_text(text, encoding="ascii")
    _run("text2wave", "-eval", f"(voice_{speaker.voice})", "-o", str(file), str(script))


_ENGINES: dict[str, Callable[[Speaker, str, Path], None]] = {
    "espeak-ng": _espeak,
    "flite": _flite,
    "festival": _festival,
}


def _run(program: str, *words: str) -> None:
    try:
        subprocess.run([program, *words], check=True, capture_output=True)
    except FileNotFoundError as error:
        package = _PACKAGES[program]
        raise FileNotFoundError(f"{program} is missing: install the Debian package {package}") from error


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
