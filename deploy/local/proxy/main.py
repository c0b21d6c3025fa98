"""The proxy: `python -m deploy.local.proxy`; settings.py says what it reads from the environment."""

from deploy.local.proxy.app import Proxy
from deploy.local.proxy.metrics import METRICS, Metrics
from deploy.local.proxy.services import HttpService
from deploy.local.proxy.settings import read_settings
from shared.adapters.http_serving import serve
from shared.adapters.prometheus import Registry
from shared.runtime.logs import configure_logs


def main() -> None:
    """Serve until SIGTERM or SIGINT; then stop listening and answer what is under way."""
    settings = read_settings()
    configure_logs(settings.log_level, "proxy")
    services = {backend: HttpService(url) for backend, url in settings.urls().items()}
    app = Proxy(services, Metrics(Registry("proxy", METRICS)), settings.proxy_body_seconds, settings.proxy_answer_seconds)
    serve(app, settings.host, settings.port, settings.drain_seconds, date_header=False)  # the services' own date is passed on
