"""Every setting with its default, range and description. `config/default.toml` is made from it."""

import textwrap
from typing import Annotated, Any, Final, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta

SECRETS: Final = frozenset({"auth.keys", "valkey.url"})  # settings whose values are never shown

# Origins of web pages (scheme, host and port), or `*`; a path would never match.
ORIGINS: Final = r"^ *((\*|[a-z][a-z0-9+.-]*://[^/, ]+) *(, *|$))*$"
ORIGINS_IN_WORDS: Final = "origins like https://chat.example.org, without a path, or *; with commas"

# Names or addresses, IPv6 in brackets, or `*`.
HOSTS: Final = r"^ *((\*|[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]) *(, *|$))*$"
HOSTS_IN_WORDS: Final = "host names like speech.example.org, without a port, or *; with commas"

# A bucket and maybe a prefix, or any path.
STORES: Final = r"^(?!s3:)|^s3://[a-z0-9][a-z0-9.-]+(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?$"
STORES_IN_WORDS: Final = "a directory, or s3://bucket/prefix"

DEVICES: Final = r"^(auto|cpu|mps|cuda(:\d+)?)$"

VALKEY_URLS: Final = "an address such as valkey://host:6379/0, or empty"

Seconds = Annotated[float, Meta(ge=0, le=86_400 * 3_650)]
Timeout = Annotated[float, Meta(ge=0.1, le=86_400)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Rate = Annotated[int, Meta(ge=0, le=2**31)]


def about(text: str) -> Meta:
    """What a setting does, as `config/default.toml` and the reference say it."""
    return Meta(description=" ".join(text.split()))


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings that belong together."""


class ServerSettings(Section, frozen=True):
    """The HTTP server."""

    host: Annotated[
        str,
        Meta(min_length=1),
        about("""Address to listen on. 127.0.0.1 is this machine only; 0.0.0.0 is every network it
            is in; "unix:/run/soprano.sock" is a socket in the file system, without a port."""),
    ] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=0, le=65_535), about("Port to listen on. 0 takes a free one and logs it.")
    ] = 8000
    wyoming_port: Annotated[
        int,
        Meta(ge=0, le=65_535),
        about("""Port for Home Assistant's Wyoming protocol, on the same address; it knows no keys.
            Needs the extra "wyoming". 0 is none."""),
    ] = 0
    root_path: Annotated[
        str,
        Meta(pattern=r"^(/[A-Za-z0-9._~-]+)*$"),
        about("""Path under which a reverse proxy passes the server on without removing it, such as
            "/tts". Nothing is needed for a proxy that removes it."""),
    ] = ""
    ssl_certfile: Annotated[
        str,
        about("""Certificate for TLS, with those that sign it (PEM). Empty is plain HTTP."""),
    ] = ""
    ssl_keyfile: Annotated[
        str, about("Its private key (PEM). Empty looks in the file of the certificate.")
    ] = ""
    keep_alive_s: Annotated[
        int,
        Meta(ge=1, le=3_600),
        about("""Time after which an idle connection is closed; more than that after which clients
            and proxies give theirs up."""),
    ] = 75
    socket_idle_s: Annotated[
        float,
        Meta(ge=1, le=86_400),
        about("""Time without a message or audio after which a connection for WebSocket or Wyoming
            is closed."""),
    ] = 60.0
    read_timeout_s: Annotated[
        float,
        Meta(ge=0.1, le=3_600),
        about("""Time in which the headers of a request must arrive, counted from its first byte or,
            for the first request, from the connection; and again for its body. Late headers close
            the connection; a late body is answered with 408."""),
    ] = 10.0
    max_connections: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        about("""Open connections, never more than the limit of open files allows. One more is
            answered with 503; far beyond the limit connections are reset without an answer."""),
    ] = 4_096
    shutdown_s: Annotated[
        int,
        Meta(ge=0, le=3_600),
        about("Time given to running responses after a stop signal; then they are cut."),
    ] = 30
    allowed_hosts: Annotated[
        str,
        Meta(pattern=HOSTS, title=HOSTS_IN_WORDS),
        about("""Further names under which the server may be addressed without a key, separated by
            commas: the name that a reverse proxy passes on, or that of a container
            ("speech.example.org, soprano"). localhost, loopback addresses and the address above are
            always allowed, and any address (not any name) if that is 0.0.0.0 or [::]. Everything
            else is answered with 421, so that no web page can have its own name resolve to this
            machine. "*" allows any name."""),
    ] = ""
    cors_origins: Annotated[
        str,
        Meta(pattern=ORIGINS, title=ORIGINS_IN_WORDS),
        about("""Web pages that may use the server from a browser: their origins
            ("https://chat.example.org"), separated by commas. "*" allows every page; empty allows
            only the pages of this server."""),
    ] = ""


class AuthSettings(Section, frozen=True):
    """API keys. Without any key, everybody may use the server."""

    keys: Annotated[
        str,
        about("""Keys as "name:key,name2:key2", best set in the environment (SOPRANO_AUTH__KEYS).
            They are hashed at the start and never shown."""),
    ] = ""
    keys_file: Annotated[
        str,
        about("""File of further keys, stored as digests; `soprano-api keys create NAME --file FILE`
            writes it. It is reloaded when it changes; what runs with a removed key ends within two
            seconds."""),
    ] = ""
    requests_per_minute: Annotated[
        Rate,
        about("""Requests for speech, and utterances on WebSockets, per minute and key; as many may
            come at once. 0 is no limit. The file can give a key its own limit."""),
    ] = 0
    max_concurrent: Annotated[
        Rate,
        about("""Requests for speech and open WebSockets that a key may have at the same time. 0 is
            no limit. The file can give a key its own limit."""),
    ] = 0
    open_routes: Annotated[
        Literal["none", "lists", "metrics", "all"],
        about("""What is answered without a key: "lists" of models and voices, which chat front ends
            ask for, "metrics", or "all" of these."""),
    ] = "lists"

    def __repr__(self) -> str:
        """Without the keys."""
        shown = msgspec.structs.replace(self, keys=shown_value("auth.keys", self.keys))
        return msgspec.Struct.__repr__(shown)


class ModelSettings(Section, frozen=True):
    """The speech model."""

    backend: Annotated[
        str,
        about("""What runs the model: "lmdeploy" (CUDA), "transformers" (CUDA, MPS, CPU), "onnx"
            (CPU), "embedded" (the voice that ships with the server), or "auto": the first of these
            that can run here. Only "auto" falls back."""),
    ] = "auto"
    checkpoint: Annotated[
        str,
        about("""Directory of a Soprano checkpoint, or a Hugging Face repository
            ("ekwek/Soprano-1.1-80M"), which is downloaded if it is not cached. Empty is that
            repository, if it is cached already."""),
    ] = ""
    revision: Annotated[
        str, about("Branch, tag or commit of the repository. Empty is its main branch.")
    ] = ""
    device: Annotated[
        str,
        Meta(pattern=DEVICES),
        about("""Where Soprano runs: "cpu", "mps", "cuda", "cuda:1", or "auto"."""),
    ] = "auto"
    precision: Annotated[
        Literal["fp32", "int8"],
        about("""Precision of the backend "onnx": "fp32", or "int8", which is two to three times as
            fast and a little less exact (`soprano-api verify` says how much)."""),
    ] = "fp32"
    max_batch_size: Annotated[
        int,
        Meta(ge=1, le=256),
        about("""Sentences that the backend "onnx" synthesizes at the same time; more wait. Each
            takes up to 18 MB of memory, for the longest sentence there can be."""),
    ] = 32
    graph_directory: Annotated[
        str,
        about("""Where "onnx" keeps the graphs that it builds from checkpoints, up to 4 GB. Empty is
            the user's cache directory."""),
    ] = ""
    instances: Annotated[
        int,
        Meta(ge=1, le=64),
        about("Instances of the model; spread over the CUDA devices if there are several."),
    ] = 1
    placement: Annotated[
        Literal["server", "process", "ray"],
        about("""Where the instances run: "server" is in the server itself, "process" is each in a
            process of its own, which costs memory and protects the server from a crash or hang of
            the model, "ray" is as replicas on Ray Serve, see [ray]. The embedded voice has several
            instances only outside of the server."""),
    ] = "server"
    temperature: Annotated[
        float,
        Meta(ge=0, le=2),
        about("Sampling temperature of Soprano. 0 takes the most likely token."),
    ] = 0.0
    num_threads: Annotated[
        int,
        Meta(ge=0, le=1_024),
        about("""Threads of the backends "onnx" and "embedded". 0 is one per physical core that
            affinity and quota (cgroups) leave. A replica on Ray Serve books as many cores; 0 is one
            there."""),
    ] = 0
    load_wait_s: Annotated[
        Seconds,
        about("""Time for which a request waits for a model that is loading; then it is answered
            with 503."""),
    ] = 20.0


