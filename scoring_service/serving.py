"""Runs the application on uvicorn: connections that know their age, and a shutdown that loses no request."""

import asyncio
import signal
import time
from types import FrameType

import structlog
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from scoring_service.settings import Settings

log = structlog.get_logger()


class AgedProtocol(HttpToolsProtocol):
    """Tells the application when its connection was opened: it closes old ones, so that load spreads over new pods."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.opened_at = time.monotonic()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self.scope["connection_opened_at"] = self.opened_at  # type: ignore[typeddict-unknown-key]


class PodServer(uvicorn.Server):
    """On the first signal the pod becomes not ready and serves on; then it drains, then it stops."""

    def __init__(self, config: uvicorn.Config, app: Starlette, settings: Settings) -> None:
        super().__init__(config)
        self.app = app
        self.settings = settings

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.app.state.stopping:  # asked twice: at once
            self.force_exit = True
            super().handle_exit(sig, frame)
            return
        log.info("stopping", signal=signal.Signals(sig).name, after_seconds=self.settings.not_ready)
        self.app.state.stopping = True
        asyncio.get_running_loop().call_later(self.settings.not_ready, self.close_the_door)

    def close_the_door(self) -> None:
        """No new connections; the requests inside are answered, then the server ends."""
        self.should_exit = True


def serve(app: Starlette, settings: Settings) -> int:
    """Serves until it is told to stop; returns the exit status."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=AgedProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.drain),
    )
    server = PodServer(config, app, settings)
    log.info("listening", address=f"{settings.host}:{settings.port}", pool=settings.pool, store=str(settings.store))
    server.run()
    return 0 if server.started else 1
