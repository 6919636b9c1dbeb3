"""Bodies of POST /images: a form with a file, or the bytes themselves. Both end in a temporary file on disk."""

from collections.abc import Callable, Mapping
from typing import IO, Any

from django.conf import settings
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.datastructures import MultiValueDict
from django.utils.http import parse_header_parameters
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from .exceptions import Empty, LengthRequired, Malformed, SizeMismatch, TooLarge

FORM_OVERHEAD = 64 * 1024
CHUNK = 256 * 1024


def require_length(request: Request) -> int:
    """Refuse by Content-Length, before a byte of the body is read. Raises LengthRequired, Empty, TooLarge.

    Returns how many bytes the file has at least.
    """
    length = request.META.get("CONTENT_LENGTH") or ""
    if not (length.isascii() and length.isdigit()):
        raise LengthRequired
    if int(length) == 0:
        raise Empty
    if int(length) > settings.MAX_UPLOAD_SIZE + FORM_OVERHEAD:
        raise TooLarge(f"It is larger than {settings.MAX_UPLOAD_SIZE:,} bytes.")
    return max(1, int(length) - FORM_OVERHEAD)


class DiskUploadHandler(TemporaryFileUploadHandler):
    """Django's own ends the temporary file's name as the client's does, which may be longer than a disk takes."""

    def new_file(self, field_name: str, file_name: str, *args: Any, **kwargs: Any) -> None:
        super().new_file(field_name, "unnamed", *args, **kwargs)
        self.file.name = file_name


def close_files(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """A middleware. Of a form that cannot be read to its end Django leaves the file open that it was at."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        for handler in request.upload_handlers:
            if isinstance(handler, DiskUploadHandler) and hasattr(handler, "file"):
                handler.file.close()
        return response

    return answer


class RawImageParser(BaseParser):
    """The body is the file; its name is in Content-Disposition (RFC 6266), its labels are in the query."""

    media_type = "image/*"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        request: Request = (parser_context or {})["request"]
        content_type = (media_type or "").partition(";")[0]
        file = TemporaryUploadedFile("unnamed", content_type, 0, None)
        # As DRF does with the files of a form: Django closes them with the request.
        request._request._files = MultiValueDict({"file": [file]})  # type: ignore[attr-defined]
        while chunk := stream.read(CHUNK):
            file.write(chunk)
            file.size = (file.size or 0) + len(chunk)
        if file.size != int(request.META["CONTENT_LENGTH"]):
            raise SizeMismatch
        file.seek(0)
        labels: dict[str, Any] = {"tags": request.query_params.getlist("tags")}
        if name := self._name(request):
            labels["name"] = name
        return {"file": file, **labels}

    def _name(self, request: Request) -> str:
        try:
            _, parameters = parse_header_parameters(request.headers.get("Content-Disposition", ""))
        except (LookupError, ValueError) as error:  # an unknown charset; longer than Django reads
            raise Malformed("The Content-Disposition could not be read.") from error
        name: str = parameters.get("filename", "") or request.query_params.get("name", "")
        return name


class AnyBytesParser(RawImageParser):
    """For clients that do not know what they send."""

    media_type = "application/octet-stream"