class RaySettings(Section, frozen=True):
    """Replicas on Ray Serve, for model.placement "ray". Needs the extra "ray"."""

    address: Annotated[
        str,
        about("""Address of a Ray cluster: "auto" where this machine is a node of it. The server
            takes the application "soprano" that runs there, or deploys it. Empty starts a Ray for
            this server, on this machine, to which nothing else can connect."""),
    ] = ""
    max_replicas: Annotated[
        int,
        Meta(ge=0, le=1_000),
        about("""Replicas that Ray Serve may start under load; model.instances is the least. 0 is
            always model.instances."""),
    ] = 0
    target_ongoing_requests: Annotated[
        float,
        Meta(gt=0, le=1_000),
        about("""Sentences per replica, on average; with more, Ray Serve starts another one within
            seconds, with fewer it stops one after a minute."""),
    ] = 2.0


class TextSettings(Section, frozen=True):
    """How written text is read."""

    markup: Annotated[
        Literal["auto", "off"],
        about(""""auto" removes Markdown, HTML and SSML from a text, "off" reads all of it."""),
    ] = "auto"
    lexicon_file: Annotated[
        str,
        about("""TOML file of pronunciations, one per line: word = "respelling" in letters a to z.
            It is reloaded when it changes. Empty is none."""),
    ] = ""


