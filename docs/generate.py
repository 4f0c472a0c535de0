"""Writes the pages of docs/ that repeat what the code says: settings.md, cli.md, and parts of others.

`python docs/generate.py` writes them; with `--check` it only says which ones are not current (exit code 1).
"""  # noqa: INP001 - a script beside the pages, no package

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer.main
from pydantic.fields import FieldInfo

from whaul import app, cli
from whaul.api import service
from whaul.cli import help as help_pages
from whaul.cli.help import About
from whaul.cli.reference import facts
from whaul.environment import environment_name
from whaul.operations.call import ACCOUNT, NUMBER, RESOURCE, Target, target_of
from whaul.settings import GROUPS
from whaul.simulator import Simulator
from whaul.simulator.control.row import Row
from whaul.simulator.control.rows import PREFIX, table
from whaul.simulator.settings import Settings as SimulatorSettings
from whaul.storage.naming import EXTENSIONS
from whaul.telemetry import catalogue

DOCS = Path(__file__).parent
GENERATED = "<!-- Written by docs/generate.py from the code; `./run docs` updates it. -->"

SETTINGS_HEAD = """\
# Settings

whaul is configured by environment variables, which are all checked at the start. A value that cannot be used, or an \
unknown name that begins with `WHAUL_`, stops the start with one message that lists every problem. An empty variable \
counts as unset. What Kubernetes puts into the environment for Services named `whaul` or `whaul-…`, and container \
engines for links of that name (`WHAUL_SERVICE_HOST`, `WHAUL_PORT=tcp://…`), is ignored. The commands read the same \
settings as the server, so give them the same environment.

A secret can also be read from a file: set `<NAME>_FILE` to its path instead of `<NAME>`. A service of systemd's can \
also have it as a credential of that name, `LoadCredential=WHAUL_SECRET_KEY:/etc/whaul/secret-key` in its unit, and \
nothing else. Giving it twice is an error.

White space and line ends around a value are ignored, and so is a byte order mark before a secret: `echo`, editors and \
Windows add them. A secret or token that cannot be sent in an HTTP header (a line end inside, quotation marks \
around it, characters other than ASCII) is refused in a message that does not repeat it.

On this page:
"""

