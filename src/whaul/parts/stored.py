"""What is stored: the registry, and the cipher of its secrets."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from whaul.registry.database import database_exists, key_file
from whaul.registry.store import Registry, open_registry
from whaul.secrets import Cipher, load_or_create_key_file
from whaul.settings import Settings, SettingsError


def cipher(settings: Settings) -> Cipher:
    """The cipher of `WHAUL_SECRET_KEY`, or of the key file beside the database, made with it on first use."""
    if settings.secret_key is not None:
        return Cipher(settings.secret_key)
    url = settings.database_url.get_secret_value()
    path = key_file(url)
    try:
        if database_exists(url) and not path.exists():
            told = f"WHAUL_SECRET_KEY: unset, and the key file of the database is gone: {path}; restore it"
            raise SettingsError([told])
        return Cipher(load_or_create_key_file(path))
    except ValueError as error:
        raise SettingsError([f"WHAUL_SECRET_KEY: unset, and the key file cannot be used: {error}"]) from None
    except OSError as error:
        advice = "set WHAUL_DATABASE_URL to a file in a folder that this user may write, or set WHAUL_SECRET_KEY"
        told = f"WHAUL_SECRET_KEY: unset, and the key file {path} cannot be used: {error.strerror}; {advice}"
        raise SettingsError([told]) from None


@asynccontextmanager
async def registry(settings: Settings) -> AsyncGenerator[Registry]:
    """The registry; a database that does not exist yet is made. Raises `SecretKeyError` for keys that do not fit."""
    url = settings.database_url.get_secret_value()
    account_id, region = settings.account_id, settings.region
    async with open_registry(url, cipher(settings), account_id=account_id, region=region, create=True) as opened:
        await opened.check_secret_key()
        yield opened
