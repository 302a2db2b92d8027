"""A webhook: an HTTP POST of the JSON that Prometheus' Alertmanager sends, version 4."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime
from time import sleep
from typing import IO, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from pytest_memalert.channels.bounded import explain, run_within
from pytest_memalert.channels.wording import headline, message_lines, single
from pytest_memalert.clock import elapsed_s
from pytest_memalert.digest import Digest, Message
from pytest_memalert.errors import DeliveryError
from pytest_memalert.model import PerformanceAlert
from pytest_memalert.targets import redact

__all__ = ["WebhookChannel"]

_ATTEMPTS = 3
# Alertmanager's way to say "not ended".
_NEVER = "0001-01-01T00:00:00Z"


class WebhookChannel:
    """Post digests to a URL: up to three times, and never for longer than ``limit_s`` in all.

    What may pass (no connection, 429, 5xx) is tried again, after ``backoff_s`` and then twice as long.
    A redirect is refused: it could carry the alerts, and the secret in the URL, to another host.
    """

    def __init__(
        self,
        url: str,
        *,
        limit_s: float = 10.0,
        backoff_s: float = 0.5,
        pause: Callable[[float], object] = sleep,
    ) -> None:
        self._url, self._authorization = _without_user(url)
        self._limit_s = limit_s
        self._backoff_s = backoff_s
        self._pause = pause
        self.name = redact(url)

    def send(self, alert: PerformanceAlert) -> None:
        """Post one alert."""
        self.send_digest(single(alert))

    def send_digest(self, digest: Digest) -> None:
        """Post the messages of a digest as one group; raise DeliveryError where that fails."""
        content = json.dumps(_payload_of(digest, receiver=self.name)).encode("ascii")
        ends_s = elapsed_s() + self._limit_s
        run_within(lambda: self._post(content, ends_s), self._limit_s)

    def _post(self, content: bytes, ends_s: float) -> None:
        trouble = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                wait_s = self._backoff_s * 2 ** (attempt - 1)
                if elapsed_s() + wait_s >= ends_s:
                    break
                self._pause(wait_s)
            try:
                status = self._attempt(content, ends_s)
            except (OSError, http.client.HTTPException) as problem:
                reason = problem.reason if isinstance(problem, urllib.error.URLError) else problem
                trouble = explain(reason) if isinstance(reason, BaseException) else type(problem).__name__
                if isinstance(reason, ssl.SSLCertVerificationError):
                    break
                continue
            except ValueError:
                raise DeliveryError("the URL can't be used; write it as 'https://example.com/hook'") from None
            if status < 300:
                return
            trouble = f"the server answered {status}"
            if status < 400:
                trouble += ", a redirect, which is not followed; write the address that it leads to"
            if status != 429 and status < 500:
                break
        raise DeliveryError(trouble)

    def _attempt(self, content: bytes, ends_s: float) -> int:
        """Return the status of one request; only its head is waited for."""
        headers = {"Content-Type": "application/json", "User-Agent": "pytest-memalert"}
        if self._authorization:
            headers["Authorization"] = self._authorization
        request = urllib.request.Request(self._url, data=content, headers=headers, method="POST")
        opener = urllib.request.build_opener(_RefusedRedirect)
        # The time limit is kept by whoever waits for this thread; this ends the thread itself, later.
        left_s = max(ends_s - elapsed_s(), 0.0) + 1.0
        try:
            with opener.open(request, timeout=left_s) as response:
                return int(response.status)
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code


class _RefusedRedirect(urllib.request.HTTPRedirectHandler):
    """Leave a redirect as the answer that it is."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        """Return None: the redirect isn't followed."""


def _payload_of(digest: Digest, *, receiver: str) -> dict[str, object]:
    """Return a digest in Alertmanager's format: every value a text, a group for the whole."""
    entries = [_entry(message, digest.sent_at) for message in digest.messages]
    firing = any(message.kind != "resolved" for message in digest.messages)
    labels = [entry["labels"] for entry in entries]
    annotations = [entry["annotations"] for entry in entries]
    return {
        "version": "4",
        "groupKey": '{}:{source="pytest-memalert"}',
        "truncatedAlerts": digest.more,
        "status": "firing" if firing else "resolved",
        "receiver": receiver,
        "groupLabels": {"source": "pytest-memalert"},
        "commonLabels": _common(labels),
        "commonAnnotations": _common(annotations),
        "externalURL": "",
        "alerts": entries,
    }


def _entry(message: Message, sent_at: datetime) -> dict[str, Any]:
    alert = message.alert
    is_resolved = message.kind == "resolved"
    labels = {
        "alertname": alert.rule,
        "source": "pytest-memalert",
        "severity": alert.severity.value,
        "category": alert.category.value,
        "component": alert.component,
        "metric": alert.metric,
    }
    if len(alert.nodeids) == 1:
        labels["test"] = alert.nodeids[0]
    return {
        "status": "resolved" if is_resolved else "firing",
        "labels": labels,
        "annotations": {
            "summary": headline(message),
            "description": "\n".join(message_lines(message)),
            "kind": message.kind,
            "observed": f"{alert.observed:.12g}",
            "limit": f"{alert.limit:.12g}",
            "tests": "\n".join(alert.nodeids),
        },
        "startsAt": (message.first_seen or alert.raised_at).isoformat(),
        "endsAt": sent_at.isoformat() if is_resolved else _NEVER,
        "generatorURL": "",
        "fingerprint": alert.fingerprint,
    }


def _common(entries: list[dict[str, str]]) -> dict[str, str]:
    """Return what all of them have."""
    if not entries:
        return {}
    return {key: value for key, value in entries[0].items() if all(e.get(key) == value for e in entries)}


def _without_user(url: str) -> tuple[str, str | None]:
    """Return the URL without user and password, and the header that carries them instead."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    token = base64.b64encode(unquote(user).encode()).decode("ascii")
    return urlunsplit(parts._replace(netloc=host)), f"Basic {token}"
