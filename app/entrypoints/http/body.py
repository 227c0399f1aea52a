"""Strict decoding of JSON bodies: types are not coerced, and any bytes end in a clear 400.

The framework's own decoding reads "1" as a number, and answers 500 to text that is not UTF-8 or is
nested too deeply.
"""

from typing import Any, Final

import msgspec
from litestar.dto import MsgspecDTO
from litestar.openapi.spec import Reference, Schema
from litestar.typing import FieldDefinition

from app.entrypoints.http.errors import UnsupportedMediaTypeError, describe_decode_error
from app.entrypoints.http.schemas import CreateSpeech

_decoder: Final = msgspec.json.Decoder(CreateSpeech)


class SpeechBody(MsgspecDTO[CreateSpeech]):
    """The body of a request for speech."""

    def decode_bytes(self, value: bytes) -> CreateSpeech:
        """The message in `value`; raises MalformedBodyError or UnsupportedMediaTypeError."""
        _check_headers(dict(self.asgi_connection.headers))
        try:
            value.decode()  # msgspec does not look at the encoding of fields that it skips
            return _decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise describe_decode_error(error) from error

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any
    ) -> Reference | Schema:
        """The schema of the message itself."""
        schema: Reference | Schema = schema_creator.for_field_definition(
            FieldDefinition.from_annotation(CreateSpeech)
        )
        return schema


def _check_headers(headers: dict[str, str]) -> None:
    # Any web page may have a browser send a body of no type; programs that are no browsers may too.
    assumed = "" if "origin" in headers else "application/json"
    content_type = headers.get("content-type", assumed).partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise UnsupportedMediaTypeError(
            "The body must be JSON: send content-type application/json."
        )
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaTypeError("The body must not be compressed.")
