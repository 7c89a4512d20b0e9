"""Generator with a store in front of it."""

from __future__ import annotations

from typing import Any

from distill.images import Photo
from distill.teachers.base import (
    CacheableGenerator,
    ContentRefused,
    Dependencies,
    GeneratedImage,
    Generator,
    PhotoRef,
    PromptSpec,
    dependencies_of,
)
from distill.teachers.store.answers import AnswerStore
from distill.teachers.store.records import IMAGE, REFUSED, AnswerCorrupt, AnswerKey, AnswerMissing, CachedAnswer


class CachingGenerator(Generator):
    """Returns stored images; generates missing ones and stores them before they are decoded.

    A damaged stored image is generated again: these generators cost only time.

    Args:
        generator: Generates missing images.
        store: Where images are stored.
        cached_only: Generate nothing; a prompt without a stored image fails.
        license: License of the images, for their records.
    """

    def __init__(
        self, generator: CacheableGenerator, store: AnswerStore, *, cached_only: bool = False, license: str = "unknown"
    ) -> None:
        self._generator, self._store = generator, store
        self._cached_only, self._license = cached_only, license
        self.model = generator.model

    def fingerprint(self) -> list[str]:
        """As the generator's."""
        return self._generator.fingerprint()

    def dependencies(self, photo: PhotoRef) -> Dependencies:
        """As the generator's."""
        return dependencies_of(self._generator, photo)

    def prompt_specs(self, photo: Photo) -> list[PromptSpec]:
        """As the generator's."""
        return self._generator.prompt_specs(photo)

    def parameters(self, photo: Photo, prompt_spec: PromptSpec) -> dict[str, Any]:
        """As the generator's."""
        return self._generator.parameters(photo, prompt_spec)

    def generate(self, photo: Photo, prompt_spec: PromptSpec, *, seed: int, sample: int = 0) -> GeneratedImage:
        """The stored image, or a new one, which is stored first.

        Raises:
            ContentRefused: The generator refuses, now or in an earlier run.
            AnswerMissing: No image is stored, and `cached_only` is set.
            StoreFull: The image could not be stored.
            DistillError: The generator failed.
        """
        parameters = self._generator.parameters(photo, prompt_spec)
        answer_key = AnswerKey(photo.sha256, prompt_spec.prompt, self.model, parameters, seed, sample)
        try:
            stored = self._store.get(answer_key.digest)
        except AnswerCorrupt:
            if self._cached_only:
                raise
            stored = None
        if stored is None:
            if self._cached_only:
                raise AnswerMissing("no answer is stored for this prompt", hint="request it without --offline")
            stored = self._generate(answer_key, photo, prompt_spec)
        return stored.answer(prompt_spec)

    def _generate(self, answer_key: AnswerKey, photo: Photo, prompt_spec: PromptSpec) -> CachedAnswer:
        about: dict[str, Any] = {"prompt_spec": prompt_spec, "photo": photo.name, "license": self._license}
        try:
            answer = self._generator.generate(photo, prompt_spec, seed=answer_key.seed, sample=answer_key.sample)
        except ContentRefused as refusal:
            return self._store.put(answer_key, REFUSED, reason=refusal.message, **about)
        return self._store.put(
            answer_key, IMAGE, answer.data, cost_usd=answer.cost_usd, model_version=answer.model, **about
        )
