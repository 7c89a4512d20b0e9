"""The batch job that collects requests, and its file on disk."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import IO

from distill.errors import DistillError
from distill.teachers.hosted.batch.files import BatchFiles, image_id
from distill.teachers.hosted.batch.job import BatchJob
from distill.teachers.hosted.services.base import BatchApi, Request, RequestImage

_MAX_BYTES = 1_900_000_000
"""The service accepts 2 GB per file."""
IMAGE_GONE = "the photo of a failed batch job is no longer available; label it again to send it again"


class OpenJob:
    """Collects requests in the file of one job at a time.

    Attributes:
        job: The job that is being filled; None: the next request starts one.
    """

    def __init__(self, api: BatchApi, files: BatchFiles) -> None:
        self._api, self._files = api, files
        self.job: BatchJob | None = None
        self._file: IO[bytes] | None = None
        self._saved_images: dict[str, RequestImage] = {}

    def save_images(self, images: dict[str, RequestImage]) -> None:
        """Remember the images of requests that have to be sent again."""
        self._saved_images |= images

    def line(self, request: Request) -> bytes:
        """The request as a line of the file.

        Raises:
            DistillError: The image is no longer available.
        """
        image = request.image if request.image.data else self._saved_images.get(image_id(request))
        if image is None:
            raise DistillError(IMAGE_GONE)
        return self._api.request_line(replace(request, image=image))

    def has_room(self, line: bytes) -> bool:
        """Whether the line fits into the file of the current job."""
        return self.job is None or self.job.size_bytes + len(line) <= _MAX_BYTES

    def add(self, request: Request, line: bytes) -> BatchJob:
        """Write the line into the file, drop the request's image, and return the job.

        Raises:
            OSError: The file cannot be written.
        """
        if self.job is None or self._file is None:
            job = BatchJob(f"distill-{secrets.token_hex(10)}")
            self._file = self._files.open_upload(job.label)
            self.job = job
        self._file.write(line)
        self.job.requests[request.answer_key.digest] = replace(request, image=RequestImage(), presence_check=None)
        self.job.size_bytes += len(line)
        request.image.data = b""  # ten thousand images would fill the memory; this one is in the file
        return self.job

    def close(self) -> BatchJob | None:
        """Close the file and return its job; None if there is none."""
        job, file = self.job, self._file
        self.job = self._file = None
        if file is not None:
            file.close()
        return job
