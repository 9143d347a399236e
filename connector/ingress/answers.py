"""What the ingress says over HTTP when it does not do what was asked: JSON with `error` and `advice`, no secrets."""

from __future__ import annotations

from starlette.responses import JSONResponse


class Refusal(Exception):
    """A request ends here. `outcome` is the stable name it is counted under; nothing of the request was kept.

    What is left of a body is parsed and thrown away by uvicorn, so that the sender reads its answer (a close would
    reset the connection under it); `close` is for a body that does not come.
    """

    def __init__(
        self,
        outcome: str,
        *,
        status: int,
        error: str,
        advice: str,
        retry_after: float | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(error)
        self.outcome = outcome
        self.status = status
        self.error = error
        self.advice = advice
        self.retry_after = retry_after
        self.close = close

    def response(self) -> JSONResponse:
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, round(self.retry_after)))
        if self.close:
            headers["Connection"] = "close"
        return error_response(self.status, error=self.error, advice=self.advice, headers=headers)


def error_response(
    status: int, *, error: str, advice: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """The one form of every answer that is not a success."""
    return JSONResponse({"error": error, "advice": advice}, status_code=status, headers=headers)
