"""QIDO-RS: searches for studies, series and instances. Source: PS3.18 10.6.

The URL becomes the query that a C-FIND identifier would be (``dicom.query.web``), and the same finder answers it, so both
doors show the same to the same people.

- No match is 204 (Table 10.6.3-1).
- A server never gives more than ``SEARCH_RESULTS_MAX`` at once. Where there is more, a Warning header says so, and
  ``offset`` asks on. ``X-Total-Count`` is given where the exact number is cheap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from leadglass.base.errors import LeadglassError, OutOfResources, RequestRefused
from leadglass.base.ids import UID
from leadglass.base.limits import SEARCH_OFFSET_MAX, SEARCH_RESULTS_MAX
from leadglass.dicom.attributes import BY_KEYWORD
from leadglass.dicom.json import dataset_to_json
from leadglass.dicom.models import Level
from leadglass.dicom.query import WebQuery, build_query, web_answer
from leadglass.doors.dicomweb.services import (
    ROOT,
    Services,
    instance_url,
    series_url,
    study_url,
    uid_in_path,
)
from leadglass.doors.https.endpoints import Endpoint, principal_of
from leadglass.doors.https.threads import in_thread
from leadglass.trust.audit.interfaces import EventCode
from leadglass.trust.identity.models import Principal
from leadglass.wire.dicomweb.media_types import DICOM_JSON, JSON, PROBLEM_JSON, MediaType, acceptable, choose
from leadglass.wire.dicomweb.search_parameters import SearchParameters, parse_search

_ANSWERS: Final = (MediaType(DICOM_JSON), MediaType(JSON))

_MORE: Final = "There are additional results that can be requested."
_CUT: Final = (
    "The number of results exceeded the maximum supported by the server. Additional results can be requested."
)
_PASSED_OVER: Final = (
    "An attribute to be matched is not supported at this level. It took no part in the search."
)
_NO_EMPTY: Final = (
    "The emptyvaluematching parameter is not supported. Empty Value Matching has not been performed."
)
_NO_MULTIPLE: Final = (
    "The multiplevaluematching parameter is not supported. Multiple Value Matching has not been performed."
)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer.

    Attributes:
        results: DICOM JSON objects.
        total: of all pages, where that is known.
        warnings: texts of Warning headers.
    """

    results: Sequence[bytes]
    total: int | None
    warnings: Sequence[str]


def search(
    services: Services, principal: Principal, root: str, found: WebQuery, asked: SearchParameters
) -> Page:
    """Return one page of what matches and may be shown, on record.

    Raises:
        AccessDenied: they may not search.
        AuditUnavailable: what would be shown cannot be put on record.
        RequestRefused: 413, too many candidates, or too many matches before ``offset``.
    """
    limit = SEARCH_RESULTS_MAX if asked.limit is None else asked.limit

    def url_of(study_uid: str, series_uid: str, sop_instance_uid: str) -> str:
        if sop_instance_uid:
            return instance_url(root, study_uid, series_uid, sop_instance_uid)
        return series_url(root, study_uid, series_uid) if series_uid else study_url(root, study_uid)

    try:
        matches = services.finder.find(principal, found.query, offset=asked.offset, limit=limit)
        results = [dataset_to_json(web_answer(match.response, found, url_of)) for match in matches]
        shown = asked.offset + len(results)
        last = len(results) < limit and (bool(results) or not asked.offset)
        # Who has seen the last page knows the number; it need not be counted, and no second event says that it was.
        counted = None if last else services.finder.count(principal, found.query)
    except OutOfResources as error:
        raise RequestRefused("the search is too broad: narrow it", http_status=413) from error
    more, total = False, shown if counted is None else None
    if counted is not None:
        more = counted.value > shown if counted.exact else len(results) == limit
        total = counted.value if counted.exact else None
    warnings: list[str] = []
    if more and (asked.limit is None or asked.limited):
        warnings.append(_CUT)
    elif more:
        warnings.append(_MORE)
    if found.passed_over:
        warnings.append(_PASSED_OVER)
    if asked.empty_value_matching:
        warnings.append(_NO_EMPTY)
    if asked.multiple_value_matching:
        warnings.append(_NO_MULTIPLE)
    return Page(results, total, warnings)


# --- the endpoints ---------------------------------------------------------------------------------------------