SETTINGS_TAIL = """\
## Variables of other tools

Credentials and endpoints of S3 are found by botocore, the library below boto3 and the AWS CLI, in the same places \
and the same order as those tools use. whaul never prompts: a profile with `mfa_serial`, or a \
`credential_process` that reads from a terminal, cannot be used. Credentials that are renewed in place are used \
without a restart: the shared files are checked every second, temporary credentials are renewed before they expire, \
and credentials that S3 refuses are loaded again.

| variable | meaning |
|---|---|
| `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` | the server's own S3 credentials |
| `AWS_PROFILE`, `AWS_CONFIG_FILE`, `AWS_SHARED_CREDENTIALS_FILE` | a profile of the shared files |
| `AWS_ROLE_ARN`, `AWS_WEB_IDENTITY_TOKEN_FILE` | a role by web identity, as in Kubernetes |
| `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`, `AWS_CONTAINER_CREDENTIALS_FULL_URI` | a container's role |
| `AWS_EC2_METADATA_DISABLED` | `true`: do not ask the instance metadata service |
| `AWS_ENDPOINT_URL_S3`, else `AWS_ENDPOINT_URL` | an S3 endpoint other than AWS's |
| `AWS_ENDPOINT_URL_SNS`, `AWS_ENDPOINT_URL_SQS`, `AWS_ENDPOINT_URL_EVENTBRIDGE`, else `AWS_ENDPOINT_URL` | other \
endpoints for events |
| `AWS_USE_DUALSTACK_ENDPOINT`, `AWS_USE_FIPS_ENDPOINT` | `true`: these endpoints of AWS |
| `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY` | [proxies](#proxies) for calls to Meta and S3 |
| `AWS_CA_BUNDLE`, `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`, `SSL_CERT_FILE`, `SSL_CERT_DIR` | \
[certificates to trust](#certificates) |
| `AWS_REQUEST_CHECKSUM_CALCULATION`, or `request_checksum_calculation` in the profile | `when_required`: no \
`x-amz-checksum-sha256` with a PUT, for stores that refuse it (Backblaze B2, older Ceph and R2, …). The payload hash \
that the signature covers stays, so a store that checks it still refuses a file that was changed on the way |
| `XDG_DATA_HOME` | where the default database is |
| `WHATSAPP_ACCESS_TOKEN` | the token for `whaul link`, when `--token-file` is not given |
| `OTEL_EXPORTER_OTLP_ENDPOINT`, and others of OpenTelemetry | [traces](observe.md#traces) |
| `PROMETHEUS_MULTIPROC_DIR` | where several workers share their metrics; set by `whaul serve` when unset |

Only the region is read by whaul itself, [as told there](#aws_region).

### Certificates

Outbound TLS, to Meta and to S3 alike, trusts the system's certificates and those that these variables name:

- One bundle: the first that is set of `AWS_CA_BUNDLE`, `ca_bundle` in the AWS profile, `REQUESTS_CA_BUNDLE` and \
`CURL_CA_BUNDLE`, in the order of boto3 and requests. Its certificates are trusted in addition to all others.
- `SSL_CERT_FILE`, and `SSL_CERT_DIR` (folders, separated by colons): they replace the system's \
certificates, as for other programs. To add one authority use `AWS_CA_BUNDLE`.

A bundle is a PEM file; `REQUESTS_CA_BUNDLE` and `CURL_CA_BUNDLE` may also be a folder of such files. One that is \
missing, cannot be read, or holds no certificate or a broken one stops the start, with the variable and the file named.

A self-signed certificate of a server can be named itself, if it was made with `basicConstraints=CA:FALSE`:

```sh
openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=minio.example \\
  -addext subjectAltName=DNS:minio.example -addext basicConstraints=critical,CA:FALSE -keyout server.key -out server.crt
```

Without the last `-addext` it is a CA's certificate, which the TLS library refuses as a server's own, though boto3 \
and curl take it. The error of the call then says so.

### Proxies

`HTTPS_PROXY` is used for `https` URLs, `HTTP_PROXY` for `http` URLs, and `ALL_PROXY` for both where the first two are \
not set. Each may be in lower case, which wins. The value is a URL (`http`, `https`, `socks5`, `socks5h`, `socks4`), \
with `user:password@` if needed; without a scheme it is `http`. A value that is not a URL stops the start.

`NO_PROXY` lists what is called directly, separated by commas or spaces: a host name, which includes its subdomains \
 (`example.com`, `.example.com` and `*.example.com` are the same); an address (`10.0.0.7`, `::1`, `[::1]`); a \
network (`10.0.0.0/8`, `fd00::/8`); any of these but a network with `:port`; or `*` for everything.
"""

CLI_HEAD = """\
# Commands

`whaul COMMAND --help`, or `whaul help COMMAND`, shows the same on the terminal. `whaul help WHAUL_PORT` explains a \
setting, `whaul settings` shows what all of them are, and `whaul help docs` says where this documentation is: it comes \
with the package.

- Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. A failure is one message on standard error; \
`--debug`, anywhere in the line, adds where in the code it came from, without the texts of errors, which may hold \
secrets.
- `--json` prints one JSON document on standard output and nothing else there; `get` prints one for each id and one \
with the sums, each on a line.
- What others wrote (names, errors, paths) is shown as visible text: a control character, a line end or a \
bidirectional override as its escape, such as `\\x1b`. JSON is exact.
- A command whose output nobody reads any more (`whaul doctor | head -1`) goes on, and ends with its own exit code.
- Colours are for terminals. [`NO_COLOR`](https://no-color.org) or `TERM=dumb` turns them off, \
[`FORCE_COLOR`](https://force-color.org) turns them on elsewhere.
- `whaul --version` names the commit, where it is known: in a checkout, and in a package that was built from one.
- All commands read the [settings](settings.md) from the environment, except `demo`, which has \
its own, and `simulate`, which has none; `dev` sets [some of them](testing.md#the-stack) itself.
- Real secrets come from files, standard input or the environment, never from an option.
"""

