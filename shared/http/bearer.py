"""The bearer key of a request, and the scope that a route asks for."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from shared.http.access import Access, Scope
from shared.http.key_access import KeyAccess
from shared.http.reasons import Code, Refused
from shared.reading.pools import asker

_bearer = HTTPBearer(auto_error=False, scheme_name="queryKey", description="a query key; `rapport keys create --kind query` makes one")


def requires(scope: Scope) -> Callable[..., Awaitable[Access]]:
    """A dependency that gives the key's access. Raises Refused: 401, 403 without the scope, 503 while keys are not certain."""

    async def access(request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Access:
        if credentials is None:
            raise Refused(401, Code.MISSING_KEY, "no query key: send `Authorization: Bearer <key>`")
        keys: KeyAccess = request.app.state.keys
        found = await keys.access(credentials.credentials)
        if not found.may(scope):
            raise Refused(403, Code.MISSING_SCOPE, f"the key lacks the scope `{scope.value}`")
        asker.set(found.id)
        return found

    return access


Reader = Annotated[Access, Depends(requires(Scope.READ))]
Applier = Annotated[Access, Depends(requires(Scope.DEFINITIONS))]
Admin = Annotated[Access, Depends(requires(Scope.ADMIN))]
