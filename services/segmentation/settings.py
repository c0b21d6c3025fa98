"""What segmentation reads from the environment: RAPPORT_<NAME>. The only reader of it in this service."""

from shared.worker.settings import RuntimeSettings


class Settings(RuntimeSettings):
    """What every worker reads. What holds of segments and time zones stands in the set of definitions."""