class _Qido:
    """One resource: what is listed, and which UIDs its path names."""

    def __init__(self, services: Services, level: Level, *, in_study: bool, in_series: bool) -> None:
        self._services = services
        self._level = level
        self._in_study = in_study
        self._in_series = in_series

    async def search(self, request: Request) -> Response:
        return await in_thread(self._search, request)

    def _search(self, request: Request) -> Response:
        services = self._services
        principal = principal_of(request)
        try:
            asked = parse_search(request.scope["query_string"])
            answer = choose(_ANSWERS, acceptable(request.headers.get("accept"), asked.accept))
            found = self._query(request, asked)
            root = services.root_of(request)
            page = search(services, principal, root, found, asked)
        except LeadglassError as error:
            services.access.record_refused(principal, EventCode.QUERY_ANSWERED, error)
            raise
        headers = [("warning", f'299 {root}: "{text}"') for text in page.warnings]
        if page.total is not None:
            headers.append(("x-total-count", str(page.total)))
        if not page.results:
            response = Response(status_code=204)
        else:
            response = Response(b"[" + b",".join(page.results) + b"]", media_type=str(answer))
        for name, value in headers:
            response.headers.append(name, value)
        return response

    def _query(self, request: Request, asked: SearchParameters) -> WebQuery:
        study_uid: UID | None = uid_in_path(request, "study") if self._in_study else None
        return build_query(
            self._level,
            [(match.path, match.value) for match in asked.matches],
            study_uid=study_uid,
            series_uid=uid_in_path(request, "series") if self._in_series else None,
            included=asked.included,
            include_all=asked.include_all,
            fuzzy=asked.fuzzy,
        )


_OBJECTS: Final[dict[str, object]] = {"schema": {"type": "array", "items": {"type": "object"}}}
_UID_SCHEMA: Final = {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)*$", "maxLength": 64}
_FIELDS: Final[dict[str, object]] = {
    "type": "array",
    "items": {
        "anyOf": [
            {"type": "string", "pattern": "^[0-9A-Fa-f]{8}$"},
            {"type": "string", "enum": ["all", *sorted(BY_KEYWORD)]},
        ]
    },
}
"""Keywords of PS3.6 that nothing is held for are taken as well, and left out of the answers."""
_FLAG: Final = {"type": "string", "enum": ["true", "false"]}


def _parameter(
    name: str, description: str, schema: dict[str, object], where: str = "query"
) -> dict[str, object]:
    return {
        "name": name,
        "in": where,
        "description": description,
        "required": where == "path",
        "schema": schema,
    }


def _operation(operation_id: str, summary: str, path: Sequence[str]) -> dict[str, object]:
    problem = {"content": {PROBLEM_JSON: {"schema": {"type": "object"}}}}
    return {
        "operationId": operation_id,
        "tags": ["QIDO-RS"],
        "summary": summary,
        "description": "Beside these parameters every attribute is one, by keyword, by tag of eight hexadecimal digits, or "
        "by a path of them with dots: PatientName=DOE*, 00100020=17, RequestAttributesSequence.RequestedProcedureID=R1.",
        "parameters": [_parameter(name, f"{name} instance UID", dict(_UID_SCHEMA), "path") for name in path]
        + [
            _parameter("includefield", "attributes to be answered beside the usual ones, or all", _FIELDS)
            | {"style": "form", "explode": False},
            _parameter("fuzzymatching", "person names match fuzzily", dict(_FLAG)),
            _parameter("limit", "results at most", {"type": "integer", "minimum": 0}),
            _parameter(
                "offset",
                "results to pass over",
                {"type": "integer", "minimum": 0, "maximum": SEARCH_OFFSET_MAX},
            ),
        ],
        "responses": {
            "200": {
                "description": "what matches and may be shown",
                "headers": {
                    "X-Total-Count": {
                        "description": "of all pages, where cheap",
                        "schema": {"type": "integer"},
                    },
                    "Warning": {
                        "description": "299: there is more, or a parameter was passed over",
                        "schema": {"type": "string"},
                    },
                },
                "content": {DICOM_JSON: _OBJECTS, JSON: _OBJECTS},
            },
            "204": {"description": "nothing matches that may be shown"},
            "400": problem | {"description": "no such attribute, or nothing that it can be asked for"},
            "403": problem | {"description": "not authorized to search"},
            "406": problem | {"description": "answers are application/dicom+json in UTF-8"},
            "413": problem | {"description": "too broad: narrow it"},
            "414": problem | {"description": "the query string is too long"},
            "503": problem | {"description": "the audit log takes nothing; try again later"},
        },
    }


_RESOURCES: Final = (
    ("/studies", Level.STUDY, "searchForStudies", "Search for studies"),
    ("/series", Level.SERIES, "searchForSeries", "Search for series of any study"),
    ("/instances", Level.IMAGE, "searchForInstances", "Search for instances of any study"),
    ("/studies/{study}/series", Level.SERIES, "searchForSeriesOfStudy", "Search for series of a study"),
    (
        "/studies/{study}/instances",
        Level.IMAGE,
        "searchForInstancesOfStudy",
        "Search for instances of a study",
    ),
    (
        "/studies/{study}/series/{series}/instances",
        Level.IMAGE,
        "searchForInstancesOfSeries",
        "Search for instances of a series",
    ),
)
"""Source: PS3.18 Table 10.6.1-1."""


def endpoints(services: Services) -> list[Endpoint]:
    """Return the endpoints of QIDO-RS."""
    made: list[Endpoint] = []
    for path, level, operation_id, summary in _RESOURCES:
        in_path = [name for name in ("study", "series") if f"{{{name}}}" in path]
        qido = _Qido(services, level, in_study="study" in in_path, in_series="series" in in_path)
        operation = _operation(operation_id, summary, in_path)
        made.append(Endpoint("GET", ROOT + path, qido.search, operation))
    return made
