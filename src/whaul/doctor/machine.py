"""The checks of this machine: unsafe settings, TLS files, the place of the database, and who listens on the port."""

import asyncio
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from cryptography.x509 import load_der_x509_certificate

from whaul import components
from whaul.database_url import database_file, is_postgresql
from whaul.doctor.asking import ask, untrusting
from whaul.doctor.findings import Finding, failed, ok, warning
from whaul.outbound.certificates import read_bundle
from whaul.registry.database import key_file
from whaul.server.listener import ListenerError, check_free, listen_address
from whaul.settings import Settings, SettingsError

RENEW_BEFORE = timedelta(days=14)
"""A certificate that ends within this time is worth a warning."""
TLS = "TLS certificate"
LISTENER = "port"


def unsafe_settings(settings: Settings) -> Iterator[Finding]:
    """Find settings that are valid but unsafe."""
    unsafe = []
    if settings.auth == "none":
        unsafe.append(("WHAUL_AUTH=none lets in everybody who reaches the port", "unset it, outside of development"))
    default = Settings.model_fields["media_hosts"].default
    others = [host for host in settings.media_hosts if host not in default]
    if others:
        advice = "list only hosts of Meta, or of a simulator"
        unsafe.append((f"tokens may be sent to {', '.join(others)} (WHAUL_MEDIA_HOSTS)", advice))
    if settings.graph_url != Settings.model_fields["graph_url"].default:
        advice = "unset it, unless it is a proxy or a simulator of yours"
        unsafe.append((f"tokens are sent to {settings.graph_url} (WHAUL_GRAPH_URL)", advice))
    path = None if settings.secret_key else key_file(settings.database_url.get_secret_value())
    if path is not None and os.path.exists(path):  # noqa: PTH110 - a folder that may not be looked into is no error
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            unsafe.append((f"users besides its owner may use {path} (mode {mode:04o})", f"run: chmod 600 {path}"))
    for detail, advice in unsafe:
        yield warning("settings", detail, advice)
    if not unsafe:
        yield ok("settings", "valid, and none of them is unsafe")


def tls_files(settings: Settings, file: Path, now: datetime) -> Finding:
    """Find a certificate that cannot be served, or not for long."""
    try:
        components.check_tls(settings)
    except SettingsError as error:
        return failed(TLS, "; ".join(error.problems), "put a certificate chain and its key there, both PEM")
    chain = [load_der_x509_certificate(data) for data in read_bundle("WHAUL_TLS_CERT_FILE", file)]
    begins, ends = chain[0].not_valid_before_utc, chain[0].not_valid_after_utc
    if ends <= now:
        return failed(TLS, f"{file} has expired on {ends:%Y-%m-%d}", "renew it; `kill -HUP` has the server read it")
    if begins > now:
        return failed(TLS, f"{file} is valid only from {begins:%Y-%m-%d %H:%M} UTC", "check this machine's clock")
    if any(link.not_valid_after_utc <= now for link in chain[1:]):
        return failed(TLS, f"a certificate of the chain in {file} has expired", "ask its authority for a new chain")
    if ends - now < RENEW_BEFORE:
        return warning(TLS, f"{file} expires on {ends:%Y-%m-%d}, in {(ends - now).days} days", "renew it")
    return ok(TLS, f"{file} fits its key, is from {begins:%Y-%m-%d}, and can be served until {ends:%Y-%m-%d}")


def missing_database(url: str) -> Finding | None:
    """Say why there is no database file, and whether one can be made; None for any other database."""
    if is_postgresql(url) or os.path.exists(path := database_file(url)):  # noqa: PTH110 - as above
        return None
    folder = next(each for each in path.parents if os.path.exists(each))  # noqa: PTH110
    if not folder.is_dir():
        return failed("database", f"{path} cannot be made: {folder} is no folder", "set WHAUL_DATABASE_URL")
    if not os.access(folder, os.W_OK | os.X_OK) or os.statvfs(folder).f_flag & os.ST_RDONLY:
        advice = "run this as the folder's owner, or name another folder in WHAUL_DATABASE_URL"
        return failed("database", f"{path} cannot be made: this user may not write into {folder}", advice)
    return failed("database", f"there is none at {path} yet", "run `whaul migrate` to make it")


