"""The proxy: `python -m deploy.local.proxy`; settings.py says what it reads from the environment."""

import signal

import uvicorn

from deploy.local.proxy.app import Proxy
from deploy.local.proxy.metrics import METRICS, Metrics
from deploy.local.proxy.services import HttpService
from deploy.local.proxy.settings import read_settings
from shared.adapters.prometheus import Registry
from shared.runtime.logs import configure_logs


def main() -> None:
    """Serve until SIGTERM or SIGINT; then stop listening and answer what is under way."""
    settings = read_settings()
    configure_logs(settings.log_level, "proxy")
    services = {backend: HttpService(url) for backend, url in settings.urls().items()}
    app = Proxy(services, Metrics(Registry("proxy", METRICS)), settings.proxy_body_seconds, settings.proxy_answer_seconds)
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again when it has drained: then it is no death
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,  # the services' own is passed on
        timeout_graceful_shutdown=int(settings.drain_seconds),
    )