CLI_TAIL = """\
## Shell completion

`whaul --install-completion` makes the Tab key complete commands and options, in new shells of the kind that it is \
called from: bash, zsh, fish or PowerShell. It writes to that shell's files in your home folder. \
`whaul --show-completion` only prints the script. For another place, or in a build of an image, name the shell:

```sh
_WHAUL_COMPLETE=source_bash whaul > /etc/bash_completion.d/whaul
_WHAUL_COMPLETE=source_zsh whaul > /usr/local/share/zsh/site-functions/_whaul
_WHAUL_COMPLETE=source_fish whaul > /etc/fish/completions/whaul.fish
```

The shell must find `whaul`: activate its virtual environment, or link the program into a folder of the `PATH`.
"""


def settings_page() -> str:
    """Render every setting under a heading of its own, so that `#whaul_port` leads to it."""
    contents = [f"- [{title}](#{_anchor(title)}): {_links(group.model_fields)}" for title, group in GROUPS.items()]
    contents.append("- [Variables of other tools](#variables-of-other-tools)\n")
    parts = [GENERATED, SETTINGS_HEAD, *contents]
    for title, group in GROUPS.items():
        parts.append(f"## {title}\n")
        parts += [_setting(name, field) for name, field in group.model_fields.items()]
    return "\n".join([*parts, SETTINGS_TAIL])


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _links(names: Iterable[str]) -> str:
    variables = [environment_name(name) for name in names]
    return ", ".join(f"[`{variable}`](#{variable.lower()})" for variable in variables)


def _setting(name: str, field: FieldInfo) -> str:
    variable = environment_name(name)
    listed = "\n".join(f"- {fact}" for fact in facts(name, variable, field))
    return f"### `{variable}`\n\n{field.description}\n\n{listed}\n"


def cli_page() -> str:
    """Render every command; from the commands themselves, since their help is laid out for a terminal."""
    commands = list(_commands(typer.main.get_command(cli.app), "whaul"))
    contents = [
        f"| [`{path}`](#{path.replace(' ', '-')}) | {About.read(command.help).sentence} |" for path, command in commands
    ]
    contents.append("| [Shell completion](#shell-completion) | The Tab key completes commands and options. |")
    table = "\n".join(["| command | does |", "|---|---|", *contents]) + "\n"
    return "\n".join([GENERATED, CLI_HEAD, table, *(_command(path, command) for path, command in commands), CLI_TAIL])


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _command(path: str, command: Any) -> str:
    about = About.read(command.help)
    parts = [f"## `{path}`", about.summary, *about.details, f"```text\n{help_pages.usage(path, command)}\n```"]
    if arguments := help_pages.arguments_of(command):
        rows = [f"| `{help_pages.shown_argument(param)}` | {_cell(param.help)} |" for param in arguments]
        parts.append("\n".join(["| argument | meaning |", "|---|---|", *rows]))
    if options := help_pages.options_of(command):
        rows = [
            f"| `{help_pages.shown_option(param)}` | {_default(param)} | {_cell(param.help)} |" for param in options
        ]
        parts.append("\n".join(["| option | default | meaning |", "|---|---|---|", *rows]))
    if about.examples:
        parts.append("\n".join(["```sh", *about.examples, "```"]))
    return "\n\n".join(parts) + "\n"


