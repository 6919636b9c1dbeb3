"""What a viewer is given: links to the original and to renditions, made by arithmetic."""

from django.conf import settings
from django.http import HttpResponseRedirect

from .models import RENDITION_TYPE, Image, ListedImage
from .storage import Link, image_storage

# What a file of a type may be called; the first is what a name gets that says something else.
EXTENSIONS = {
    "image/jpeg": ("jpg", "jpeg", "jpe", "jfif"),
    "image/png": ("png", "apng"),
    "image/webp": ("webp",),
    "image/gif": ("gif",),
    "image/avif": ("avif", "avifs"),
}


def links_of(image: Image | ListedImage) -> tuple[Link, list[Link]]:
    """Links that show the original, and each rendition."""
    storage = image_storage()
    start = storage.window_start(image.path)
    folder = image.path.rpartition("/")[0]
    (original,) = storage.links([image.path], image.content_type, start=start)
    keys = [f"{folder}/{side}.webp" for side in image.sides]
    return original, storage.links(keys, RENDITION_TYPE, start=start)


def original_link(image: Image, *, download: bool = False) -> Link:
    """A link that shows the original, or saves it under the image's name."""
    return image_storage().link(
        image.path,
        content_type=image.content_type,
        download_as=file_name(image) if download else "",
    )


def file_name(image: Image) -> str:
    """The name, with an extension of what it is: a picture that is a page as well is not saved as `page.html`."""
    known = EXTENSIONS[image.content_type]
    has_one = image.name.lower().endswith(tuple(f".{extension}" for extension in known))
    return image.name if has_one else f"{image.name}.{known[0]}"


def rendition_link(image: Image, side: int, *, download: bool = False) -> Link:
    """A link to the rendition that shows `side` best: that one, else the next larger, else the largest."""
    side = image.nearest_side(side)
    name = f"{image.name.rpartition('.')[0] or image.name}-{side}.webp"
    return image_storage().link(
        image.rendition_key(side),
        content_type=RENDITION_TYPE,
        download_as=name if download else "",
    )


def stripped_link(image: Image, *, download: bool = False) -> Link:
    """A link to the same picture without metadata, which is the original if that carries none.

    An image that was kept before such copies were made shows its largest rendition, which carries none either.
    """
    if not image.stripped_path:
        return rendition_link(image, max(image.sides), download=download)
    return image_storage().link(
        image.stripped_path,
        content_type=image.content_type,
        download_as=file_name(image) if download else "",
    )


def redirect_to_content(
    image: Image, *, side: int | None = None, stripped: bool = False, download: bool = False
) -> HttpResponseRedirect:
    """302 to a rendition, which carries no metadata; without a side to the original, or to its stripped copy.

    Caches forget it before the link dies.
    """
    if side is not None:
        link = rendition_link(image, side, download=download)
    elif stripped:
        link = stripped_link(image, download=download)
    else:
        link = original_link(image, download=download)
    response = HttpResponseRedirect(link.url)
    response["Cache-Control"] = f"private, max-age={settings.LINK_WINDOW // 2}"
    return response
