"""What a request gives beside its path and body: each parameter is known, and given once."""

from collections import Counter

from fastapi import Request
from fastapi import params as kinds
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute

from shared.http.reasons import Code, Refused


async def each_parameter_known_and_once(request: Request) -> None:
    """A filter that is misspelt must not silently filter nothing, nor one given twice by the last alone. Raises Refused (400).

    No parameter of this API is a list.
    """
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    known = {field.alias for field in get_flat_params(route.dependant) if isinstance(field.field_info, kinds.Query)}
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        message = f"unknown parameter {unknown[0]!r}; known here: {', '.join(sorted(known)) or 'none'}"
        raise Refused(400, Code.INVALID_REQUEST, message, unknown[0])
    given = Counter(name for name, _ in request.query_params.multi_items())
    twice = sorted(name for name, times in given.items() if times > 1)
    if twice:
        raise Refused(400, Code.INVALID_REQUEST, f"parameter {twice[0]!r} may be given once only", twice[0])