def _default(param: Any) -> str:
    default = help_pages.shown_default(param)
    return "required" if param.required else f"`{default}`" if default else ""


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def operations_part() -> str:
    """List the operations."""
    lines = [f"Built, {len(app.OPERATIONS)} of {len(service.OPERATIONS)}:", ""]
    return "\n".join([*lines, *(f"- `{name}`" for name in service.OPERATIONS if name in app.OPERATIONS)])


RESOURCES: Mapping[Target, str] = {
    NUMBER: "`arn:aws:social-messaging:<region>:<account>:phone-number-id/<32 hex>`",
    ACCOUNT: "`arn:aws:social-messaging:<region>:<account>:waba/<32 hex>`",
    RESOURCE: "the ARN in the request, of an account or a phone number",
}


def actions_part() -> str:
    """The table of actions: what a policy must allow for each operation."""
    rows = []
    for name, row in sorted(app.OPERATIONS.items()):
        resource = RESOURCES[target_of(name)[1]] if row.names_resource else "`*`"
        rows.append(f"| `social-messaging:{name}` | {resource} |")
    return "\n".join(["| action | resource |", "|---|---|", *rows])


def extensions_part() -> str:
    """The table of file extensions."""
    rows = [f"| `{mime_type}` | `{extension}` |" for mime_type, extension in EXTENSIONS.items()]
    return "\n".join(["| MIME type | extension |", "|---|---|", *rows])


def metrics_part(entries: Iterable[catalogue.Entry]) -> str:
    """A table of metrics."""
    rows = []
    for entry in entries:
        labels = ", ".join(f"`{label}`" for label in entry.labels)
        rows.append(f"| `{entry.name}` | {entry.kind} | {labels} | {entry.meaning} |")
    return "\n".join(["| metric | type | labels | meaning |", "|---|---|---|---|", *rows])


def requests_part() -> str:
    """The table of the simulator's control endpoint."""
    rows = [f"| `{row.method} {PREFIX}{row.path}` | {row.does} | {_named(row)} |" for row in table(Simulator())]
    return "\n".join(["| request | does | members |", "|---|---|---|", *rows])


def _named(row: Row) -> str:
    if row.takes_body:
        return "[a fault, or a list](#faults)"
    if row.options is SimulatorSettings:
        return "[below](#settings-of-the-simulator)"
    return ", ".join(f"`{name}`" for name in row.members if f"{{{name}}}" not in row.path)


def with_part(page: str, name: str, content: str) -> str:
    """Replace what stands between the markers of a part."""
    pattern = rf"(<!-- {name}: [^\n]*-->\n).*?(\n<!-- end of {name} -->)"
    filled, count = re.subn(pattern, lambda found: f"{found[1]}\n{content}\n{found[2]}", page, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"the page needs the markers of {name} once; found {count}")
    return filled


def pages() -> dict[Path, str]:
    """Every page that is written here, whole, by its path."""
    compatibility = DOCS / "compatibility.md"
    text = compatibility.read_text(encoding="utf-8")
    text = with_part(text, "operations", operations_part())
    text = with_part(text, "extensions", extensions_part())
    policies = DOCS / "policies.md"
    actions = with_part(policies.read_text(encoding="utf-8"), "actions", actions_part())
    metrics = DOCS / "metrics.md"
    numbers = metrics.read_text(encoding="utf-8")
    for name, entries in {"calls": catalogue.CALLS, "servers": catalogue.SERVER, "events": catalogue.EVENTS}.items():
        numbers = with_part(numbers, name, metrics_part(entries))
    simulator = DOCS / "simulator.md"
    return {
        policies: actions,
        metrics: numbers,
        DOCS / "settings.md": settings_page(),
        DOCS / "cli.md": cli_page(),
        compatibility: text,
        simulator: with_part(simulator.read_text(encoding="utf-8"), "requests", requests_part()),
    }


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is not current")
    check = parser.parse_args().check
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if not check:
            path.write_text(pages()[path], encoding="utf-8")
        sys.stdout.write(f"docs/{path.name} {'is not current; run ./run docs' if check else 'written'}\n")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
