"""What the DICOMweb services work with, and the URLs that they give out."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from leadglass.archive.access import Access
from leadglass.archive.deletion import Deletions
from leadglass.archive.ingest import Ingest
from leadglass.archive.query import Finder
from leadglass.archive.reading import Reader
from leadglass.archive.rendering import Renderer
from leadglass.base.clock import Clock
from leadglass.base.errors import RequestRefused
from leadglass.base.ids import UID, is_uid

ROOT: Final = "/dicom-web"
"""Base of every DICOMweb URL, from the root of the server."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the door was given; made once by ``app.compose``.

    Attributes:
        storage_sop_classes: what may be stored: the standard's and the site's private ones, as over DIMSE.
        transfer_syntaxes: what is stored as sent, as over DIMSE.
        base_url: ``https://host:port`` of the absolute URLs in answers, without a slash at the end; empty takes the
            host that the client asked for.
    """

    access: Access
    ingest: Ingest
    finder: Finder
    reader: Reader
    renderer: Renderer
    deletions: Deletions
    clock: Clock
    storage_sop_classes: Collection[str]
    transfer_syntaxes: Collection[str]
    base_url: str = ""

    def root_of(self, request: Request) -> str:
        """Return the absolute URL of ``ROOT``, without a slash at the end."""
        return (self.base_url or f"https://{request.url.netloc}") + ROOT


def study_url(root: str, study_uid: str) -> str:
    """Return the URL of a study. ``root`` is of ``Services.root_of``."""
    return f"{root}/studies/{study_uid}"


def series_url(root: str, study_uid: str, series_uid: str) -> str:
    """Return the URL of a series."""
    return f"{root}/studies/{study_uid}/series/{series_uid}"


def instance_url(root: str, study_uid: str, series_uid: str, sop_instance_uid: str) -> str:
    """Return the URL of an instance."""
    return f"{root}/studies/{study_uid}/series/{series_uid}/instances/{sop_instance_uid}"


def uid_in_path(request: Request, name: str) -> UID:
    """Return a UID that the path names.

    Raises:
        RequestRefused: 400, it has not the form of one (PS3.5 9.1).
    """
    text = str(request.path_params[name])
    if not is_uid(text):
        raise RequestRefused("the path holds something else where a UID is expected (PS3.5 9.1)")
    return UID(text)