class SpeechSettings(Section, frozen=True):
    """What may be asked for."""

    max_chars: Annotated[
        int,
        Meta(ge=1, le=10_000_000),
        about("""Characters of an input (Unicode code points). Its numbers and symbols may expand to
            six times that many characters, divided by a speed below 1."""),
    ] = 4_096
    prefetch_s: Annotated[
        Seconds,
        about("""Playing time that may be synthesized ahead of the listener; then the next sentence
            waits."""),
    ] = 60.0
    loudness_lufs: Annotated[
        float,
        Meta(ge=-40, le=0),
        about("""Loudness of each voice (EBU R 128), such as -16: a constant gain, measured when the
            model is loaded, and a limiter. 0 leaves it as it is."""),
    ] = 0.0
    unknown_names: Annotated[
        Literal["reject", "default"],
        about("""An unknown model or voice name: "reject" answers with an error that lists the known
            ones, "default" takes the default and says so in a Warning header."""),
    ] = "reject"


class AdmissionSettings(Section, frozen=True):
    """How many requests are processed at a time; others are queued, or rejected."""

    max_running: Annotated[
        int,
        Meta(ge=0, le=10_000),
        about("""Texts that the model works on at the same time; more are queued. 0 is as many as
            this machine keeps ahead of playback, which is measured. A quarter is reserved for
            texts of up to 1000 characters, so that long ones cannot take all."""),
    ] = 0
    max_queued: Annotated[
        int,
        Meta(ge=0, le=100_000),
        about("""Requests in the queue, with sixteen times speech.max_chars characters in all;
            further ones are rejected with 503. Fewer are queued if not so many can begin within
            max_wait_s."""),
    ] = 32
    max_wait_s: Annotated[
        float,
        Meta(ge=0, le=3_600),
        about("Time for which a request may be queued; then it is rejected with 503."),
    ] = 10.0
    request_timeout_s: Annotated[
        Timeout,
        about("""Time in which a response must begin, or be complete if it is not streamed; else it
            is 504. A client may ask for less with the header X-Request-Timeout-Seconds."""),
    ] = 120.0


