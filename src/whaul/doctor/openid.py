"""The check of sign-in by OpenID Connect: whether the provider is the one, and the access keys are there."""

from collections.abc import AsyncGenerator
from importlib.util import find_spec

from whaul.auth.openid.errors import ProviderError
from whaul.components import openid_provider, usable_access_keys
from whaul.doctor.findings import Finding, failed, ok
from whaul.outbound.http import HttpClient
from whaul.registry.errors import RegistryUnavailableError
from whaul.registry.registry import Registry
from whaul.settings import Settings

CHECK = "console sign-in"
NAME_KEYS = "`whaul keys list` lists them; name a key by its id"


async def openid(settings: Settings, http: HttpClient, registry: Registry | None) -> AsyncGenerator[Finding]:
    """Ask the provider who it is, and for its keys; there is no finding when the settings name none."""
    if settings.oidc_issuer is None:
        return
    if find_spec("joserfc") is None:
        yield failed(CHECK, "a package is missing", "install it with its extra: pip install 'whaul[oidc]'")
        return
    yield await _provider(settings, http)
    if registry is None:
        return
    try:
        for problem in await key_problems(settings, registry):
            yield failed(CHECK, problem, NAME_KEYS)
    except RegistryUnavailableError:
        yield failed(CHECK, "the database no longer answers", "check the database")


async def key_problems(settings: Settings, registry: Registry) -> list[str]:
    """Say which access keys nobody can sign in as."""
    problems = []
    for name in dict.fromkeys(settings.oidc_access_keys.values()):
        found = await usable_access_keys(settings, registry, name)
        if len(found) != 1:
            why = "cannot be used" if not found else "is not the only one of its name"
            problems.append(f"the access key {name} of WHAUL_OIDC_ACCESS_KEYS {why}")
    return problems


async def _provider(settings: Settings, http: HttpClient) -> Finding:

    provider = openid_provider(settings, http)
    try:
        keys = [] if provider is None else await provider.keys()
    except ProviderError as error:
        return failed(CHECK, error.text, "people cannot sign in with it; a link or an access key still works")
    if not keys:
        detail = "the provider has no key of a kind that can be trusted"
        return failed(CHECK, detail, "have it sign with RS256 or ES256, and RSA keys of at least 2048 bits")
    return ok(CHECK, f"{settings.oidc_issuer} answers, and has keys that can be used: {len(keys)}")
