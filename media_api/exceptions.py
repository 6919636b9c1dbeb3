"""Every refusal: a code for programs, a sentence for people, the HTTP status that says the same.

Plain Python without Django, so that whatever decodes pictures can raise them too. How a refusal becomes an answer is
told in `problems`.
"""

from collections.abc import Set
from typing import ClassVar, NamedTuple


class FieldError(NamedTuple):
    """What is wrong with one field: a JSON pointer, a code, a sentence."""

    pointer: str
    code: str
    detail: str


class Refusal(Exception):
    """Something is not done, and the client is told why. The argument replaces the class's own sentence."""

    status: ClassVar[int]
    code: ClassVar[str]
    sentence: ClassVar[str]
    retry_after: int | None = None  # seconds

    def __init__(self, detail: str = "", *, errors: list[FieldError] | None = None) -> None:
        super().__init__(detail or self.sentence)
        self.detail = detail or self.sentence
        self.errors = errors or []


class Verdict(Refusal):
    """A refusal that the bytes themselves have earned: it is kept with the upload and never retried."""

    status = 422


class NotAnImage(Verdict):
    code = "not_an_image"
    sentence = "This is not a picture that can be read here: JPEG, PNG, WebP, GIF and AVIF are."


class Truncated(Verdict):
    code = "truncated"
    sentence = "It ends too early, so the transfer was probably cut. Send it again."


class TooManyPixels(Verdict):
    code = "too_many_pixels"
    sentence = "It has more pixels than this service takes."


class TooManyFrames(Verdict):
    code = "too_many_frames"
    sentence = (
        "The animation has more frames, or more pixels in all its frames, than this service takes."
    )


class TooComplex(Verdict):
    code = "too_complex"
    sentence = "It takes more time or memory to read than this service allows."


class TooLarge(Verdict):
    status = 413
    code = "too_large"
    sentence = "It is larger than this service takes."


class Empty(Verdict):
    code = "empty"
    sentence = "The file is empty."


class SizeMismatch(Verdict):
    code = "size_mismatch"
    sentence = "What arrived does not have the size that was announced."


class ChecksumMismatch(Verdict):
    code = "checksum_mismatch"
    sentence = "What arrived does not have the SHA-256 that was announced."


class NotStaged(Refusal):
    status = 409
    code = "not_staged"
    sentence = "The bytes have not arrived yet. Send them to the upload's URL, then complete it."


class UploadExpired(Refusal):
    status = 410
    code = "upload_expired"
    sentence = "The time for this upload is over. Nothing was kept; announce it again."


class AlreadyKept(Refusal):
    status = 409
    code = "already_kept"
    sentence = "This upload is an image already. Delete the image instead."


class InProgress(Refusal):
    status = 409
    code = "in_progress"
    sentence = (
        "The first request with this Idempotency-Key is still at work. Ask again in a few seconds."
    )
    retry_after = 5


class IdempotencyConflict(Refusal):
    status = 422
    code = "idempotency_conflict"
    sentence = "This Idempotency-Key came with another upload. Use a new key for each upload."


class Gone(Refusal):
    status = 410
    code = "gone"
    sentence = "What came with this Idempotency-Key was deleted. Use a new key to send it again."


class Trashed(Refusal):
    status = 409
    code = "trashed"
    sentence = "This image is in the trash. Restore it before you change it."


class PreconditionFailed(Refusal):
    status = 412
    code = "precondition_failed"
    sentence = "The image was changed since you read it. Read it again."


class Malformed(Refusal):
    status = 400
    code = "malformed"
    sentence = "The body of the request could not be read."


class Invalid(Refusal):
    status = 422
    code = "invalid"
    sentence = "Some fields are not allowed as they are; `errors` says which."


class Unauthenticated(Refusal):
    status = 401
    code = "unauthenticated"
    sentence = "Sign in, or send an API key as `Authorization: Bearer ...`."


class Forbidden(Refusal):
    status = 403
    code = "forbidden"
    sentence = "This key or session may not do that."


class QuotaExceeded(Refusal):
    status = 403
    code = "quota_exceeded"
    sentence = "There is no room for it in this account's quota. The trash counts too: delete for good to make room."


class NotFound(Refusal):
    status = 404
    code = "not_found"
    sentence = "There is nothing here, or it is not yours."


class MethodNotAllowed(Refusal):
    status = 405
    code = "method_not_allowed"
    sentence = "This address does not take that method; `Allow` says which."


class NotAcceptable(Refusal):
    status = 406
    code = "not_acceptable"
    sentence = "The answer cannot be given in the format that `Accept` asks for."


class LengthRequired(Refusal):
    status = 411
    code = "length_required"
    sentence = "Send a Content-Length; chunked bodies are not taken."


class UnsupportedMediaType(Refusal):
    status = 415
    code = "unsupported_media_type"
    sentence = "Send a picture as multipart/form-data with a `file` or as image/* bytes, and all else as JSON."


class TooSlow(Refusal):
    status = 408
    code = "too_slow"
    sentence = "The body of the request came too slowly. Nothing of it was kept; try again."


class Busy(Refusal):
    status = 503
    code = "busy"
    sentence = "Too many slow uploads are under way. Nothing of this one was kept; try again."
    retry_after = 5


class RateLimited(Refusal):
    status = 429
    code = "rate_limited"
    sentence = "Too many requests. `Retry-After` says in how many seconds to try again."

    def __init__(self, detail: str = "", *, retry_after: int = 60) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class StorageUnavailable(Refusal):
    """The bucket did not answer, or refused. The cause is chained and belongs in the log only.

    `kept_back` are the objects that it did not remove, where it answered and removed the others.
    """

    status = 503
    code = "storage_unavailable"
    sentence = "The image store does not answer at the moment. Nothing was lost; try again."
    retry_after = 5

    def __init__(self, detail: str = "", *, kept_back: Set[str] = frozenset()) -> None:
        super().__init__(detail)
        self.kept_back = kept_back
        if kept_back:
            self.add_note(f"{len(kept_back)} objects stay, {min(kept_back)} among them.")


class ForeignBucket(Exception):
    """The bucket is not this installation's, so nothing in it may be removed. For operators, never for clients."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The bucket belongs to another installation: {reason}.")


class PublicBucket(Exception):
    """Whoever knows its address can have pictures out of the bucket. For operators, never for clients."""

    def __init__(self, opened: list[str]) -> None:
        super().__init__(
            f"The bucket is public: without any key, anybody can {' and '.join(opened)}."
        )


class DecoderCrashed(Exception):
    """A decoder died or talked nonsense in its sandbox. Tried again, but not for ever (`examination.look`)."""


class DecoderFailed(DecoderCrashed):
    """By a fault of ours or of the machine, as far as can be seen: nothing that counts against the picture."""


class DatabaseUnavailable(Refusal):
    status = 503
    code = "database_unavailable"
    sentence = "The database does not answer at the moment. Nothing was lost; try again."
    retry_after = 5


class Internal(Refusal):
    status = 500
    code = "internal"
    sentence = "A fault of ours. It was logged under the request id."


def verdict_of(code: str, detail: str) -> Verdict:
    """The verdict that was written down with an upload."""
    return VERDICTS[code](detail)


VERDICTS = {verdict.code: verdict for verdict in Verdict.__subclasses__()}
