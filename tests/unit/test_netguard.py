"""Which URLs may be called: what passes is short, what does not is long."""

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyreqwest.http import Url

from whaul.outbound.netguard import (
    ForbiddenUrlError,
    HostPattern,
    MediaHosts,
    PresignedHosts,
    endpoint_url,
    has_dot_segment,
    is_loopback,
    parse_url,
)

AWS = PresignedHosts("https://s3.us-east-1.amazonaws.com", ())
META = MediaHosts(("lookaside.fbsbx.com", "*.fbcdn.net", "*.whatsapp.net"))

# --- presigned URLs: AWS's own hosts


@pytest.mark.parametrize(
    "host",
    [
        "s3.amazonaws.com",
        "inbox.s3.amazonaws.com",
        "in.box.s3.amazonaws.com",
        "s3.eu-west-1.amazonaws.com",
        "inbox.s3.eu-west-1.amazonaws.com",
        "inbox.s3.ap-southeast-5.amazonaws.com",
        "s3.dualstack.eu-west-1.amazonaws.com",
        "inbox.s3.dualstack.eu-west-1.amazonaws.com",
        "inbox.s3-fips.us-east-1.amazonaws.com",
        "inbox.s3-fips.dualstack.us-east-1.amazonaws.com",
        "inbox.s3-accelerate.amazonaws.com",
        "inbox.s3-accelerate.dualstack.amazonaws.com",
        "s3-us-west-2.amazonaws.com",
        "inbox.s3-us-west-2.amazonaws.com",
        "inbox.s3.us-gov-west-1.amazonaws.com",
        "inbox.s3-fips.us-gov-east-1.amazonaws.com",
        "s3.cn-north-1.amazonaws.com.cn",
        "inbox.s3.cn-northwest-1.amazonaws.com.cn",
        "inbox.s3.dualstack.cn-north-1.amazonaws.com.cn",
        "inbox.s3.eusc-de-east-1.amazonaws.eu",
        "s3.us-iso-east-1.c2s.ic.gov",
        "inbox-123456789012.s3-accesspoint.eu-west-1.amazonaws.com",
        "INBOX.S3.EU-WEST-1.AMAZONAWS.COM",
        "inbox.s3.eu-west-1.amazonaws.com:443",
    ],
)
def test_a_presigned_url_may_name_an_s3_host_of_aws(host: str) -> None:
    url = AWS.check(f"https://{host}/inbox/photo.jpeg?X-Amz-Signature=0")
    assert url.host_str == host.lower().partition(":")[0]