class ResilienceSettings(Section, frozen=True):
    """What happens while the model fails."""

    chunk_timeout_s: Annotated[
        Timeout,
        about("""Time in which further audio of a sentence must come once all audio before it has
            been played. The first audio has twice as long from when it is asked for and due, and
            twelve times that while the model gives audio to others."""),
    ] = 5.0


class CacheSettings(Section, frozen=True):
    """Audio of sentences that may be asked for again."""

    max_bytes: Annotated[
        int,
        Meta(ge=0, le=2**40),
        about("""Memory of the cache; the least recently used entries go first. A minute of Soprano
            takes 7.7 MB. 0 turns the cache off."""),
    ] = 50_000_000
    directory: Annotated[
        str,
        about("""Directory of a second cache that survives a restart; one server's own. Empty is
            memory only."""),
    ] = ""
    max_disk_bytes: Annotated[
        int,
        Meta(ge=1_000_000, le=2**53),
        about("Size of that directory; the least recently used entries go first."),
    ] = 1_000_000_000


class ValkeySettings(Section, frozen=True):
    """A Valkey or Redis that several servers share."""

    url: Annotated[
        str,
        Meta(pattern=r"^$|^(valkeys?|rediss?|unix)://", title=VALKEY_URLS),
        about("""Address, with the password if there is one ("valkey://:PASSWORD@host:6379/0");
            valkeys:// and rediss:// are TLS. The servers then share cached sentences, make each
            only once, and the limits of keys hold for all of them together. Needs the extra
            "valkey". Empty is none."""),
    ] = ""

    def __repr__(self) -> str:
        """Without the password."""
        return f"{type(self).__name__}(url={shown_value('valkey.url', self.url)})"


class StoreSettings(Section, frozen=True):
    """Stored audio. The limits hold for each key; 0 is no limit."""

    directory: Annotated[
        str,
        Meta(min_length=1, pattern=STORES, title=STORES_IN_WORDS),
        about("""Directory of stored audio, relative to the working directory, or
            "s3://bucket/prefix" on S3-compatible storage, which several servers may share. Each key
            has a directory of its own in it. S3 needs the extra "s3"; endpoint, region and
            credentials are those of AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID,
            AWS_SECRET_ACCESS_KEY and their like."""),
    ] = "speech"
    max_files: Annotated[Count, about("Stored files; the oldest go first.")] = 10_000
    max_bytes: Annotated[Count, about("Size of the stored audio; the oldest files go first.")] = (
        10_000_000_000
    )
    max_age_s: Annotated[Seconds, about("Time for which a file is stored.")] = 0.0