def unusable_database(url: str) -> Finding | None:
    """Find a SQLite database that this user may not write: SQLite writes beside the file even to read it."""
    if is_postgresql(url):
        return None
    path = database_file(url)
    if os.path.isdir(path):  # noqa: PTH112 - as above
        return failed("database", f"{path} is a folder", "name a file in WHAUL_DATABASE_URL")
    refused = [str(each) for each in (path.parent, path) if not os.access(each, os.W_OK)]
    if not refused:
        return None
    advice = "run this as the owner of both, or set WHAUL_DATABASE_URL"
    return failed("database", f"this user may not write to {' and '.join(refused)}", advice)


# The port


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Who listens on the port."""

    is_whaul: bool
    reasons: tuple[str, ...] = ()
    """Why it is not ready."""
    certificate: bytes | None = None
    """DER."""


async def listener(settings: Settings, patience: float) -> Finding | None:
    """Find who listens on the port of the settings, waiting so many seconds for an answer; None for port 0."""
    try:
        address = listen_address(settings.host)
    except ListenerError as error:
        return failed(LISTENER, str(error), "set WHAUL_HOST to an address of this machine")
    if settings.port == 0:
        return None
    where = f"{address} port {settings.port}"
    try:
        check_free(address, settings.port)
    except ListenerError as error:
        neighbour = await _neighbour(settings, address, patience)
        if neighbour is None:
            return failed(LISTENER, str(error), "set WHAUL_HOST and WHAUL_PORT to what this user may listen on")
        return _finding(settings, where, neighbour)
    return ok(LISTENER, f"{where} is free: no server runs there")


def _finding(settings: Settings, where: str, neighbour: Neighbour) -> Finding:
    if not neighbour.is_whaul:
        advice = "stop it, or choose another WHAUL_PORT"
        return failed(LISTENER, f"another program than whaul listens on {where}", advice)
    if neighbour.reasons:
        return failed(LISTENER, f"whaul runs on {where} and is not ready: {' '.join(neighbour.reasons)}", "see its log")
    if neighbour.certificate is not None and settings.tls_cert_file is not None:
        with suppress(OSError):
            own, *_ = read_bundle("WHAUL_TLS_CERT_FILE", settings.tls_cert_file)
            if own != neighbour.certificate:
                detail = f"whaul runs on {where}, with another certificate than {settings.tls_cert_file} holds"
                return warning(LISTENER, detail, "send SIGHUP to its main process: it then reads the file again")
    return ok(LISTENER, f"whaul runs on {where} and is ready")


async def _neighbour(settings: Settings, address: str, patience: float) -> Neighbour | None:
    """Ask who listens; None if nobody does."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 - compared, not listened on
    context = None if settings.tls_cert_file is None else untrusting()
    try:
        async with asyncio.timeout(patience):
            ready = await ask(host, settings.port, "/readyz", context)
            metrics = await ask(host, settings.port, "/metrics", context)
    except ConnectionRefusedError:
        return None
    except (OSError, EOFError, asyncio.LimitOverrunError, ValueError):
        return Neighbour(is_whaul=False)
    if b"\nwhaul_build_info{" not in metrics.body:
        return Neighbour(is_whaul=False)
    try:
        reasons = msgspec.json.decode(ready.body, type=dict[str, str | list[str]])["reasons"]
    except (msgspec.DecodeError, KeyError):
        return Neighbour(is_whaul=False)
    return Neighbour(is_whaul=True, reasons=tuple(reasons), certificate=ready.certificate)


def filesystem(folder: Path) -> str | None:
    """Name the kind of file system that a folder is on, as `mount` does; None where that cannot be told."""
    mounted, kind = "", None
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        resolved = folder.resolve()
    except OSError:
        return None
    for mount in mounts:
        # https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html; a space is written as \040
        fields, _, kinds = mount.partition(" - ")
        point = fields.split(" ")[4].replace("\\040", " ")
        if resolved.is_relative_to(point) and len(point) >= len(mounted):
            mounted, kind = point, kinds.split(" ")[0]
    return kind