@pytest.mark.parametrize(
    "text",
    [
        # AWS's text where the host is another's
        "https://evil.example/s3.amazonaws.com/x",
        "https://evil.example/?https://s3.amazonaws.com/x",
        "https://evil.example/#s3.amazonaws.com/x",
        "https://s3.amazonaws.com.evil.example/x",
        "https://s3.eu-west-1.amazonaws.com.evil.example/x",
        "https://s3.amazonaws.com@evil.example/x",
        "https://s3.amazonaws.com:443@evil.example/x",
        "https://s3.amazonaws.com%2fevil.example/x",
        "https://s3.amazonaws.com%2eevil.example/x",
        "https://s3.amazonaws.com-evil.example/x",
        "https://evil-s3.amazonaws.com/x",
        "https://evils3.amazonaws.com/x",
        "https://s3xamazonaws.com/x",
        "https://s3.amazonaws-com.evil.example/x",
        "https://s3.amazonaws.co/x",
        "https://s3.amazonaws.com.cn/x",
        "https://s3.eu-west-1.amazonaws.com.co/x",
        # other services of AWS, and S3's hosts that take no PUT of an object
        "https://amazonaws.com/x",
        "https://ec2.eu-west-1.amazonaws.com/x",
        "https://s3.ec2.eu-west-1.amazonaws.com/x",
        "https://inbox.s3-website.eu-west-1.amazonaws.com/x",
        "https://inbox.s3-website-eu-west-1.amazonaws.com/x",
        "https://s3-control.eu-west-1.amazonaws.com/x",
        "https://sqs.s3.amazonaws.com.sqs.amazonaws.com/x",
        # scheme and port
        "http://inbox.s3.amazonaws.com/x",
        "ftp://inbox.s3.amazonaws.com/x",
        "file:///etc/passwd",
        "//inbox.s3.amazonaws.com/x",
        "inbox.s3.amazonaws.com/x",
        "https://inbox.s3.amazonaws.com:8443/x",
        "https://inbox.s3.amazonaws.com:80/x",
        "https://inbox.s3.amazonaws.com:99999/x",
        # user information, fragments
        "https://user@inbox.s3.amazonaws.com/x",
        "https://user:word@inbox.s3.amazonaws.com/x",
        "https://:word@inbox.s3.amazonaws.com/x",
        "https://inbox.s3.amazonaws.com/x#part",
        "https://inbox.s3.amazonaws.com/x#",
        # what a parser would repair
        "https:/inbox.s3.amazonaws.com/x",
        "https:inbox.s3.amazonaws.com/x",
        "https:s3.amazonaws.com/inbox/../outbox/x",
        "https:///inbox.s3.amazonaws.com/x",
        "https:////inbox.s3.amazonaws.com/x",
        "https://@inbox.s3.amazonaws.com/x",
        "https://:@inbox.s3.amazonaws.com/x",
        "https://inbox%2es3.amazonaws.com/x",
        "https://%69nbox.s3.amazonaws.com/x",
        "https://inbox.s3.amazonaws.com:/x",
        "https://inbox.s3.amazonaws.com:0443/x",
        "https://inbox.s3.amazonaws.com./x",
        "https:\\\\inbox.s3.amazonaws.com\\x",
        "https://inbox.s3.amazonaws.com\\@evil.example/x",
        "https://inbox.s3.amazonaws.com\t/x",
        "https://inbox.s3.amaz\nonaws.com/x",
        "https://inbox.s3.amazonaws.com/x\r\nHost: evil.example",
        " https://inbox.s3.amazonaws.com/x",
        "https://inbox.s3.amazonaws.com/x ",
        "https://inbox.s3.amazonaws.com/x\x00",
        "https://inbox.s3.amazonaws.com/x\x7f",
        # addresses in all their forms
        "https://127.0.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://2130706433/x",
        "https://0x7f000001/x",
        "https://0x7f.0.0.1/x",
        "https://0177.0.0.1/x",
        "https://127.1/x",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://[fd00:ec2::254]/x",
        "https://localhost/x",
        "https://0/x",
        # letters that look like, or fold to, others
        "https://\uff533.amazonaws.com/x",
        "https://s3。amazonaws。com/x",
        "https://s3.amazonaws.com\uff0fx",
        "https://s3.\u0430mazonaws.com/x",
        "https://xn--s3.amazonaws.com/x",
        "https://\u017f3.amazonaws.com/x",
        "https://inbox.s3.amazonaws.com/ä",
        # dot segments, which the client would resolve
        "https://s3.amazonaws.com/inbox/../outbox/x",
        "https://s3.amazonaws.com/inbox/./x",
        "https://s3.amazonaws.com/inbox/..",
        "https://s3.amazonaws.com/%2e%2e/x",
        "https://s3.amazonaws.com/.%2E/x",
        "https://s3.amazonaws.com/%2E/x",
        "https://s3.amazonaws.com/..?x",
        # no URL at all
        "",
        "https://",
        "https://?x",
        "https://[/x",
        "javascript:alert(1)",
        "data:text/plain,x",
    ],
)
def test_a_presigned_url_is_refused(text: str) -> None:
    with pytest.raises(ForbiddenUrlError) as caught:
        AWS.check(text)
    for part in ("evil", "inbox", "amazonaws", "word", "127"):
        assert part not in str(caught.value), "the message repeats a part of the URL"


@pytest.mark.parametrize(
    "text",
    [
        "https://s3.amazonaws.com/inbox/.../x",
        "https://s3.amazonaws.com/inbox/a..b/.x",
        "https://s3.amazonaws.com/inbox/%252e%252e/x",
        "https://s3.amazonaws.com//inbox//x",
        "https://s3.amazonaws.com/inbox/x?prefix=/../",
        "https://s3.amazonaws.com/inbox/%20%C3%A4%23%3F%2F",
        "https://s3.amazonaws.com/inbox/user@host:80",
    ],
)
def test_a_path_without_dot_segments_arrives_as_it_was_signed(text: str) -> None:
    checked = AWS.check(text)
    assert checked.path == text.partition("?")[0].removeprefix("https://s3.amazonaws.com")


HOSTS = st.lists(
    st.sampled_from(["s3", "-", ".", "amazonaws.com", "amazonaws", "com", "cn", "eu-west-1", "evil.example", "a", "@"])
    | st.sampled_from(
        ["/", "\\", "%2e", "%2f", ":", ":443", "#", "?", "[", "]", "。", "\uff53", "\t", "..", "127.0.0.1"]
    ),
    max_size=8,
).map("".join)
URLS = st.builds("".join, st.tuples(st.sampled_from(["https://", "http://", "https:", "//", ""]), HOSTS, st.text()))


