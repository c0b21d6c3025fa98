"""What the proxy reads from the environment: RAPPORT_<NAME>."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.local.proxy.routes import Backend
from shared.adapters.environment import LogLevel, read_environment


def _address(value: str) -> str:
    scheme, separator, host = value.rstrip("/").partition("://")
    if scheme != "http" or not separator or not host or "/" in host or "@" in host:
        raise ValueError("is no http://host:port")
    return value.rstrip("/")


Address = Annotated[str, AfterValidator(_address)]


class ProxySettings(BaseSettings):
    """Seconds."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_", frozen=True)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8081, ge=0, le=65535, description="port of the API, of /metrics, /healthz and /readyz")
    proxy_query_url: Address = Field("http://127.0.0.1:8096", description="http://host:port of services/query")
    proxy_control_url: Address = Field("http://127.0.0.1:8097", description="http://host:port of services/control")
    proxy_body_seconds: float = Field(30.0, gt=0, le=600, description="the body of a request must have arrived within")
    proxy_answer_seconds: float = Field(
        180.0, gt=0, le=3600, description="a service must begin its answer within, and go on; a client must take what comes within"
    )
    drain_seconds: float = Field(10.0, gt=0, le=600, description="SIGTERM: requests under way get so long")
    log_level: LogLevel = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")

    def urls(self) -> dict[Backend, str]:
        """Where each service is."""
        return {Backend.QUERY: self.proxy_query_url, Backend.CONTROL: self.proxy_control_url}


def read_settings() -> ProxySettings:
    """The settings of this process; ends it if one is wrong."""
    return read_environment("proxy", ProxySettings)
