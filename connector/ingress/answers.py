"""What the ingress says over HTTP when it does not do what was asked: JSON with `error` and `advice`, no secrets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
        headers: Mapping[str, str] | None = None,
        problems: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """`retry_after`: seconds. `problems`: what is wrong with which field, beside the one sentence of `error`."""
        super().__init__(error)
        self.outcome = outcome
        self.status = status
        self.error = error
        self.advice = advice
        self.retry_after = retry_after
        self.close = close
        self.headers = headers or {}
        self.problems = problems

    def response(self) -> JSONResponse:
        headers = dict(self.headers)
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, round(self.retry_after)))
        if self.close:
            headers["Connection"] = "close"
        return error_response(
            self.status, error=self.error, advice=self.advice, headers=headers, problems=self.problems
        )


def error_response(
    status: int,
    *,
    error: str,
    advice: str,
    headers: dict[str, str] | None = None,
    problems: Sequence[Mapping[str, str]] = (),
) -> JSONResponse:
    """The one form of every answer that is not a success."""
    said = {"error": error, "advice": advice, **({"problems": list(problems)} if problems else {})}
    return JSONResponse(said, status_code=status, headers=headers)
