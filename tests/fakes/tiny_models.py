"""Tiny random models, saved to a folder as the hub would hold them. They know nothing; their files are real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CLASSES = ("road", "car", "tree", "sky", "person")


def _names() -> dict[int, str]:
    return dict(enumerate(CLASSES))


def depth_anything(folder: Path, **config: Any) -> Path:
    import torch
    import transformers as t

    torch.manual_seed(0)
    backbone = t.Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14,
        out_indices=[1, 2, 3, 4], reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    whole = t.DepthAnythingConfig(
        backbone_config=backbone, patch_size=14, reassemble_hidden_size=16, neck_hidden_sizes=[8] * 4,
        fusion_hidden_size=8, head_hidden_size=8, **config,
    )  # fmt: skip
    t.DepthAnythingForDepthEstimation(whole).save_pretrained(folder)
    t.DPTImageProcessor(
        size={"height": 56, "width": 56}, keep_aspect_ratio=True, ensure_multiple_of=14
    ).save_pretrained(folder)
    return folder


def segformer(folder: Path) -> Path:
    import torch
    import transformers as t

    torch.manual_seed(0)
    config = t.SegformerConfig(
        hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2], depths=[1] * 4, decoder_hidden_size=16,
        id2label=_names(),
    )  # fmt: skip
    t.SegformerForSemanticSegmentation(config).save_pretrained(folder)
    t.SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def tipsv2(folder: Path) -> Path:
    import torch
    import transformers as t

    torch.manual_seed(0)
    backbone = t.Tipsv2VisionConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14,
        out_indices=[1, 2, 3, 4], reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    config = t.Tipsv2DptConfig(
        backbone_config=backbone, neck_hidden_sizes=[8] * 4, fusion_hidden_size=8, num_depth_bins=16, id2label=_names()
    )
    t.Tipsv2DptForDensePrediction(config).save_pretrained(folder)
    t.Tipsv2DptImageProcessor(size={"height": 56, "width": 56}).save_pretrained(folder)
    return folder


def mask2former(folder: Path) -> Path:
    import torch
    import transformers as t

    torch.manual_seed(0)
    backbone = t.SwinConfig(
        embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4, image_size=64,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = t.Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=32,
        encoder_layers=1, decoder_layers=2, num_attention_heads=2, dim_feedforward=32, num_queries=10,
        id2label=_names(),
    )  # fmt: skip
    t.Mask2FormerForUniversalSegmentation(config).save_pretrained(folder)
    # Keeps the photo's shape and pads it: what the library's own post-processing gets wrong.
    t.Mask2FormerImageProcessor(
        size={"shortest_edge": 64, "longest_edge": 96}, size_divisor=32, ignore_index=255
    ).save_pretrained(folder)
    return folder


def oneformer(folder: Path) -> Path:
    import torch
    import transformers as t

    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    backbone = t.SwinConfig(
        embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4, image_size=64,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = t.OneFormerConfig(
        backbone_config=backbone, conv_dim=32, mask_dim=32, hidden_dim=32, encoder_feedforward_dim=32, encoder_layers=1,
        decoder_layers=2, num_attention_heads=2, dim_feedforward=32, num_queries=10, text_encoder_width=32,
        text_encoder_num_layers=1, text_encoder_vocab_size=len(tokenizer), text_encoder_context_length=32,
        task_seq_len=32, max_seq_len=32, id2label=_names(), query_dec_layers=1, text_encoder_n_ctx=4, is_training=False,
    )  # fmt: skip
    t.OneFormerForUniversalSegmentation(config).save_pretrained(folder)
    names = {str(number): name for number, name in _names().items()}
    (folder / "classes.json").write_text(
        json.dumps({number: {"name": name, "isthing": 1} for number, name in names.items()})
    )
    images = t.OneFormerImageProcessor(
        size={"shortest_edge": 64, "longest_edge": 96}, repo_path=str(folder), class_info_file="classes.json",
        num_text=6,
    )  # fmt: skip
    t.OneFormerProcessor(images, tokenizer, max_seq_length=32, task_seq_length=32).save_pretrained(folder)
    return folder


def eomt(folder: Path, *, split: bool = False) -> Path:
    import torch
    import transformers as t

    torch.manual_seed(0)
    config = t.EomtConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, image_size=64, patch_size=16, num_blocks=1,
        num_queries=10, num_register_tokens=1, num_upscale_blocks=1, id2label=_names(),
    )  # fmt: skip
    t.EomtForUniversalSegmentation(config).save_pretrained(folder)
    size = {"shortest_edge": 64, "longest_edge": None if split else 64}
    t.EomtImageProcessor(size=size, do_split_image=split, do_pad=not split).save_pretrained(folder)
    return folder


def depth_pro(folder: Path) -> Path:
    import torch
    import transformers as t

    torch.manual_seed(0)
    part = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "patch_size": 4, "image_size": 16,
            "model_type": "dinov2"}  # fmt: skip
    config = t.DepthProConfig(
        image_model_config=dict(part), patch_model_config=dict(part), fov_model_config=dict(part), patch_size=16,
        fusion_hidden_size=8, intermediate_hook_ids=(1, 0), intermediate_feature_dims=(8, 8),
        scaled_images_ratios=(0.25, 0.5, 1), scaled_images_overlap_ratios=(0.0, 0.5, 0.25),
        scaled_images_feature_dims=(8, 8, 8), use_fov_model=True,
    )  # fmt: skip
    model = t.DepthProForDepthEstimation(config)
    # Random weights see a field of view of no width, in which everything is infinitely far.
    for head, value in ((model.head, 0.2), (model.fov_model.head, 50.0)):
        torch.nn.init.constant_([bias for name, bias in head.named_parameters() if name.endswith("bias")][-1], value)
    model.save_pretrained(folder)
    t.DepthProImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def zoedepth(folder: Path) -> Path:
    import torch
    import transformers as t

    torch.manual_seed(0)
    backbone = t.BeitConfig(
        image_size=32, num_hidden_layers=4, hidden_size=16, intermediate_size=16, num_attention_heads=2, patch_size=8,
        use_relative_position_bias=True, reshape_hidden_states=False,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = t.ZoeDepthConfig(
        backbone_config=backbone, neck_hidden_sizes=[8] * 4, fusion_hidden_size=8, bottleneck_features=8,
        num_relative_features=8, bin_embedding_dim=8, num_attractors=[4, 2, 2, 1],
        bin_configurations=[{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}],
    )  # fmt: skip
    t.ZoeDepthForDepthEstimation(config).save_pretrained(folder)
    t.ZoeDepthImageProcessor(size={"height": 32, "width": 32}, ensure_multiple_of=8).save_pretrained(folder)
    return folder


def sam3(folder: Path) -> Path:
    import torch
    import transformers as t

    torch.manual_seed(0)
    vit = t.Sam3ViTConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=112, patch_size=14,
        window_size=4, global_attn_indexes=[1], pretrain_image_size=56,
    )  # fmt: skip
    vision = t.Sam3VisionConfig(
        backbone_config=vit, fpn_hidden_size=32, backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]]
    )
    small = {"hidden_size": 32, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    tokenizer = clip_tokenizer()
    text = {
        "model_type": "clip_text_model", "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 32,
        "projection_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32,
        "hidden_act": "gelu",
    }  # fmt: skip
    config = t.Sam3Config(
        vision_config=vision, text_config=text, geometry_encoder_config=dict(small), detr_encoder_config=dict(small),
        detr_decoder_config={**small, "num_queries": 12},
        mask_decoder_config={"hidden_size": 32, "num_upsampling_stages": 2, "num_attention_heads": 2},
    )  # fmt: skip
    t.Sam3Model(config).save_pretrained(folder)
    images = t.Sam3ImageProcessor(size={"height": 112, "width": 112})
    t.Sam3Processor(images, tokenizer).save_pretrained(folder)
    return folder


def clip_tokenizer() -> Any:
    """A tokenizer of single bytes, made from nothing."""
    import transformers as t
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return t.CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=32)


def flux2_klein(folder: Path) -> Path:
    """A whole image-edit pipeline: tokenizer, language model, transformer, VAE, scheduler."""
    import torch
    from diffusers import (
        AutoencoderKLFlux2,
        FlowMatchEulerDiscreteScheduler,
        Flux2KleinPipeline,
    )
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2TokenizerFast, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    vocabulary = {letter: number for number, letter in enumerate(sorted(ByteLevel.alphabet()))}
    for word in ("<|endoftext|>", "<|im_start|>", "<|im_end|>"):
        vocabulary[word] = len(vocabulary)
    tokenizer = Qwen2TokenizerFast(vocab=vocabulary, merges=[])
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    text_encoder = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer) + 5, hidden_size=16, intermediate_size=16, num_hidden_layers=3,
            num_attention_heads=2, num_key_value_heads=2, head_dim=8,
        )
    )  # fmt: skip
    transformer = flux2_transformer()
    vae = AutoencoderKLFlux2(
        block_out_channels=(4,), down_block_types=("DownEncoderBlock2D",), up_block_types=("UpDecoderBlock2D",),
        layers_per_block=1, latent_channels=4, norm_num_groups=1, use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    with torch.no_grad():
        vae.decoder.conv_out.weight *= 0.003  # nearly gray pictures, which can be read as gray depth
    Flux2KleinPipeline(
        FlowMatchEulerDiscreteScheduler(), vae, text_encoder, tokenizer, transformer, is_distilled=True
    ).save_pretrained(folder)
    return folder


def flux2_transformer(seed: int = 0) -> Any:
    import torch
    from diffusers import Flux2Transformer2DModel

    torch.manual_seed(seed)
    return Flux2Transformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=48, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    )  # fmt: skip


def instruct_pix2pix(folder: Path) -> Path:
    """An image editor whose U-Net sees the photo as four further channels."""
    import diffusers as d
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    unet = d.UNet2DConditionModel(
        block_out_channels=(8, 8), layers_per_block=1, sample_size=32, in_channels=8, out_channels=4, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8, attention_head_dim=4,
    )  # fmt: skip
    vae = d.AutoencoderKL(
        block_out_channels=[8, 8], in_channels=3, out_channels=3, norm_num_groups=4,
        down_block_types=["DownEncoderBlock2D", "DownEncoderBlock2D"],
        up_block_types=["UpDecoderBlock2D", "UpDecoderBlock2D"], latent_channels=4,
    )  # fmt: skip
    tokenizer = clip_tokenizer()
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=32,
        )
    )  # fmt: skip
    d.StableDiffusionInstructPix2PixPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=d.DDIMScheduler(clip_sample=False),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


KLEIN = {
    "steps": 2,
    "guidance_scale": 1.0,
    "min_pixels": 0,
    "max_pixels": 64 * 64,
    "pipeline_kwargs": {"text_encoder_out_layers": [1, 2, 3], "max_sequence_length": 64},
}
"""What the tiny pipeline needs."""


def marigold(folder: Path, *, what: str = "depth") -> Path:
    import diffusers as d
    import torch
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    unet = d.UNet2DConditionModel(
        block_out_channels=(8, 8), layers_per_block=1, sample_size=8, in_channels=8, out_channels=4, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8, attention_head_dim=4,
    )  # fmt: skip
    vae = d.AutoencoderKL(
        block_out_channels=[8, 8], in_channels=3, out_channels=3, norm_num_groups=4,
        down_block_types=["DownEncoderBlock2D", "DownEncoderBlock2D"],
        up_block_types=["UpDecoderBlock2D", "UpDecoderBlock2D"], latent_channels=4,
    )  # fmt: skip
    tokenizer = clip_tokenizer()
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=32,
        )
    )  # fmt: skip
    kind = d.MarigoldDepthPipeline if what == "depth" else d.MarigoldNormalsPipeline
    scheduler = d.DDIMScheduler(prediction_type="v_prediction", clip_sample=False)
    kind(
        unet=unet, vae=vae, scheduler=scheduler, text_encoder=text, tokenizer=tokenizer, default_denoising_steps=1,
        default_processing_resolution=64, prediction_type=what,
    ).save_pretrained(folder)  # fmt: skip
    return folder
