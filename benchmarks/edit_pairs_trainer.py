r"""Ten steps of diffusers' own InstructPix2Pix example on a folder of edit pairs.

    python benchmarks/edit_pairs_trainer.py --script train_instruct_pix2pix.py --work pairs_work \
        --out benchmarks/results/edit_pairs_trainer.md

`--script` is that example, unchanged, from the repository of the library (examples/instruct_pix2pix; it needs
torchvision). The pipeline is of the example's classes with tiny random networks, so the run shows that the folder is
read and trained on, not that anything is learned.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import time
from pathlib import Path

from machine import results_page

import distill
from distill.report.blocks import Table

STEPS, SCENES, RESOLUTION = 10, 16, 64


def tiny_pipeline(folder: Path) -> Path:
    """Stable Diffusion with networks of a few thousand parameters."""
    import diffusers as d
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=77)
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=77,
        )
    )  # fmt: skip
    unet = d.UNet2DConditionModel(
        block_out_channels=(16, 32), layers_per_block=1, sample_size=32, in_channels=4, out_channels=4,
        norm_num_groups=8, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=16, attention_head_dim=8,
    )  # fmt: skip
    vae = d.AutoencoderKL(
        block_out_channels=[8, 16], in_channels=3, out_channels=3, norm_num_groups=8,
        down_block_types=["DownEncoderBlock2D", "DownEncoderBlock2D"],
        up_block_types=["UpDecoderBlock2D", "UpDecoderBlock2D"], latent_channels=4,
    )  # fmt: skip
    d.StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=d.DDPMScheduler(), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--script", type=Path, required=True, help="train_instruct_pix2pix.py of diffusers")
    parser.add_argument("--work", type=Path, required=True, help="new folder for the data and the models")
    parser.add_argument("--out", type=Path, help="Markdown file")
    given = parser.parse_args()
    work = given.work.resolve()
    labels = distill.label(teacher="synthetic", out=work / "shards", limit=SCENES)
    pairs = distill.data.export(labels.out, "edit-pairs", out=work / "pairs").counts["pairs"]
    base = tiny_pipeline(work / "base")
    command = [
        *(sys.executable, str(given.script.resolve()), "--pretrained_model_name_or_path", str(base)),
        *("--dataset_name", str(work / "pairs"), "--output_dir", str(work / "tuned"), "--resolution", str(RESOLUTION)),
        *("--train_batch_size", "2", "--max_train_steps", str(STEPS), "--seed", "1", "--mixed_precision", "no"),
        *("--conditioning_dropout_prob", "0.05", "--lr_warmup_steps", "0", "--checkpointing_steps", "1000"),
    ]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the example ended with {done.returncode}:\n{done.stderr[-3000:]}")
    seconds = time.perf_counter() - start

    import diffusers
    import torch
    from diffusers import StableDiffusionInstructPix2PixPipeline, UNet2DConditionModel

    tuned = StableDiffusionInstructPix2PixPipeline.from_pretrained(work / "tuned", safety_checker=None)
    before = UNet2DConditionModel.from_pretrained(base, subfolder="unet").state_dict()
    after = tuned.unet.state_dict()
    changed = sum(
        not torch.equal(before[name], after[name]) for name in before if before[name].shape == after[name].shape
    )
    rows = [
        ["version of diffusers", diffusers.__version__],
        ["SHA-256 of the example", hashlib.sha256(given.script.read_bytes()).hexdigest()[:16]],
        ["labeled scenes", labels.labeled],
        ["pairs", pairs],
        ["steps", STEPS],
        ["input channels of the tuned U-Net", after["conv_in.weight"].shape[1]],
        ["weights of the U-Net that changed", f"{changed} of {len(before)}"],
        ["seconds, start included", round(seconds, 1)],
    ]
    notes = (
        "diffusers' example for InstructPix2Pix, unchanged, on a folder that `distill data export shards edit-pairs` "
        "wrote: it finds the columns by their names, trains, and saves a pipeline that loads."
    )
    results_page("Edit pairs in diffusers' InstructPix2Pix example", notes, [Table(["", "value"], rows)], given.out)


if __name__ == "__main__":
    main()