class LogSettings(Section, frozen=True):
    """Log events, on standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], about("Least severe events that are logged.")
    ] = "info"
    format: Annotated[
        Literal["auto", "console", "json"],
        about(""""json" is one object per line, "console" is for people; "auto" is console on a
            terminal, else json."""),
    ] = "auto"


class TelemetrySettings(Section, frozen=True):
    """Traces."""

    traces: Annotated[
        bool,
        about("""Export a trace of each request with OpenTelemetry; needs the extra "telemetry".
            Its own variables say where to and how many: OTEL_EXPORTER_OTLP_ENDPOINT,
            OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME and others."""),
    ] = False


class Settings(Section, frozen=True):
    """All settings."""

    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    model: ModelSettings = ModelSettings()
    ray: RaySettings = RaySettings()
    text: TextSettings = TextSettings()
    speech: SpeechSettings = SpeechSettings()
    admission: AdmissionSettings = AdmissionSettings()
    resilience: ResilienceSettings = ResilienceSettings()
    cache: CacheSettings = CacheSettings()
    valkey: ValkeySettings = ValkeySettings()
    store: StoreSettings = StoreSettings()
    log: LogSettings = LogSettings()
    telemetry: TelemetrySettings = TelemetrySettings()


# What became of settings of earlier versions.
FORMER: Final = {
    "server.max_body_bytes": "it follows speech.max_chars",
    "server.head_timeout_s": "it is server.read_timeout_s now",
    "server.body_timeout_s": "it is server.read_timeout_s now",
    "server.write_stall_s": "it is always 300 s",
    "server.send_timeout_s": "it is always 300 s",
    "auth.open_lists": "it is auth.open_routes now",
    "auth.open_metrics": "it is auth.open_routes now",
    "model.max_sentences": "it is model.max_batch_size now",
    "model.max_graph_bytes": "the limit is always 4 GB",
    "model.seed": "a request may name a seed",
    "model.repetition_penalty": "a request may name one",
    "model.top_p": "a request may name one",
    "model.isolation": "it is model.placement now, and none is server",
    "model.max_regenerations": "a sentence is generated again once",
    "ray.num_cpus": "it is model.num_threads now",
    "ray.num_gpus": "a replica books one device if model.device is cuda",
    "resilience.max_retries": "a sentence is retried once",
    "speech.look_ahead_s": "it is speech.prefetch_s now",
    "speech.look_ahead_segments": "speech.prefetch_s is the limit",
    "speech.sse_done_marker": "the event of the usage is the last one",
    "speech.sse_keep_alive_s": "a comment is always sent after 10 s",
    "admission.max_open": "the limit is always 128",
    "admission.max_queued_chars": "the limit is sixteen times speech.max_chars",
    "resilience.unready_after_s": "it is always 10 s",
    "resilience.first_chunk_s": "it is twice resilience.chunk_timeout_s now",
    "resilience.first_chunk_timeout_s": "it is twice resilience.chunk_timeout_s now",
    "resilience.chunk_gap_s": "it is resilience.chunk_timeout_s now",
    "store.clean_up_interval_s": "it is always 5 minutes",
}


def setting_types() -> dict[str, dict[str, Any]]:
    """The annotated type of each setting, by section and name, in the order of definition."""
    return {
        section.name: get_type_hints(section.type, include_extras=True)
        for section in msgspec.structs.fields(Settings)
    }


def describe(kind: Any) -> str:
    """What a setting does, in words."""
    return next(
        meta.description for meta in get_args(kind) if isinstance(meta, Meta) and meta.description
    )


def shown_value(key: str, value: Any) -> str:
    """The value of `section.name` as people may see it."""
    return "(hidden)" if key in SECRETS and value else repr(value)


_KINDS: Final = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
}


def describe_range(kind: Any) -> str:
    """The values a setting may have, in words."""
    schema = msgspec.json.schema(kind)
    if "title" in schema:
        return str(schema["title"])
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    limits = {
        "minimum": "from {}",
        "maximum": "to {}",
        "exclusiveMinimum": "above {}",
        "pattern": "that matches {}",
        "minLength": "of at least {} characters",
    }
    told = [text.format(schema[name]) for name, text in limits.items() if name in schema]
    return " ".join([_KINDS[schema["type"]], *told])


_HEADER: Final = """
    Every setting with its default. Copy what you change into a file of your own and name it with
    --config or SOPRANO_CONFIG. Each setting can also come from the environment, as
    SOPRANO_<SECTION>__<NAME>, for example SOPRANO_SERVER__PORT=9000. Order: flag, then environment,
    then file, then the default below. Names end in their unit: _s is seconds. Made by `soprano-api
    config --example`.
"""


def default_toml() -> str:
    """A settings file with every setting, its description, range and default."""
    lines = _comment(_HEADER)
    for section, types in setting_types().items():
        defaults = getattr(Settings(), section)
        lines += ["", *_comment(type(defaults).__doc__ or ""), f"[{section}]"]
        for name, kind in types.items():
            values = describe_range(kind)
            is_told = values not in (_KINDS["string"], _KINDS["boolean"])
            lines += _comment(f"{describe(kind)} Value: {values}." if is_told else describe(kind))
            lines.append(f"{name} = {msgspec.json.encode(getattr(defaults, name)).decode()}")
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(" ".join(text.split()), 98)]