@given(URLS | st.text())
@example("https://s3.amazonaws.com/x")
def test_whatever_passes_goes_to_aws_over_https(text: str) -> None:
    try:
        checked = AWS.check(text)
    except ForbiddenUrlError:
        return
    called = Url(text)  # what the HTTP client makes of the same text
    assert (called.scheme, called.port, called.username, called.password) == ("https", None, "", None)
    assert called.host_str == checked.host_str
    assert (called.host_str or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))
    assert (called.host_str or "") in text.lower()


# --- presigned URLs: the configured endpoint, and what the operator allows

LOCAL = PresignedHosts("http://localhost:8333", ("*.r2.example", "store.example:9000"))


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:8333/inbox/x",
        "http://inbox.localhost:8333/x",
        "https://account.r2.example/inbox/x",
        "https://store.example:9000/x",
        "https://s3.eu-west-1.amazonaws.com/inbox/x",
    ],
)
def test_the_configured_endpoint_and_the_allowed_hosts_may_be_named_too(text: str) -> None:
    assert LOCAL.check(text).host_str


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost/inbox/x",
        "http://localhost:8334/inbox/x",
        "https://localhost:8333/inbox/x",
        "http://127.0.0.1:8333/inbox/x",
        "http://evillocalhost:8333/x",
        "http://account.r2.example/x",
        "https://r2.example/x",
        "https://evilr2.example/x",
        "https://account.r2.example:8443/x",
        "https://store.example/x",
        "https://sub.store.example:9000/x",
    ],
)
def test_a_host_beside_the_allowed_ones_is_refused(text: str) -> None:
    with pytest.raises(ForbiddenUrlError):
        LOCAL.check(text)


@pytest.mark.parametrize(
    "text", ["http://1.127.0.0.1:9000/x", "http://inbox.127.0.0.1:9000/x", "http://127.0.0.1:90/x"]
)
def test_an_endpoint_that_is_an_address_has_no_names_below_it(text: str) -> None:
    hosts = PresignedHosts("http://127.0.0.1:9000", ())
    assert hosts.check("http://127.0.0.1:9000/inbox/x")
    with pytest.raises(ForbiddenUrlError):
        hosts.check(text)


# --- where a token may go


@pytest.mark.parametrize(
    "text",
    [
        "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1&ext=2&hash=3",
        "https://scontent.xx.fbcdn.net/v/1",
        "https://mmg.whatsapp.net/v/1",
    ],
)
def test_a_token_may_go_to_metas_media_hosts(text: str) -> None:
    assert META.check(text).scheme == "https"


@pytest.mark.parametrize(
    "text",
    [
        "http://lookaside.fbsbx.com/x",
        "https://lookaside.fbsbx.com:8443/x",
        "https://sub.lookaside.fbsbx.com/x",
        "https://fbsbx.com/x",
        "https://fbcdn.net/x",
        "https://evilfbcdn.net/x",
        "https://fbcdn.net.evil.example/x",
        "https://evil.example/lookaside.fbsbx.com",
        "https://lookaside.fbsbx.com@evil.example/x",
        "https://token@lookaside.fbsbx.com/x",
        "https:lookaside.fbsbx.com/x",
        "https://lookaside%2efbsbx.com/x",
        "http://127.0.0.1/x",
        "https://graph.facebook.com/x",
    ],
)
def test_a_token_goes_nowhere_else(text: str) -> None:
    with pytest.raises(ForbiddenUrlError):
        META.check(text)


