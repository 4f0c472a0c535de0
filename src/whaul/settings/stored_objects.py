"""The objects that files become: their keys, and how S3 stores them."""

from typing import Literal
from urllib.parse import urlencode

from pydantic import Field, ValidationInfo, field_validator

from whaul import setting_types as types
from whaul.environment import Pairs
from whaul.settings.group import SettingGroup


class StoredObjects(SettingGroup):
    """The objects that files become: their keys, and how S3 stores them."""

    key_mode: Literal["prefix", "exact"] = Field(
        "prefix",
        description="`prefix`: the object's key is `key` + media id + extension, as at AWS; `exact`: it is `key`, "
        "as the caller wrote it.",
    )
    extensions: types.Extensions = Field(
        {},
        description="File extensions for MIME types, in place of the usual ones or in addition: `mime/type=.ext`, "
        "separated by commas.",
        examples=["image/jpeg=.jpg,application/x-example=.example"],
    )
    s3_addressing_style: Literal["auto", "path", "virtual"] = Field(
        "auto",
        description="How a bucket is named in URLs. `auto`: virtual-hosted at AWS, path-style at other endpoints.",
    )
    s3_sse: Literal["AES256", "aws:kms"] | None = Field(None, description="Server-side encryption of stored objects.")
    s3_sse_kms_key_id: types.HeaderText | None = Field(
        None, description="KMS key, with `WHAUL_S3_SSE=aws:kms`.", examples=["alias/whatsapp-media"]
    )
    s3_storage_class: str | None = Field(
        None, pattern=r"^[A-Z0-9_]+$", description="Storage class of stored objects.", examples=["STANDARD_IA"]
    )
    s3_tags: Pairs = Field(
        {},
        max_length=10,
        description="Tags of stored objects: `name=value`, separated by commas.",
        examples=["source=whatsapp,team=support"],
    )
    s3_expected_bucket_owner: str | None = Field(
        None,
        pattern=r"^[0-9]{12}$",
        description="Account that must own the bucket; otherwise S3 refuses the file.",
        examples=["111122223333"],
    )
    presigned_hosts: types.Hosts = Field(
        (),
        description="Hosts that presigned URLs may name, in addition to AWS's S3 endpoints and the configured one. "
        "Separated by commas; `*.` stands for every subdomain; a port other than the usual one is part of the host.",
        examples=["minio.example.com:9000,*.storage.example.com"],
    )

    @property
    def s3_tagging(self) -> str | None:
        """The tags as S3's `x-amz-tagging` header wants them."""
        return urlencode(self.s3_tags) or None

    @field_validator("s3_sse_kms_key_id")
    @classmethod
    def _only_with_kms(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("s3_sse") != "aws:kms":
            raise ValueError("only with WHAUL_S3_SSE=aws:kms")
        return value
