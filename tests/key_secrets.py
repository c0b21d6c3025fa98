"""The secret by which the tests' processes sign and prove keys: tests/conftest.py puts it into their environment."""

from typing import Final

from shared.contracts.key_signature import KeySecrets

KEY_SECRET: Final = "of-the-tests-" + "0123456789abcdef" * 3
SECRETS: Final = KeySecrets.parse(KEY_SECRET)
