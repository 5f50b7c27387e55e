"""The pocket model's command line: python -m tools.pocket.train STAGE --minutes M --out DIR [--resume DIR].

Stages, in order: voices, render (beside all that follow), speech, vae, transformer, evaluate, export.
"""

import argparse
import logging
from pathlib import Path

import torch

from tools.pocket.training_run import StageOptions, start_log

STAGES = ("voices", "render", "speech", "vae", "transformer", "evaluate", "export")


def main(arguments: list[str] | None = None) -> None:
    """Run one stage."""
    options = _parser().parse_args(arguments)
    start_log(options.out, options.stage)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = options.stage == "vae"  # the others meet many shapes
    torch._dynamo.config.recompile_limit = 64
    logging.getLogger("pocket").info("%s", vars(options))
    _run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--minutes", type=float, default=10.0, help="wall-clock time of this stage")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, logs and sheets")
    parser.add_argument("--resume", type=Path, help="folder with weights to start from")
    parser.add_argument(
        "--clips", type=Path, default=Path("/tmp/pocket_clips"), help="folder of rendered clips"
    )
    parser.add_argument("--voices", type=Path, default=Path("/tmp/pocket_voices.npy"), help="bank of speech")
    parser.add_argument("--size", type=int, default=192, help="pixels of a side")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--count", type=int, default=16, help="clips per task to evaluate on")
    parser.add_argument("--focus", choices=("all", "text"), default="all", help="transformers to train")
    parser.add_argument("--limit", type=int, default=6000, help="rendered clips that may wait")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser


def _run(options: argparse.Namespace) -> None:
    device = torch.device(options.device)
    if options.stage == "voices":
        from tools.pocket.voices import build_voice_bank

        build_voice_bank(options.voices)
    elif options.stage == "render":
        from tools.pocket.shards import RenderOptions, render_shards

        render_shards(
            RenderOptions(
                clips=options.clips,
                voices=options.voices,
                seed=options.seed,
                minutes=options.minutes,
                size=options.size,
                limit=options.limit,
                device=device,
            )
        )
    elif options.stage == "evaluate":
        from tools.pocket.evaluate import evaluate

        evaluate(options.out, options.voices, device, options.size, options.count)
    elif options.stage == "export":
        from tools.pocket.export import export

        export(options.resume, options.out)
    else:
        _train(options, device)


def _train(options: argparse.Namespace, device: torch.device) -> None:
    from tools.pocket.train_speech import train_speech
    from tools.pocket.train_transformer import train_transformer
    from tools.pocket.train_vae import train_vae

    train = {"speech": train_speech, "vae": train_vae, "transformer": train_transformer}[options.stage]
    train(
        StageOptions(
            minutes=options.minutes,
            seed=options.seed,
            out=options.out,
            resume=options.resume,
            clips=options.clips,
            voices=options.voices,
            device=device,
            size=options.size,
            batch=options.batch,
            focus=options.focus,
        )
    )


if __name__ == "__main__":
    main()