@pytest.mark.parametrize(
    ("pattern", "text", "passes"),
    [
        ("127.0.0.1", "http://127.0.0.1:4000/x", True),
        ("127.0.0.1", "http://127.0.0.1/x", True),
        ("localhost", "https://localhost:4000/x", True),
        ("[::1]", "http://[::1]:4000/x", True),
        ("127.0.0.1:4000", "http://127.0.0.1:4000/x", True),
        ("127.0.0.1:4000", "http://127.0.0.1:4001/x", False),
        ("127.0.0.1", "http://127.0.0.2/x", False),
        ("127.0.0.1", "http://localhost/x", False),
        ("127.0.0.1", "http://0x7f.0.0.1/x", False),
        ("*.localhost", "http://evil.localhost/x", False),
        ("media.example", "http://media.example/x", False),
        ("media.example:80", "http://media.example/x", False),
        ("media.example", "https://media.example:444/x", False),
        ("media.example:444", "https://media.example:444/x", True),
        ("*.media.example", "https://a.b.media.example/x", True),
        ("MEDIA.example", "https://media.EXAMPLE/x", True),
        ("media.example", "https://media.example:443/x", True),
        ("media.example:443", "https://media.example/x", True),
        ("media.example.", "https://media.example/x", True),
        ("media.example", "https://media.example./x", True),
        ("*.media.example.", "https://a.media.example./x", True),
        ("my_media", "https://my_media/x", True),
        ("::1", "http://[::1]:4000/x", True),
        ("0:0:0:0:0:0:0:1", "http://[::1]:4000/x", True),
        ("[0:0::1]:4000", "http://[::1]:4000/x", True),
        ("[0:0::1]:4000", "http://[::1]:4001/x", False),
        ("[2001:DB8::7]", "https://[2001:db8::7]/x", True),
        ("2001:db8::7", "https://[2001:db8::8]/x", False),
        ("localhost", "http://localhost.:4000/x", True),
        ("media.example", "https://media.example../x", False),
    ],
)
def test_only_loopback_hosts_that_are_named_may_be_plain_http_or_on_any_port(
    pattern: str, text: str, passes: bool
) -> None:
    hosts = MediaHosts((pattern,))
    if passes:
        assert hosts.check(text)
    else:
        with pytest.raises(ForbiddenUrlError):
            hosts.check(text)


NO_PATTERNS = ["", "*", "*.", "**.example", "a.*.example", "https://media.example", "media.example/x", "a b"]
NO_PATTERNS += [
    "media.example:",
    "media.example:0",
    "media.example:65536",
    "[::1",
    "::1]:80",
    "[::g]",
    "1.2.3.400",
    "-a.example",
    "a..b",
    "é.b",
]


@pytest.mark.parametrize("text", NO_PATTERNS)
def test_what_is_not_a_host_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected for example"):
        HostPattern.parse(text)


# --- the operator's own URLs


@pytest.mark.parametrize(
    ("text", "called"),
    [
        ("http://MINIO:9000", "http://minio:9000/"),
        ("https://minio:443/", "https://minio/"),
        ("http://minio:80/s3/", "http://minio/s3/"),
        ("http://minio.:9000", "http://minio.:9000/"),
        ("http://[0:0:0:0:0:0:0:1]:9000", "http://[::1]:9000/"),
        ("http://127.1:9000", "http://127.0.0.1:9000/"),
        ("https://bücher.example", "https://xn--bcher-kva.example/"),
    ],
)
def test_an_endpoint_is_taken_however_its_host_is_written(text: str, called: str) -> None:
    assert str(endpoint_url(text)) == called


@pytest.mark.parametrize(
    "text",
    ["minio:9000", "ftp://minio", "http://", "http://a b", "http://u:p@minio", "http://minio/#x", "http://[::1", ""],
)
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(ForbiddenUrlError):
        endpoint_url(text)


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        ("http://MINIO:9000", "http://minio:9000/b/k"),
        ("http://minio:9000", "http://MinIO:9000/b/k"),
        ("https://minio:443", "https://minio/b/k"),
        ("https://minio", "https://minio:443/b/k"),
        ("https://minio.example.", "https://minio.example/b/k"),
        ("https://minio.example", "https://b.minio.example./k"),
        ("http://[0:0::1]:9000", "http://[::1]:9000/b/k"),
    ],
)
def test_a_presigned_url_may_name_the_endpoint_however_it_is_written(endpoint: str, text: str) -> None:
    assert PresignedHosts(endpoint, ()).check(text)


# --- small rules


@pytest.mark.parametrize("key", ["..", ".", "a/../b", "../a", "a/..", "./a", "a/./b", "/../"])
def test_a_key_with_a_dot_segment_is_seen(key: str) -> None:
    assert has_dot_segment(key)


@pytest.mark.parametrize("key", ["", "a", "...", "a..b", ".a", "a.", "a/.b/c", "%2e%2e/a", "..a/b", "\\..\\"])
def test_a_key_with_dots_in_its_names_is_none(key: str) -> None:
    assert not has_dot_segment(key)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "LOCALHOST", "localhost."])
def test_a_loopback_host_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example", "127.1", "::2", "example"])  # noqa: S104
def test_other_hosts_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with suppress(ForbiddenUrlError):
        assert parse_url(text).host_str
