"""The pocket model's command line: python -m tools.pocket.train STAGE --minutes M --out DIR [--resume DIR].

Stages, in order: voices, render (beside all that follow), speech, text, vae, transformer, evaluate, export;
and judge, which trains what measures text to video. With several GPUs: torchrun --nproc-per-node N
-m tools.pocket.train transformer ..., and a renderer per process (--focus, --clips).
"""

import argparse
import logging
from pathlib import Path

import torch

from tools.pocket.parallel import Worker, join_workers, own_device
from tools.pocket.shards import MIXES
from tools.pocket.training_run import StageOptions, start_log

STAGES = ("voices", "render", "speech", "text", "vae", "transformer", "judge", "evaluate", "export")


def main(arguments: list[str] | None = None) -> None:
    """Run one stage."""
    options = _parser().parse_args(arguments)
    device = own_device(options.device)
    worker = join_workers(device)
    start_log(options.out, options.stage if worker.leads else f"{options.stage}_{worker.rank}")
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = options.stage == "vae"  # the others meet many shapes
    torch._dynamo.config.recompile_limit = 64
    logging.getLogger("pocket").info("%s", vars(options))
    _run(options, device, worker)


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
    parser.add_argument("--batch", type=int, default=32, help="clips of 33 frames in a batch")
    parser.add_argument("--count", type=int, default=16, help="clips per task to evaluate on")
    parser.add_argument("--focus", choices=tuple(MIXES), default="all", help="what to draw for or to train")
    parser.add_argument("--limit", type=int, default=150, help="rendered shards that may wait")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser


def _run(options: argparse.Namespace, device: torch.device, worker: Worker) -> None:
    if options.stage == "voices":
        from tools.pocket.voices import build_voice_bank

        build_voice_bank(options.voices)
        build_voice_bank(options.voices.with_stem(f"{options.voices.stem}_held_out"), held_out=True)
    elif options.stage == "render":
        from tools.pocket.shards import RenderOptions, render_shards

        render_shards(
            RenderOptions(
                clips=options.clips,
                voices=options.voices,
                seed=options.seed,
                minutes=options.minutes,
                focus=options.focus,
                limit=options.limit,
                device=device,
            )
        )
    elif options.stage == "evaluate":
        from tools.pocket.evaluate import evaluate

        evaluate(options.out, options.voices, device, options.count)
    elif options.stage == "export":
        from tools.pocket.export import export

        export(options.resume, options.out)
    else:
        _train(options, device, worker)


def _train(options: argparse.Namespace, device: torch.device, worker: Worker) -> None:
    from tools.pocket.train_judge import train_judge
    from tools.pocket.train_speech import train_speech
    from tools.pocket.train_text import train_text
    from tools.pocket.train_transformer import train_transformer
    from tools.pocket.train_vae import train_vae

    train = {
        "speech": train_speech,
        "text": train_text,
        "vae": train_vae,
        "transformer": train_transformer,
        "judge": train_judge,
    }[options.stage]
    train(
        StageOptions(
            minutes=options.minutes,
            seed=options.seed,
            out=options.out,
            resume=options.resume,
            clips=options.clips,
            voices=options.voices,
            device=device,
            batch=options.batch,
            focus=options.focus,
            worker=worker,
        )
    )


if __name__ == "__main__":
    main()
