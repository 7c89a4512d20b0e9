"""How the pipelines of a family are trained: what is encoded, what the network sees, what it is compared with.

One row of `FAMILIES` per pipeline class of the diffusers library.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from distill.errors import UsageError

Prompt = Mapping[str, Tensor]
"""Tensors of an encoded prompt by argument of the network."""
_DROPOUT = 0.05
"""Probability that prompt, photo or both are left out, for guidance without a classifier; that of InstructPix2Pix."""


class TuningFamily(ABC):
    """One kind of pipeline.

    Attributes:
        network: Name of the component that is trained.
        modules: Default layers of the low-rank weights, by the end of their path.
    """

    network: str
    modules: tuple[str, ...]

    @abstractmethod
    def encode_photo(self, pipe: Any, image: Image.Image) -> Tensor:
        """Latents of a photo as the network sees it (1, c, h, w)."""

    @abstractmethod
    def encode_target(self, pipe: Any, image: Image.Image) -> Tensor:
        """Latents of an image to generate (1, c, h, w)."""

    @abstractmethod
    def encode_prompt(self, pipe: Any, prompt: str, arguments: Mapping[str, Any]) -> Prompt:
        """Embeddings of a prompt; `arguments` of the pipeline call change them in some pipelines."""

    @abstractmethod
    def loss(
        self, pipe: Any, target: Tensor, photo: Tensor, prompt: Prompt, empty: Prompt, rng: torch.Generator
    ) -> Tensor:
        """Mean squared error of one noisy target; `empty` is the prompt without words."""

    @abstractmethod
    def save(self, pipe: Any, weights: Mapping[str, Tensor], folder: str) -> None:
        """Write low-rank weights as the pipeline reads them."""


class Flux2Klein(TuningFamily):
    """Flow matching in a transformer that sees the photo as further tokens."""

    network = "transformer"
    modules = (
        *("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
        *("to_qkv_mlp_proj", "to_out"),
    )

    def encode_photo(self, pipe: Any, image: Image.Image) -> Tensor:
        """Normalized latents."""
        return self.encode_target(pipe, image)

    def encode_target(self, pipe: Any, image: Image.Image) -> Tensor:
        """Normalized latents."""
        pixels = pipe.image_processor.preprocess(image, height=image.height, width=image.width)
        latents: Tensor = pipe._encode_vae_image(pixels.to(pipe.vae.device, pipe.vae.dtype), generator=None)
        return latents

    def encode_prompt(self, pipe: Any, prompt: str, arguments: Mapping[str, Any]) -> Prompt:
        """Hidden states of the language model, and positions."""
        embeddings, positions = pipe.encode_prompt(prompt=prompt, **_known(pipe.encode_prompt, arguments))
        return {"encoder_hidden_states": embeddings, "txt_ids": positions}

    def loss(
        self, pipe: Any, target: Tensor, photo: Tensor, prompt: Prompt, empty: Prompt, rng: torch.Generator
    ) -> Tensor:
        """Error of the velocity from image to noise; times are logit-normal, as in arXiv 2403.03206."""
        sigma = torch.sigmoid(torch.randn(1, generator=rng)).to(target)
        noise = _noise(target, rng)
        noisy = (1 - sigma) * target + sigma * noise
        tokens, places = pipe._pack_latents(noisy), pipe._prepare_latent_ids(noisy)
        seen, seen_places = pipe._pack_latents(photo), pipe._prepare_image_ids([photo])
        # In the precision of the latents: that of the network may be that of its low-rank weights.
        velocity = pipe.transformer(
            hidden_states=torch.cat([tokens, seen], dim=1),
            timestep=sigma,
            guidance=None,
            img_ids=torch.cat([places, seen_places], dim=1).to(tokens.device),
            return_dict=False,
            **prompt,
        )[0][:, : tokens.shape[1]]
        return nn.functional.mse_loss(velocity.float(), pipe._pack_latents(noise - target).float())

    def save(self, pipe: Any, weights: Mapping[str, Tensor], folder: str) -> None:
        """One safetensors file."""
        pipe.save_lora_weights(folder, transformer_lora_layers=dict(weights))


class InstructPix2Pix(TuningFamily):
    """Noise or velocity prediction in a U-Net that sees the photo as further channels (arXiv 2211.09800)."""

    network = "unet"
    modules = ("to_q", "to_k", "to_v", "to_out.0")

    def encode_photo(self, pipe: Any, image: Image.Image) -> Tensor:
        """Latents without their scale, as the pipeline gives them to the network."""
        pixels = pipe.image_processor.preprocess(image, height=image.height, width=image.width)
        latents: Tensor = pipe.vae.encode(pixels.to(pipe.vae.device, pipe.vae.dtype)).latent_dist.mode()
        return latents

    def encode_target(self, pipe: Any, image: Image.Image) -> Tensor:
        """Scaled latents."""
        scaled: Tensor = self.encode_photo(pipe, image) * pipe.vae.config.scaling_factor
        return scaled

    def encode_prompt(self, pipe: Any, prompt: str, arguments: Mapping[str, Any]) -> Prompt:
        """Hidden states of CLIP."""
        return {"encoder_hidden_states": pipe._encode_prompt(prompt, pipe.device, 1, False)}

    def loss(
        self, pipe: Any, target: Tensor, photo: Tensor, prompt: Prompt, empty: Prompt, rng: torch.Generator
    ) -> Tensor:
        """Error of what the scheduler's config says that the network predicts."""
        import diffusers

        kind: Any = diffusers.DDPMScheduler
        scheduler = kind.from_config(pipe.scheduler.config)
        time = torch.randint(0, scheduler.config.num_train_timesteps, (1,), generator=rng).to(target.device)
        noise = _noise(target, rng)
        noisy = scheduler.add_noise(target, noise, time)
        drawn = float(torch.rand(1, generator=rng))
        if drawn < 2 * _DROPOUT:
            prompt = empty
        if _DROPOUT <= drawn < 3 * _DROPOUT:
            photo = torch.zeros_like(photo)
        predicted = pipe.unet(torch.cat([noisy, photo], dim=1), time, return_dict=False, **prompt)[0]
        wanted = {"epsilon": noise, "sample": target, "v_prediction": scheduler.get_velocity(target, noise, time)}[
            scheduler.config.prediction_type
        ]
        return nn.functional.mse_loss(predicted.float(), wanted.float())

    def save(self, pipe: Any, weights: Mapping[str, Tensor], folder: str) -> None:
        """One safetensors file."""
        from diffusers.utils import state_dict_utils

        convert: Any = state_dict_utils.convert_state_dict_to_diffusers
        pipe.save_lora_weights(folder, unet_lora_layers=convert(dict(weights)))


FAMILIES: Mapping[str, TuningFamily] = {
    "Flux2KleinPipeline": Flux2Klein(),
    "StableDiffusionInstructPix2PixPipeline": InstructPix2Pix(),
}


def find_family(pipeline: str, where: str) -> TuningFamily:
    """Family of a pipeline class.

    Raises:
        UsageError: It cannot be tuned.
    """
    if pipeline not in FAMILIES:
        raise UsageError(f"{where}: pipelines of {pipeline} cannot be tuned", hint=f"{', '.join(FAMILIES)} can")
    return FAMILIES[pipeline]


def _noise(like: Tensor, rng: torch.Generator) -> Tensor:
    """Noise of the CPU, so that it does not depend on the device."""
    return torch.randn(like.shape, generator=rng).to(like)


def _known(function: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    names = inspect.signature(function).parameters
    return {name: value for name, value in arguments.items() if name in names}
